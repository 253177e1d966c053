"""The whole way: one picture gives one answer, however it is asked for, and the answer is where the people are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hrkit import Detections, Pipeline, Poses, create_pose_model
from hrkit.errors import HrkitError
from hrkit.synthetic import paint_people
from hrkit.tracking import Follower
from hrkit.video import VideoFrame

STANDING = np.array(
    [
        *([50, 10], [55, 5], [45, 5], [60, 8], [40, 8], [70, 30], [30, 30], [80, 55], [20, 55]),
        *([85, 80], [15, 80], [62, 85], [38, 85], [64, 120], [36, 120], [66, 150], [34, 150]),
    ],
    np.float64,
)
"""A person of 17 joints in a box of about 70 x 145 px."""


@pytest.fixture(scope="module")
def synthetic() -> Pipeline:
    return Pipeline.from_names("synthetic", "synthetic", weights=None, decoder="dark")


def _nearest(poses: Poses, person: NDArray[np.float64]) -> NDArray[np.float64]:
    errors = [np.linalg.norm(found - person, axis=1).max() for found in poses.keypoints]
    return poses.keypoints[int(np.argmin(errors))]


def _inside(person: NDArray[np.float64], width: int, height: int) -> NDArray[np.bool_]:
    # a disc cut by the border has its centre elsewhere
    return ((person >= 4) & (person <= np.array([width, height]) - 5)).all(1)


@pytest.mark.parametrize(
    ("x", "y"), [(-30, 100), (265, 100), (100, -45), (100, 145), (-30, -45), (265, 145), (100, 60)]
)
def test_a_person_at_any_border_maps_back_within_one_pixel(synthetic: Pipeline, x: float, y: float) -> None:
    person = STANDING + [x, y]
    poses = synthetic(paint_people((240, 320), person[None]))
    seen = _inside(person, 320, 240)
    assert seen.sum() >= 4
    assert len(poses) == 1
    assert np.abs(poses.keypoints[0] - person)[seen].max() <= 1
    x1, y1, x2, y2 = poses.detections.xyxy[0]
    assert 0 <= x1 < x2 <= 320
    assert 0 <= y1 < y2 <= 240


def test_several_people_of_different_sizes(synthetic: Pipeline) -> None:
    people = np.stack([STANDING * 1.5 + [10, 20], STANDING * 1.2 + [250, 10], STANDING * 2 + [400, 100]])
    poses = synthetic(paint_people((480, 640), people))
    assert len(poses) == 3
    for person in people:
        assert np.abs(_nearest(poses, person) - person).max() <= 1
    np.testing.assert_allclose(poses.scores, 1, atol=1e-5)


def test_the_official_decoder_is_within_its_quarter_cell(synthetic: Pipeline) -> None:
    person = STANDING + [100, 60]
    frame = paint_people((240, 320), person[None])
    poses = Pipeline.from_names("synthetic", "synthetic", weights=None)(frame)
    crop_pixel = 150 * 1.25 / 256
    assert np.abs(poses.keypoints[0] - person).max() <= 2 * crop_pixel


def test_flip_test_agrees_on_a_symmetric_network(synthetic: Pipeline) -> None:
    person = STANDING + [100, 60]
    frame = paint_people((240, 320), person[None])
    # a mirrored crop shows each joint in the paint of its other side, so the network sees no left and right of its own
    flipped = Pipeline(synthetic.pose_model, synthetic.detector, decoder="dark", flip_test=True)(frame)
    middle = [0]
    assert np.abs(flipped.keypoints[0][middle] - person[middle]).max() <= 4
    assert flipped.keypoint_scores[0, 0] > 0.8


@pytest.fixture(scope="module")
def seeded_network() -> Pipeline:
    """A network with random weights and a real picture's worth of nonlinearity."""
    import torch

    torch.manual_seed(0)
    model = create_pose_model("pose_resnet_18", input_size=(128, 96))
    for parameter in model.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter)
    return Pipeline(model)


@pytest.mark.slow
def test_alone_in_a_batch_and_in_a_stream_are_one(seeded_network: Pipeline) -> None:
    random = np.random.default_rng(5)
    sizes = [(120, 90), (240, 320), (77, 201), (480, 640), (64, 64), (333, 222), (90, 500), (128, 96)]
    frames = [cv2.resize(random.integers(0, 255, (9, 9, 3), np.uint8), size) for size in sizes]
    boxes = [np.array([[5, 5, 60, 55], [20, 1, 50, 60], [-10, -10, 40, 70]][: 1 + i % 3]) for i in range(8)]
    together = seeded_network.predict_batch(frames, boxes)
    streamed = list(seeded_network.stream(frames))
    whole = seeded_network(frames)
    for i, frame in enumerate(frames):
        alone = seeded_network.predict(frame, boxes[i])
        np.testing.assert_allclose(alone.keypoints, together[i].keypoints, atol=0.01)
        np.testing.assert_allclose(alone.keypoint_scores, together[i].keypoint_scores, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(seeded_network(frame).keypoints, streamed[i].keypoints, atol=0.01)
        np.testing.assert_allclose(whole[i].keypoints, streamed[i].keypoints, atol=0.01)


@pytest.mark.slow
@pytest.mark.needs_shared
def test_real_photos_alone_in_a_batch_and_in_a_stream(shared: Path) -> None:
    pytest.importorskip("hrkit_lite", reason="needs the plugin hrkit-lite")
    pipeline = Pipeline.from_names("lite", "lite_person")
    photos = [*sorted((shared / "media").glob("*.jpg")), *sorted((shared / "data/coco_val/images").glob("*.jpg"))[:5]]
    assert len(photos) == 8
    together = pipeline(photos)
    streamed = list(pipeline.stream(photos))
    assert sum(map(len, together)) >= 5
    for photo, in_batch, in_stream in zip(photos, together, streamed, strict=True):
        alone = pipeline(photo)
        assert len(alone) == len(in_batch) == len(in_stream)
        np.testing.assert_allclose(alone.keypoints, in_batch.keypoints, atol=0.01)
        np.testing.assert_allclose(alone.keypoints, in_stream.keypoints, atol=0.01)


class Twice:
    """Finds the painted person of the next test, and the person's upper part once more."""

    boxes = ([60, 60, 140, 220], [60, 55, 140, 190])

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Both boxes in each frame, the better one first."""
        return [Detections(self.boxes, [0.9, 0.8], [0, 0]) for _ in images]


@pytest.mark.slow
def test_two_boxes_of_one_person_give_one_pose(tmp_path: Path) -> None:
    frame = paint_people((240, 320), (STANDING + [50, 65])[None])
    model = create_pose_model("synthetic", weights=None)
    pipeline = Pipeline(model, Twice(), decoder="dark")
    one = pipeline(frame)
    np.testing.assert_array_equal(one.detections.xyxy, [Twice.boxes[0]])
    assert [len(poses) for poses in pipeline([frame, frame])] == [1, 1]
    both = Pipeline(model, Twice(), decoder="dark", doubles=None)
    assert len(both(frame)) == 2
    cv2.imwrite(str(tmp_path / "frame.png"), frame)
    assert [[len(poses) for _, poses in one.video(tmp_path)] for one in (pipeline, both)] == [[1], [2]]
    assert len(pipeline.predict(frame, Twice.boxes)) == 2  # boxes that were given give a pose each
    follower = Follower(pipeline)
    assert [len(poses) for poses in follower.step([VideoFrame(0, 0.0, frame)])] == [1]
    assert [len(poses) for poses in Follower(pipeline, doubles=None).step([VideoFrame(0, 0.0, frame)])] == [2]
    with pytest.raises(HrkitError, match="doubles=2; it must be from 0 to 1"):
        Pipeline(model, Twice(), doubles=2)
