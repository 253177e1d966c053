"""Follows people from frame to frame: decides when the detector runs, gives ids and smooths keypoints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import Protocol

import numpy as np
from attrs import asdict
from numpy.typing import NDArray

from hrkit import ops
from hrkit.errors import HrkitError, VideoError, check_whole
from hrkit.ops.doubles import SAME_POSE, without_doubles
from hrkit.profiling import section
from hrkit.structures import Detections, Frame, Poses, Skeleton, at_least, best
from hrkit.tracking.smoother import PoseSmoother
from hrkit.tracking.tracker import PoseTracker, State
from hrkit.video.files import FrameSource, VideoFrame
from hrkit.video.prefetch import prefetched

FRAMES_AT_ONCE = 8  # frames of a file that are processed together
JOINT_THRESHOLD = 0.2  # joints with a lower score are ignored when a box is moved
MIN_JOINTS = 4  # joints that a person must show in both frames for their box to be moved
MAX_GROWTH = 1.5  # largest factor by which a box grows or shrinks between two detections
POOR_THRESHOLD = 0.5  # a pose is poor if its mean score falls below this share of that at the last detection
SAME_PERSON_THRESHOLD = 0.7  # OKS above which two poses are one person
BOTTOM_UP_THRESHOLD = 0.1  # `PoseTracker.min_score` for bottom-up networks, which score hidden joints lower


class PoseSource(Protocol):
    """What a `Follower` needs to find poses. `hrkit.Pipeline` is one.

    If it has a `person_threshold`, people whose score is lower keep their ids but are not in results.
    """

    @property
    def skeleton(self) -> Skeleton:
        """The skeleton of all poses."""

    @property
    def detector(self) -> object | None:
        """The detector; None if there is none to save work with."""

    @property
    def bottom_up(self) -> bool:
        """Whether the network finds people by itself and takes no boxes."""

    def detect(self, images: Sequence[Frame]) -> list[Detections]:
        """The boxes of each picture. Not called if `bottom_up`."""

    def predict_batch(
        self, images: Sequence[Frame], boxes: Sequence[Detections] | None, return_heatmaps: bool
    ) -> list[Poses]:
        """The poses of each picture, one per box. `boxes` is None if `bottom_up`."""


class Follower:
    """Finds the poses of one video, a few frames at a time, in order.

    The detector runs on every `detect_every`th frame. In between, each person is looked for where their joints moved.
    The detector also runs as soon as a person is lost, a pose turns poor or nobody is left. `track` adds ids.
    `smoothing` is the strength of the One-Euro filter, which needs ids; 0 turns it off. `max_people` keeps the best
    boxes only. With `heatmaps`, which may be changed between steps, poses keep their heatmaps. If two poses have an OKS
    above `doubles`, only the better one stays; None keeps both.

    Raises `HrkitError` for invalid settings.
    """

    def __init__(
        self,
        source: PoseSource,
        *,
        track: bool = True,
        smoothing: float = 0.0,
        detect_every: int = 1,
        max_people: int | None = None,
        heatmaps: bool = False,
        doubles: float | None = SAME_POSE,
    ) -> None:
        check_whole("detect_every", detect_every)
        if smoothing and not track:
            raise HrkitError("smoothing needs to know who is who; turn tracking on")
        self.heatmaps = heatmaps
        self.detect_every = 1 if source.detector is None else detect_every
        self._source = source
        self._max_people = None if max_people is None else check_whole("max_people", max_people)
        self._doubles = doubles
        self._parts: dict[str, PoseTracker | PoseSmoother] = {}
        if track:
            self._parts["tracker"] = PoseTracker(min_score=BOTTOM_UP_THRESHOLD) if source.bottom_up else PoseTracker()
        if smoothing:
            self._parts["smoother"] = PoseSmoother(smoothing)
        self._since_detection = 0
        self._last: Poses | None = None
        self._detected: Poses | None = None  # the people of `_last`, row by row, as the last detection found them

    def step(self, frames: Sequence[VideoFrame]) -> list[Poses]:
        """The poses of the next frames. Passing several at once is faster if the detector runs on every frame."""
        found = self._found(frames) if self.detect_every == 1 else [self._next(frame) for frame in frames]
        least: float = getattr(self._source, "person_threshold", 0.0)
        followed = (self._identified(poses, frame.time) for frame, poses in zip(frames, found, strict=True))
        return [
            at_least(poses, least).replace(time=frame.time, frame_index=frame.index)
            for frame, poses in zip(frames, followed, strict=True)
        ]

    def _found(self, frames: Sequence[VideoFrame]) -> list[Poses]:
        images = [frame.image for frame in frames]
        if self._source.bottom_up:
            return [best(poses, self._max_people) for poses in self._source.predict_batch(images, None, self.heatmaps)]
        boxes = [best(found, self._max_people) for found in self._source.detect(images)]
        everybody = self._source.predict_batch(images, boxes, self.heatmaps)
        return [without_doubles(poses, self._doubles) for poses in everybody]

    def _next(self, frame: VideoFrame) -> Poses:
        """The poses of a frame, by the detector only if it is due or following fails."""
        poses = self._moved(frame)
        if poses is None:
            poses = self._detected = self._found([frame])[0]
            self._since_detection = 0
        self._since_detection += 1
        self._last = poses
        return poses

    def _moved(self, frame: VideoFrame) -> Poses | None:
        """The people of the previous frame, found without the detector; None if it has to run."""
        if self._last is None or self._detected is None or self._since_detection >= self.detect_every:
            return None
        boxes = moved_boxes(self._detected, self._last)
        height, width = frame.image.shape[:2]
        inside = (boxes.xyxy[:, :2] < [width, height]).all(1) & (boxes.xyxy[:, 2:] > 0).all(1)
        there = np.flatnonzero(inside)
        if len(there) == 0:
            return None
        self._detected = self._detected[there]
        poses = self._source.predict_batch([frame.image], [boxes[there]], self.heatmaps)[0]
        areas, sigmas = poses.detections.areas, self._source.skeleton.sigmas
        single = ops.oks_nms(poses.keypoints, poses.scores, areas, SAME_PERSON_THRESHOLD, sigmas)
        scores, first_scores = poses.keypoint_scores.mean(1), self._detected.keypoint_scores.mean(1)
        poor = (first_scores >= JOINT_THRESHOLD) & (scores < POOR_THRESHOLD * first_scores)
        return None if len(single) < len(poses) or poor.any() else poses

    def _identified(self, poses: Poses, time: float) -> Poses:
        with section("tracking"):
            for part in self._parts.values():
                poses = part.update(poses, time)
            return poses

    def state_dict(self) -> State:
        """The state as plain values, ready for JSON. `load_state_dict` continues from it with the same numbers."""
        return {
            "since_detection": self._since_detection,
            "last": _to_plain(self._last),
            "detected": _to_plain(self._detected),
            **{name: part.state_dict() for name, part in self._parts.items()},
        }

    def load_state_dict(self, state: State) -> None:
        """Restores a state that a follower with the same settings gave."""
        self._since_detection = state["since_detection"]
        self._last, self._detected = (_from_plain(state[name], self._source.skeleton) for name in ("last", "detected"))
        for name, part in self._parts.items():
            part.load_state_dict(state[name])


def followed_frames(
    source: FrameSource, follower: Follower, *, first: int = 0, end: int | None = None, at_once: int | None = None
) -> Iterator[list[tuple[VideoFrame, Poses]]]:
    """Frames `first` to `end` (exclusive) of a source with their poses, in lists of `at_once` frames.

    `at_once` is 8 by default, and 1 for a live source or if the detector skips frames. Files are read in the
    background. An error of the source is raised after the frames before it.
    """
    size = at_once or (1 if source.info.live or follower.detect_every > 1 else FRAMES_AT_ONCE)
    begun = takewhile(lambda frame: end is None or frame.index < end, source)
    wanted = (frame for frame in begun if frame.index >= first)
    failure: VideoError | None = None
    with contextlib.closing(wanted if source.info.live else prefetched(wanted, 2 * size)) as frames:
        while True:
            chunk: list[VideoFrame] = []
            try:
                for frame in islice(frames, size):
                    chunk.append(frame)  # the frames before an error stay
            except VideoError as error:
                failure = error
            if chunk:
                yield list(zip(chunk, follower.step(chunk), strict=True))
            if failure is not None:
                raise failure
            if len(chunk) < size:
                return


def moved_boxes(before: Poses, now: Poses) -> Detections:
    """Each person's box in `before`, moved and scaled by the motion of their joints until `now`; row by row.

    A box keeps its shape, follows the median of the joints visible in both, and grows with their spread. A person with
    fewer than `MIN_JOINTS` of them gets the box in `now`. Scores and classes are those of `before`.
    """
    common = _visible(before) & _visible(now)
    then, there = (np.where(common[..., None], poses.keypoints, np.nan) for poses in (before, now))
    enough = common.sum(1) >= MIN_JOINTS
    then[~enough] = there[~enough] = 0  # a median of only NaN would warn
    middle_then, middle_there = np.nanmedian(then, axis=1), np.nanmedian(there, axis=1)
    spread_then = np.nanmean(np.abs(then - middle_then[:, None]).sum(2), axis=1)
    spread_there = np.nanmean(np.abs(there - middle_there[:, None]).sum(2), axis=1)
    scale = np.clip(spread_there / np.maximum(spread_then, 1e-6), 1 / MAX_GROWTH, MAX_GROWTH)[:, None]
    found = before.detections
    corners = [middle_there + scale * (corner - middle_then) for corner in (found.xyxy[:, :2], found.xyxy[:, 2:])]
    boxes = np.where(enough[:, None], np.concatenate(corners, axis=1), now.detections.xyxy)
    return Detections(boxes, found.scores, found.class_ids)


def _visible(poses: Poses) -> NDArray[np.bool_]:
    return np.logical_and(poses.keypoint_scores >= JOINT_THRESHOLD, np.isfinite(poses.keypoints).all(2))


def _to_plain(poses: Poses | None) -> State | None:
    if poses is None:
        return None
    columns = {**asdict(poses.detections), "keypoints": poses.keypoints, "keypoint_scores": poses.keypoint_scores}
    return {name: values.tolist() for name, values in columns.items()}


def _from_plain(plain: State | None, skeleton: Skeleton) -> Poses | None:
    if plain is None:
        return None
    found, joints = Detections(plain["xyxy"], plain["scores"], plain["class_ids"]), len(skeleton)
    keypoints = np.reshape(plain["keypoints"], (len(found), joints, 2))
    return Poses(keypoints, np.reshape(plain["keypoint_scores"], (len(found), joints)), found, skeleton)
