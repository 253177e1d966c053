"""Following people through a video: when the detector looks, and that nothing is lost between steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hrkit import Pipeline
from hrkit.errors import HrkitError, VideoError
from hrkit.skeletons import coco17
from hrkit.structures import Detections, Poses
from hrkit.synthetic import SyntheticDetector, paint_people
from hrkit.tracking.follower import Follower, followed_frames, moved_boxes
from hrkit.video.files import VideoFrame
from painted import person
from walking import CUT_SHORT, Frames, walk


class CountingDetector(SyntheticDetector):
    """Counts the frames it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        self.seen += len(images)
        return super().detect(images)


def counting(**options: Any) -> Pipeline:
    """Of a detector that counts."""
    model = Pipeline.from_names("synthetic", weights=None, device="cpu", **options).pose_model
    return Pipeline(model, CountingDetector(), device="cpu")


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return counting(input_size=(128, 96))


def follow(
    pipeline: Pipeline, images: Sequence[NDArray[np.uint8]], at_once: int | None = None, **settings: Any
) -> tuple[list[Poses], int]:
    """The people of each picture, and at how many the detector looked."""
    detector: Any = pipeline.detector
    before = detector.seen
    follower = Follower(pipeline, **settings)
    found = [poses for step in followed_frames(Frames(images), follower, at_once=at_once) for _, poses in step]
    return found, detector.seen - before


class CountingPoses:
    """A pipeline that counts the crops of each call of the pose network."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, self.crops = pipeline, list[int]()
        self.skeleton, self.detector, self.bottom_up = pipeline.skeleton, pipeline.detector, pipeline.bottom_up
        self.detect = pipeline.detect

    def predict_batch(self, images: Any, boxes: Any, return_heatmaps: bool) -> list[Poses]:
        self.crops.append(sum(map(len, boxes)))
        return self._pipeline.predict_batch(images, boxes, return_heatmaps)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("detect_every", "looks", "crops"), [(1, 10, [16, 4]), (2, 6, [2, 2, 4, 4, 4, 4]), (5, 3, [2, 8, 10])]
)
def test_people_between_detections_go_through_the_network_together_and_once(
    pipeline: Pipeline, detect_every: int, looks: int, crops: list[int]
) -> None:
    images, truth = walk(10)
    source: Any = CountingPoses(pipeline)
    found, count = follow(source, images, detect_every=detect_every)
    assert count == looks
    assert source.crops == crops
    for poses, at in zip(found, truth, strict=True):
        np.testing.assert_allclose(poses.keypoints, at, atol=1.5)
        assert poses.track_ids is not None
        assert poses.track_ids.tolist() == [1, 2]


@pytest.mark.parametrize(("at_once", "frames"), [(None, 9), (1, 5)])
def test_it_looks_soon_where_somebody_is_lost(pipeline: Pipeline, at_once: int | None, frames: int) -> None:
    both, truth = walk(frames)
    images = both[:3] + [paint_people((240, 480), at[1:], radius=4) for at in truth[3:]]
    found, looks = follow(pipeline, images, at_once, detect_every=100)
    assert [len(poses) for poses in found] == [2] * 3 + [1] * (frames - 3)
    assert looks == 2


def test_who_comes_or_goes_between_two_detections_is_there_for_half_of_the_frames(pipeline: Pipeline) -> None:
    _, truth = walk(9)
    images = [paint_people((240, 480), at[[0] if index < 5 else [1]], radius=4) for index, at in enumerate(truth)]
    found, looks = follow(pipeline, [images[0], *images], detect_every=5)
    assert looks == 3
    assert [(poses.keypoints[:, 0, 0] > 200).tolist() for poses in found] == [[False]] * 6 + [[]] + [[True]] * 3


def test_it_looks_at_once_where_two_boxes_became_one(pipeline: Pipeline) -> None:
    both, _ = walk(1)
    follower = Follower(pipeline, detect_every=100)
    first = follower.step([VideoFrame(0, 0.0, both[0])])[0]
    assert len(first) == 2
    image = paint_people((240, 480), first.keypoints[:1], radius=4)
    state = follower.state_dict()
    twice = {name: doubled(state[name]) for name in ("last", "detected")}
    follower.load_state_dict({**state, **twice, "speed": 2 * state["speed"][:1]})
    assert len(follower.step([VideoFrame(1, 0.1, image)])[0]) == 1


def doubled(last: dict[str, Any]) -> dict[str, Any]:
    """The first person of a follower's memory twice."""
    return {name: [rows[0], rows[0]] for name, rows in last.items()}


def test_where_nobody_is_it_looks_at_each_frame_or_key(pipeline: Pipeline) -> None:
    images, _ = walk(3)
    images = [np.zeros((240, 480, 3), np.uint8)] * 4 + images
    for at_once, expected in ((1, 5), (None, 2)):
        found, looks = follow(pipeline, images, at_once, detect_every=10)
        assert [len(poses) for poses in found] == [0] * 4 + [2] * 3
        assert looks == expected


@pytest.mark.slow
def test_who_walks_out_of_the_frame_is_forgotten(pipeline: Pipeline) -> None:
    images, _ = walk(18, people=1, step=40)
    found, _ = follow(pipeline, images, detect_every=3)
    assert len(found[0]) == 1
    assert len(found[-1]) == 0


def test_the_best_boxes_are_taken(pipeline: Pipeline) -> None:
    images, truth = walk(2)
    found, _ = follow(pipeline, images, max_people=1)
    assert [len(poses) for poses in found] == [1, 1]
    np.testing.assert_allclose(found[0].keypoints[0], truth[0, 0], atol=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"smoothing": 1.0}, {"smoothing": 1.0, "detect_every": 4}, {"track": False}])
def test_it_goes_on_from_a_state_to_the_same_numbers(pipeline: Pipeline, settings: dict[str, Any]) -> None:
    images, _ = walk(14)
    frames = [VideoFrame(index, index / 10, image) for index, image in enumerate(images)]
    whole = Follower(pipeline, **settings)
    expected = [whole.step([frame])[0] for frame in frames]
    first, second = Follower(pipeline, **settings), Follower(pipeline, **settings)
    for frame in frames[:7]:
        first.step([frame])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for frame, poses in zip(frames[7:], expected[7:], strict=True):
        got = second.step([frame])[0]
        np.testing.assert_array_equal(got.keypoints, poses.keypoints)
        np.testing.assert_array_equal(got.detections.xyxy, poses.detections.xyxy)
        if poses.track_ids is not None:
            np.testing.assert_array_equal(got.track_ids, poses.track_ids)


@pytest.mark.slow
def test_smoothing_makes_joints_calmer() -> None:
    pipeline = counting()
    random = np.random.default_rng(0)
    _, truth = walk(30, step=0)
    images = [paint_people((240, 480), at + random.normal(0, 2, (2, 1, 2)), radius=4) for at in truth]
    raw, smooth = (
        np.std([poses.keypoints[0, 0] for poses in follow(pipeline, images, smoothing=strength)[0]], axis=0)
        for strength in (0.0, 1.0)
    )
    assert (smooth < raw / 2).all()


@pytest.mark.parametrize(
    "settings", [{"detect_every": 0}, {"detect_every": 1.5}, {"max_people": 0}, {"track": False, "smoothing": 1.0}]
)
def test_settings_that_make_no_sense(pipeline: Pipeline, settings: dict[str, Any]) -> None:
    with pytest.raises(HrkitError):
        Follower(pipeline, **settings)


# followed_frames


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("at_once", [None, 1, 3, 50])
def test_every_frame_comes_once_and_in_order(pipeline: Pipeline, live: bool, at_once: int | None) -> None:
    images, _ = walk(11)
    made = list(followed_frames(Frames(images, live=live), Follower(pipeline), at_once=at_once))
    assert [frame.index for step in made for frame, _ in step] == list(range(11))
    assert max(len(step) for step in made) == min(at_once or (1 if live else 8), 11)


def test_a_part_of_the_frames(pipeline: Pipeline) -> None:
    images, _ = walk(11)
    made = followed_frames(Frames(images), Follower(pipeline), first=4, end=9)
    assert [frame.index for step in made for frame, _ in step] == [4, 5, 6, 7, 8]


def test_an_error_comes_after_the_frames_before_it(pipeline: Pipeline) -> None:
    images, _ = walk(11)
    made = followed_frames(Frames(images, error=CUT_SHORT), Follower(pipeline))
    assert [frame.index for step in (next(made), next(made)) for frame, _ in step] == list(range(11))
    with pytest.raises(VideoError, match="cut short"):
        next(made)


# boxes


def poses(points: Sequence[NDArray[np.float64]], boxes: Any, scores: Any = 1.0) -> Poses:
    found = Detections(boxes, [0.5] * len(points), [0] * len(points))
    return Poses(np.stack(points), np.broadcast_to(scores, (len(points), 17)), found, coco17)


def test_boxes_go_and_grow_with_the_joints() -> None:
    before = poses([person(30, 40, 60, 120)] * 2, [[20, 30, 100, 170]] * 2)
    now = poses([person(50, 45, 60, 120), person(30, 40, 75, 150)], [[0, 0, 9, 9]] * 2)
    moved = moved_boxes(before, now)
    np.testing.assert_allclose(moved.xyxy[0], [40, 35, 120, 175], atol=1e-4)
    np.testing.assert_allclose(moved.xyxy[1], [17.5, 27.5, 117.5, 202.5], atol=1e-4)
    np.testing.assert_array_equal(moved.scores, before.detections.scores)


def test_a_limb_astray_does_not_move_a_box() -> None:
    astray = person(30, 40)
    astray[10] += [200, 0]
    scores = np.ones(17)
    scores[3] = np.nan
    moved = moved_boxes(poses([person(30, 40)], [[20, 30, 100, 170]]), poses([astray], [[0, 0, 9, 9]], scores))
    np.testing.assert_allclose(moved.xyxy.reshape(2, 2).mean(0), [60, 100], atol=6)


def test_who_shows_too_little_keeps_the_box() -> None:
    few = np.r_[np.ones(3), np.zeros(14)]
    before, now = poses([person(30, 40)], [[20, 30, 100, 170]]), poses([person(80, 40)], [[1, 2, 3, 4]], few)
    np.testing.assert_array_equal(moved_boxes(before, now).xyxy, [[1, 2, 3, 4]])
    nobody = Poses.empty(coco17)
    assert len(moved_boxes(nobody, nobody)) == 0
