"""The settings of a pipeline and of one call: what they do, and which make no sense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hrkit import Detections, Pipeline, create_pose_model
from hrkit.detectors.base import square_side
from hrkit.drawing.annotators import BoxAnnotator
from hrkit.errors import HrkitError, UnknownNameError
from hrkit.synthetic import SyntheticDetector
from hrkit.tracking.follower import Follower
from hrkit.video.files import VideoFrame
from painted import TWO_PEOPLE, nobody, two_people
from synthetic_pipelines import TOLERANCE, assert_same, boxes_of, pipeline


@pytest.fixture(scope="module")
def people() -> Pipeline:
    return pipeline()


# settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"max_batch_size": -1}, "max_batch_size"),
        ({"device": "tpu"}, "no device is called 'tpu'"),
        ({"device": ""}, "no device is called ''"),
        ({"device": "cpu,"}, "no device is called ''"),
        ({"device": "cuda:77"}, "cuda:77"),
        ({"device": "cuda:-1"}, "no device is called"),
        ({"device": "77"}, "device 'cuda:77'"),
        ({"device": "meta"}, "does not work here"),
        ({"device": torch.device("cuda:77")}, "cuda:77"),
        ({"device": []}, "a device is a name"),
        ({"device": 3}, "a device is a name"),
        ({"device": None}, "a device is a name"),
        ({"precision": "float8"}, "unknown precision 'float8'; choices: auto, float32, float16, bfloat16"),
        ({"input_size": (250, 190)}, r"multiple of 4; take"),
        ({"input_size": (0, 0)}, r"whole px from 1 to 8192, as \(256, 192\)"),
        ({"input_size": 256.5}, r"whole px from 1 to 8192, as \(256, 192\); got 256\.5"),
        ({"input_size": "256x192"}, r"whole px"),
        ({"input_size": (256.5, 192)}, r"whole px"),
        ({"input_size": (256, 192, 3)}, r"whole px"),
        ({"num_joints": 0}, "num_joints must be a positive number"),
        ({"num_joints": "17"}, "num_joints must be a positive number"),
        ({"max_batch_size": 1.5}, "max_batch_size must be a whole number"),
        ({"max_batch_size": "8"}, "max_batch_size must be a whole number of at least 1, not '8'"),
        ({"nms_threshold": "0.5"}, "nms_threshold must be from 0 to 1, not '0.5'"),
        ({"doubles": "0.5"}, "doubles='0.5'; it must be from 0 to 1"),
        ({"doubles": [0.5]}, r"doubles=\[0.5\]; it must be from 0 to 1"),
        ({"nms_threshold": 2}, "nms_threshold must be from 0 to 1"),
        ({"detection_threshold": float("nan")}, "detection_threshold must be from 0 to 1"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HrkitError, match=message):
        pipeline(**options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "hrnet_v48"}, "did you mean hrnet_w48"),
        ({"detector": "yolo3"}, "did you mean yolov3"),
        ({"decoder": "drak"}, "did you mean dark"),
        ({"head": "heatmaps"}, "did you mean heatmap"),
        ({"weights": "hrnet_w32-coco"}, "hrnet_w32"),
    ],
)
def test_unknown_names(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        Pipeline.from_names(**{"backbone": "synthetic", "weights": None, **arguments})


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["auto", "float32", "float16", "bfloat16"])
def test_precisions(precision: str) -> None:
    network = pipeline(precision=precision)
    poses = network.predict(two_people(), return_heatmaps=True)
    assert poses.heatmaps is not None
    assert poses.heatmaps.dtype == np.float32
    np.testing.assert_allclose(poses.keypoints, TWO_PEOPLE, atol=4 if precision == "bfloat16" else TOLERANCE)


def test_names_in_the_place_of_networks() -> None:
    with pytest.raises(HrkitError, match=r"for names there is Pipeline\.from_names\('lite', \.\.\.\)"):
        Pipeline("lite", "lite_person")  # type: ignore[arg-type]


def test_devices_by_object() -> None:
    assert repr(pipeline(device=torch.device("cpu"))).endswith("on cpu)")


@pytest.mark.slow
def test_the_network_given_stays_as_it_is() -> None:
    model = create_pose_model("hrnet_w2", input_size=(64, 64)).train()
    pipeline = Pipeline(model, precision="bfloat16")
    assert model.training
    assert model.dtype == torch.float32
    assert pipeline.pose_model.dtype == torch.bfloat16


# settings of a call


class SomeScores(SyntheticDetector):
    """Gives the first person a score of 0.9, the second of 0.4."""

    threshold = 0.3

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [Detections(one.xyxy, [0.9, 0.4][: len(one)], one.class_ids) for one in super().detect(images)]


@pytest.mark.slow
def test_one_threshold_for_the_score_that_is_drawn_and_written(people: Pipeline) -> None:
    both = Pipeline(people.pose_model, SomeScores(), device="cpu")
    strict = Pipeline(people.pose_model, SomeScores(), device="cpu", person_threshold=0.6)
    frame = two_people()
    assert len(both(frame)) == 2
    for found in (strict(frame), both(frame, person_threshold=0.6), *both([frame], person_threshold=0.6)):
        assert (found.scores >= 0.6).all()
        assert len(found) == 1
    assert len(strict.predict(frame, boxes=boxes_of(TWO_PEOPLE))) == 2  # one person per box
    follower = Follower(strict)
    steps = [follower.step([VideoFrame(number, number / 25, frame)])[0] for number in range(3)]
    assert [(len(step), step.frame_index, step.time) for step in steps] == [(1, n, n / 25) for n in range(3)]
    found = both(frame)
    sure_boxes = found.replace(detections=Detections.from_boxes(found.detections.xyxy), own_scores=found.scores)
    np.testing.assert_array_equal(BoxAnnotator()(frame, sure_boxes), BoxAnnotator()(frame, found))


@pytest.mark.slow
def test_settings_of_one_call(people: Pipeline) -> None:
    both = Pipeline(people.pose_model, SomeScores(), device="cpu")
    frame = two_people()
    assert len(both(frame, detection_threshold=0.5)) == len(both.using(detection_threshold=0.5).detect([frame])[0]) == 1
    flipped = Pipeline(people.pose_model, SomeScores(), device="cpu", flip_test=True)
    assert_same(both(frame, flip_test=True), flipped(frame))
    assert_same(flipped(frame, flip_test=False), both(frame))
    assert both.pose_model is both.using(flip_test=True).pose_model
    with pytest.raises(HrkitError, match=r"built with a detection threshold of 0\.3"):
        both(frame, detection_threshold=0.1)
    with pytest.raises(HrkitError, match="person_threshold=2"):
        both(frame, person_threshold=2)


def test_settings_that_one_call_does_not_have(people: Pipeline) -> None:
    with pytest.raises(HrkitError, match="no setting 'conf' for one call; there are flip_test, detection_threshold, "):
        people(nobody(), conf=0.5)
    with pytest.raises(HrkitError, match=r"'boxes' .*; Pipeline\.predict takes boxes"):
        people(nobody(), boxes=[])


def test_settings_of_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("hrkit.pipeline.create_detector", lambda name, **given: asked.update(given) or SomeScores())
    pipeline("yolov3", detector_size=640, classes=["person", "dog"])
    assert (asked["input_size"], asked["classes"]) == (640, ["person", "dog"])
    pipeline("yolov3")
    with pytest.raises(HrkitError, match="input_size are settings of a detector, and there is none"):
        pipeline(None, detector_size=640)


def test_a_size_is_height_and_width_or_a_side() -> None:
    assert create_pose_model("synthetic", input_size=64).input_size == (64, 64)
    assert square_side(96, 32) == square_side((96, 96), 32) == 96
    for size, message in ((97, "multiple of 32"), ((96, 64), "takes squares"), (0, "multiple")):
        with pytest.raises(HrkitError, match=message):
            square_side(size, 32)
