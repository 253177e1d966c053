"""What `hrkit bench` measures is what it says; how fast it is no test can say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hrkit import Pipeline
from hrkit.benchmark.plain_way import PlainWay
from hrkit.benchmark.report import Pair, curves, measure, page
from hrkit.benchmark.speed import Timing, crowd, interleaved, network_operations, outside_networks
from hrkit.pipeline import create_detector
from hrkit.pose_model import create_pose_model
from hrkit.structures import Detections
from painted import TWO_PEOPLE, two_people

SMALL = Pair("hrnet_w2", (64, 64), "synthetic")


def test_pieces_of_work_take_turns_after_a_round_to_warm_up() -> None:
    done: list[str] = []
    timings = interleaved({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, rounds=2)
    assert done == ["a", "b"] * 3
    assert [len(timing.seconds) for timing in timings.values()] == [2, 2]
    timing = Timing((3.0, 1.0, 2.0, 10.0))
    assert (timing.median, timing.low, timing.high) == (2.5, 1.0, 10.0)


@pytest.mark.parametrize("people", [1, 2, 3, 16, 64])
def test_a_crowd_stands_inside_the_frame(people: int) -> None:
    scene = crowd(np.zeros((48, 64, 3), np.uint8), people)
    boxes = scene.found[0].xyxy
    assert scene.frames[0].shape == (720, 1280, 3)
    assert scene.people == len(boxes) == people
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= [1280, 720]).all()
    size = boxes[:, 2:] - boxes[:, :2]
    np.testing.assert_allclose(size[:, 1], 2 * size[:, 0], rtol=1e-4)
    assert len(np.unique(boxes, axis=0)) == people


def test_the_plain_way_finds_the_same_people() -> None:
    """To the cell that its peaks are rounded to."""
    pipeline = Pipeline.from_names("synthetic", "synthetic", weights=None, device="cpu")
    model = create_pose_model("synthetic", input_size=(256, 192))
    frame = two_people()
    found = pipeline.detect([frame])[0]
    wide = Detections.from_boxes(found.xyxy + np.array([-8, -8, 8, 8], np.float32))
    keypoints = PlainWay(model)(frame, wide)
    assert keypoints.shape == (2, 17, 3)
    np.testing.assert_allclose(keypoints[..., :2], TWO_PEOPLE, atol=5)


def test_what_is_outside_the_networks() -> None:
    detector = create_detector("yolov3_tiny", weights=None, input_size=64)
    pipeline = Pipeline(create_pose_model("hrnet_w2", input_size=(64, 64)), detector, device="cpu")
    scene = crowd(np.zeros((48, 64, 3), np.uint8), 2)
    networks = [pipeline.pose_model, pipeline.detector.network]  # type: ignore[union-attr]
    timing = outside_networks(pipeline, scene, 3)
    assert len(timing.seconds) == 3
    assert timing.low > 0
    assert not any(network._forward_hooks or network._forward_pre_hooks for network in networks)


def test_operations_are_two_a_multiply_add() -> None:
    model = create_pose_model("pose_resnet_18", input_size=(64, 64))
    first = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    only_first = 2 * first.weight.numel() * 32 * 32
    assert network_operations(model) > only_first
    assert network_operations(model) == pytest.approx(2 * 0.28e9, rel=0.2)  # 1.8e9 / (224/64)^2, and deconvolutions


@pytest.fixture(scope="module")
def speed() -> object:
    return measure([SMALL], people=[1, 4], rounds=1, compare=False, limit=True, say=lambda line: None, device="cpu")


def test_every_part_is_measured(speed: object) -> None:
    parts = speed.parts  # type: ignore[attr-defined]
    assert [(part.of, part.people) for part in parts] == [(str(SMALL), 1), (str(SMALL), 4)]
    wanted = {"detector", "crops", "pose network", "decoding", "drawing", "end to end"}
    for part in parts:
        assert set(part.seconds) == wanted
        for median, low, high in part.seconds.values():
            assert 0 < low <= median <= high
    whats = [figure.what for figure in speed.figures]  # type: ignore[attr-defined]
    assert "outside both networks, 4 people in 1280x720" in whats
    assert any("matrix product, batch 8" in what for what in whats)
    assert "plain way" not in " ".join(whats)


def test_the_page_and_the_plot(speed: object) -> None:
    text = page(speed, "hrkit bench")  # type: ignore[arg-type]
    assert text.startswith("# Speed\n\n`hrkit bench` on ")
    assert "| pose network |" in text
    assert f"torch {torch.__version__}" in text
    drawn = curves(speed)  # type: ignore[arg-type]
    assert drawn.shape[2] == 3
    assert (drawn != 255).any()


def test_the_plain_way_is_compared_with() -> None:
    speed = measure([SMALL], people=[1], rounds=1, compare=True, say=lambda line: None, device="cpu", operators=False)
    ratios = [figure for figure in speed.figures if "over the plain way" in figure.what]
    assert len(ratios) == 1
    assert ratios[0].value > 0
