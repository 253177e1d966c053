"""Boxes of the detector, from made outputs of its network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hrkit_rtm import detector as module
from hrkit_rtm.detector import RTMDet, resized_size, rtmdet, to_square
from hrkit_rtm.rtmdet import VARIANTS, RTMDetNetwork, corners

from hrkit import create_detector
from hrkit.errors import HrkitError, UnknownNameError, WeightsError


def _outputs(side: int, rows: list[tuple[int, int, float, tuple[float, ...]]], classes: int = 1) -> torch.Tensor:
    """Cells that see nothing, except rows of a cell's number, a class, its logit and distances."""
    outputs = torch.full((1, len(corners(side, side, torch.device("cpu"))), classes + 4), -10.0)
    outputs[..., -4:] = 5.0
    for cell, number, logit, distances in rows:
        outputs[0, cell, number] = logit
        outputs[0, cell, -4:] = torch.tensor(distances)
    return outputs


def _detector(count: int = 1, **options: object) -> RTMDet:
    return RTMDet(RTMDetNetwork(VARIANTS["nano"], count), input_size=64, **options)


def test_cells_are_their_upper_left_corners() -> None:
    places = corners(64, 96, torch.device("cpu"))
    assert len(places) == 8 * 12 + 4 * 6 + 2 * 3
    assert places[:2].tolist() == [[0, 0], [8, 0]]
    assert places[12].tolist() == [0, 8]
    assert places[96 + 6].tolist() == [0, 16]
    assert places[-1].tolist() == [64, 32]


def test_boxes_are_clipped_and_suppressed_by_class() -> None:
    far, right, nowhere = (20.0, 20.0, 20.0, 20.0), (28.0, 20.0, 12.0, 20.0), (0.0, 0.0, 0.0, 0.0)
    rows = [(9, 0, 2.0, far), (10, 0, 1.0, right), (9, 1, 0.0, far), (0, 0, 3.0, nowhere)]
    detector = _detector(80, classes=["person", "bicycle"], threshold=0.4)
    found = detector.select(_outputs(64, rows, 80))
    assert found[:, 1:5].tolist() == [[0, 0, 28, 28], [0, 0, 28, 28]]  # one of two alike, none without an area
    assert found[:, 6].tolist() == [0, 1]
    np.testing.assert_allclose(found[:, 5], 1 / (1 + np.exp([-2.0, 0.0])), atol=1e-6)
    people = _detector(80, threshold=0.4).select(_outputs(64, rows, 80))
    assert people[:, 6].tolist() == [0]


@pytest.mark.parametrize("limit", [5, 40, 10_000])
def test_the_best_of_each_level_are_candidates(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PER_LEVEL", limit)
    outputs = torch.full((2, 84, 5), 9.0)
    outputs[..., 0] = torch.randn(2, 84, generator=torch.Generator().manual_seed(0))
    frame, _, scores, _ = _detector(threshold=0.3).candidates(outputs)
    for number in (0, 1):
        wanted = []
        for level in outputs[number, :, 0].sigmoid().split([64, 16, 4]):
            wanted += sorted((one for one in level.tolist() if one >= 0.3), reverse=True)[:limit]
        assert scores[frame == number].tolist() == pytest.approx(sorted(wanted, reverse=True))


def test_frames_of_several_shapes_come_back_in_their_own_px() -> None:
    detector = _detector(threshold=0.5)
    outputs = _outputs(64, [(27, 0, 4.0, (24.0, 24.0, 8.0, 8.0))])  # the cell at (24, 24)
    detector.network.forward = lambda images: outputs.expand(len(images), -1, -1)
    wide, tall = detector.detect([np.zeros((64, 128, 3), np.uint8), np.zeros((256, 128, 3), np.uint8)])
    assert wide.xyxy.tolist() == [[0, 0, 64, 64]]
    assert tall.xyxy.tolist() == [[0, 0, 128, 128]]
    assert detector.detect([]) == []


def test_a_network_gone_astray_finds_nothing() -> None:
    assert len(_detector().select(torch.full((1, 84, 5), torch.nan))) == 0


def test_input_squares() -> None:
    frame = np.full((30, 90, 3), 7, np.uint8)
    square = to_square(frame, 64)
    assert resized_size((30, 90), 64) == (21, 64)
    assert (square[:21] == 7).all()
    assert (square[21:] == 114).all()
    assert to_square(np.zeros((1, 4000, 3), np.uint8), 64).shape == (64, 64, 3)


@pytest.mark.slow
def test_weights_say_how_many_classes_there_are(tmp_path: Path) -> None:
    network = RTMDetNetwork(VARIANTS["tiny"], 80)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "coco.pth")
    detector = rtmdet("tiny", weights=tmp_path / "coco.pth")
    assert detector.class_names[:2] == ("person", "bicycle")
    assert detector.class_ids.tolist() == [0]
    assert detector.input_size == 640
    convs = detector.network.bbox_head.cls_convs
    assert convs[0][0].conv is convs[2][0].conv
    assert convs[0][0].bn is not convs[2][0].bn
    for other, problem in (("nano", "does not fit rtmdet_nano with 80 classes"), ("s", "does not fit rtmdet_s")):
        with pytest.raises(WeightsError, match=problem):
            rtmdet(other, weights=tmp_path / "coco.pth")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"has no bbox_head\.rtm_cls"):
        rtmdet("nano", weights=tmp_path / "other.pth")


def test_settings_are_checked() -> None:
    for options, problem in (
        ({"input_size": 100}, "input_size=100; it must be a multiple of 32"),
        ({"threshold": 1.5}, "threshold=1.5; it must be from 0 to 1"),
        ({"max_detections": 0}, "max_detections=0; it must be at least 1"),
    ):
        with pytest.raises(HrkitError, match=problem):
            create_detector("rtmdet_nano", weights=None, **options)
    with pytest.raises(UnknownNameError, match="horse"):
        create_detector("rtmdet_nano", weights=None, classes="horse")


@pytest.mark.parametrize(("name", "millions"), [("nano", 0.99), ("tiny", 4.90), ("s", 8.89), ("m", 24.71)])
def test_sizes(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = RTMDetNetwork(VARIANTS[name], 1 if name == "nano" else 80)
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
