"""People followed from frame to frame: when the detector looks, ids, smoothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hrkit import ops
from hrkit.errors import HrkitError, VideoError
from hrkit.geometry import Size
from hrkit.profiling import section
from hrkit.structures import Detections, Poses, Skeleton, best
from hrkit.tracking.smoother import PoseSmoother
from hrkit.tracking.tracker import PoseTracker
from hrkit.video.files import FrameSource, VideoFrame
from hrkit.video.prefetch import ahead

if TYPE_CHECKING:
    from hrkit.pipeline import Pipeline

FRAMES_AT_ONCE = 8
"""How many frames of a file are worked on at once."""

SEEN = 0.2
"""Joints that score less say nothing of where a person is."""

FEWEST_JOINTS = 4
"""Of a person, from which a box can be told."""

MOST_GROWTH = 1.5
"""Of a box, either way, from one detection to the next."""

POOR = 0.5
"""A pose is poor whose mean score fell to this part of what it was when the detector saw the person well."""

SAME_PERSON = 0.7
"""OKS from which two boxes are taken to have run into one person."""

SURE_BOTTOM_UP = 0.1
"""`PoseTracker.min_score` where the network finds people by itself: joints out of sight lower its score of a person."""

class Follower:
    """Poses of one video, a few frames at a time, in order.

    The detector looks at every `detect_every`th frame. In between people are looked for where their joints went, but in
    a frame where somebody is lost, a pose turns poor or nobody is left it looks all the same. `track` gives ids,
    `smoothing` is the strength of the One-Euro filter on them (0: none). Of more than `max_people` the best boxes are
    taken. With `heatmaps`, which may change from step to step, poses hold theirs.

    Raises `HrkitError` for settings that make no sense.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        track: bool = True,
        smoothing: float = 0.0,
        detect_every: int = 1,
        max_people: int | None = None,
        heatmaps: bool = False,
    ) -> None:
        for name, number in (("detect_every", detect_every), ("max_people", max_people)):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise HrkitError(f"{name} must be a whole number of at least 1, not {number!r}")
        if smoothing and not track:
            raise HrkitError("smoothing needs to know who is who; turn tracking on")
        self.heatmaps = heatmaps
        self._pipeline = pipeline
        self.detect_every = 1 if pipeline.detector is None else detect_every
        self._max_people = max_people
        self._tracker = _tracker_for(pipeline) if track else None
        self._smoother = PoseSmoother(smoothing) if smoothing else None
        self._since_detection = 0
        self._last: Poses | None = None
        self._detected: Poses | None = None
        """The people of `_last`, row by row, as they were when the detector saw them."""

    def step(self, frames: Sequence[VideoFrame]) -> list[Poses]:
        """The people of the next frames; several at once are faster where the detector looks at each."""
        raw = self._look(frames) if self.detect_every == 1 else [self._one(frame) for frame in frames]
        return [self._followed(frame, poses) for frame, poses in zip(frames, raw, strict=True)]

    def _look(self, frames: Sequence[VideoFrame]) -> list[Poses]:
        images = [frame.image for frame in frames]
        if self._pipeline.bottom_up:
            everybody = self._pipeline.predict_batch(images, None, self.heatmaps)
            return [best(poses, self._max_people) for poses in everybody]
        found = [best(one, self._max_people) for one in self._pipeline.detect(images)]
        return self._pipeline.predict_batch(images, found, self.heatmaps)

    def _one(self, frame: VideoFrame) -> Poses:
        poses = self._between(frame)
        if poses is None:
            poses = self._detected = self._look([frame])[0]
            self._since_detection = 0
        self._since_detection += 1
        self._last = poses
        return poses

    def _between(self, frame: VideoFrame) -> Poses | None:
        """The people of the frame before; None where the detector has to look."""
        if self._last is None or self._detected is None or self._since_detection >= self.detect_every:
            return None
        boxes = moved_boxes(self._detected, self._last)
        there = np.flatnonzero(_inside(boxes.xyxy, frame.image.shape[:2]))
        if len(there) == 0:
            return None
        self._detected = self._detected[there]
        poses = self._pipeline.predict_batch([frame.image], [boxes[there]], self.heatmaps)[0]
        single = ops.oks_nms(
            poses.keypoints, poses.scores, poses.detections.areas, SAME_PERSON, self._pipeline.skeleton.sigmas
        )
        sure = self._detected.keypoint_scores.mean(1)
        poor = (sure >= SEEN) & (poses.keypoint_scores.mean(1) < POOR * sure)
        return None if len(single) < len(poses) or poor.any() else poses

    def _followed(self, frame: VideoFrame, poses: Poses) -> Poses:
        with section("tracking"):
            if self._tracker is not None:
                poses = self._tracker.update(poses, frame.time)
            if self._smoother is not None:
                poses = self._smoother.update(poses, frame.time)
            return poses

    def state_dict(self) -> dict[str, Any]:
        """Plain values, ready for json, from which `load_state_dict` goes on to the same numbers."""
        return {
            "since_detection": self._since_detection,
            "last": None if self._last is None else _plain(self._last),
            "detected": None if self._detected is None else _plain(self._detected),
            "tracker": None if self._tracker is None else self._tracker.state_dict(),
            "smoother": None if self._smoother is None else self._smoother.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to where `state_dict` was taken, by a follower with the same settings."""
        self._since_detection = state["since_detection"]
        self._last, self._detected = (
            None if state[name] is None else _poses(state[name], self._pipeline.skeleton)
            for name in ("last", "detected")
        )
        for part, name in ((self._tracker, "tracker"), (self._smoother, "smoother")):
            if part is not None:
                part.load_state_dict(state[name])


def _tracker_for(pipeline: Pipeline) -> PoseTracker:
    return PoseTracker(min_score=SURE_BOTTOM_UP) if pipeline.bottom_up else PoseTracker()


def steps(
    source: FrameSource, follower: Follower, *, first: int = 0, end: int | None = None, at_once: int | None = None
) -> Iterator[list[tuple[VideoFrame, Poses]]]:
    """The frames of a source from the `first` to before the `end`, and their people, `at_once` a step.

    By default a step is a frame of a live source, or where the detector does not look at each, and 8 frames otherwise.
    Files are read ahead meanwhile. What reading raises is raised after the frames before it.
    """
    size = at_once or (1 if source.info.live or follower.detect_every > 1 else FRAMES_AT_ONCE)
    begun = source if end is None else takewhile(lambda frame: frame.index < end, source)
    wanted = (frame for frame in begun if frame.index >= first)
    failure: VideoError | None = None
    chunk: list[VideoFrame] = []
    with contextlib.closing(wanted if source.info.live else ahead(wanted, 2 * size)) as frames:
        try:
            for frame in frames:
                chunk.append(frame)
                if len(chunk) == size:
                    yield list(zip(chunk, follower.step(chunk), strict=True))
                    chunk = []
        except VideoError as error:
            failure = error
        if chunk:
            yield list(zip(chunk, follower.step(chunk), strict=True))
        if failure is not None:
            raise failure


def moved_boxes(before: Poses, now: Poses) -> Detections:
    """Where the boxes of people should be, who were in them `before` and whose joints are `now` elsewhere; row by row.

    A box keeps its shape, goes with the median of the joints seen both times, and grows as their spread does. Who shows
    too few of them keeps the box of now. Scores and classes are those of the boxes before.
    """
    common = _seen(before) & _seen(now)
    then, there = (np.where(common[..., None], poses.keypoints, np.nan) for poses in (before, now))
    enough = common.sum(1) >= FEWEST_JOINTS
    then[~enough] = there[~enough] = 0  # medians of nothing would warn
    middle_then, middle_there = (np.nanmedian(points, axis=1) for points in (then, there))
    spread_then, spread_there = (
        np.nanmean(np.abs(points - middle[:, None]).sum(2), axis=1)
        for points, middle in ((then, middle_then), (there, middle_there))
    )
    scale = np.clip(spread_there / np.maximum(spread_then, 1e-6), 1 / MOST_GROWTH, MOST_GROWTH)[:, None]
    found = before.detections
    corners = [middle_there + scale * (corner - middle_then) for corner in (found.xyxy[:, :2], found.xyxy[:, 2:])]
    boxes = np.where(enough[:, None], np.concatenate(corners, axis=1), now.detections.xyxy)
    return Detections(boxes, found.scores, found.class_ids)


def _seen(poses: Poses) -> NDArray[np.bool_]:
    """(N,K)."""
    seen: NDArray[np.bool_] = (poses.keypoint_scores >= SEEN) & np.isfinite(poses.keypoints).all(2)
    return seen


def _inside(boxes: NDArray[np.float32], frame_size: Size) -> NDArray[np.bool_]:
    """(N,) whether any of a box is in a frame of (height, width)."""
    height, width = frame_size
    return np.logical_and((boxes[:, :2] < [width, height]).all(1), (boxes[:, 2:] > 0).all(1))


def _plain(poses: Poses) -> dict[str, Any]:
    found = poses.detections
    return {
        "keypoints": poses.keypoints.tolist(),
        "keypoint_scores": poses.keypoint_scores.tolist(),
        "xyxy": found.xyxy.tolist(),
        "scores": found.scores.tolist(),
        "class_ids": found.class_ids.tolist(),
    }


def _poses(plain: Mapping[str, Any], skeleton: Skeleton) -> Poses:
    joints = len(skeleton)
    return Poses(
        np.reshape(plain["keypoints"], (-1, joints, 2)),
        np.reshape(plain["keypoint_scores"], (-1, joints)),
        Detections(plain["xyxy"], plain["scores"], plain["class_ids"]),
        skeleton,
    )
