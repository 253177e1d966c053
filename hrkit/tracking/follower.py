"""Follows people from frame to frame: decides when the detector runs, gives ids and smooths keypoints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import Protocol

import numpy as np
from attrs import asdict
from numpy.typing import NDArray

from hrkit.errors import HrkitError, VideoError, check_whole
from hrkit.ops.doubles import SAME_POSE, at_least, single_rows, without_doubles
from hrkit.profiling import section
from hrkit.structures import Detections, Frame, Poses, Skeleton, best
from hrkit.tracking.smoother import PoseSmoother
from hrkit.tracking.tracker import Ints, PoseTracker, State, assign, box_overlap, sizes
from hrkit.video.files import FrameSource, VideoFrame
from hrkit.video.prefetch import prefetched

FRAMES_AT_ONCE = 8  # frames of a file that are processed together
JOINT_THRESHOLD = 0.2  # joints with a lower score are ignored when a box is moved
MIN_JOINTS = 4  # joints that a person must show in both frames for their box to be moved
MAX_GROWTH = 1.5  # largest factor by which a box grows or shrinks between two detections
POOR_THRESHOLD = 0.5  # a pose is poor if its mean score falls below this share of that at the last detection
KEY_SECONDS = 0.5  # longest time for which people are taken to move on straight lines
REACH = 0.2  # distance at which boxes of one person still meet, sizes
LEAST_OVERLAP = 0.3  # IoU of boxes of one person, both grown by `REACH`
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

    The detector runs on the first and on every `detect_every`th frame. These are *keys*, and so are the last frame of a
    step and as many others as it takes for keys to be at most half a second apart. At keys without the detector, each
    person is looked for where their joints moved; between keys, boxes lie on straight lines. If a person is lost at a
    key, or nobody is left, the detector also runs at the next one. `track` adds ids.
    `smoothing` is the strength of the One-Euro filter, which needs ids; 0 turns it off. `max_people` keeps the best
    boxes only. With `heatmaps`, which may be changed between steps, poses keep their heatmaps. If two poses have an OKS
    above `doubles`, only the better one stays; None keeps both, unless they are found where two people moved.

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
        self.detect_every: int = 1 if source.detector is None else detect_every
        self._source = source
        self._max_people = None if max_people is None else check_whole("max_people", max_people)
        self._doubles = doubles
        self._parts: dict[str, PoseTracker | PoseSmoother] = {}
        if track:
            self._parts["tracker"] = PoseTracker(min_score=BOTTOM_UP_THRESHOLD) if source.bottom_up else PoseTracker()
        if smoothing:
            self._parts["smoother"] = PoseSmoother(smoothing)
        self._seen = 0  # frames
        self._time: float | None = None  # of the last key, seconds
        self._lost = True  # whether the detector has to look at the next key
        self._last = self._detected = Poses.empty(source.skeleton)  # at the last key, and when last detected
        self._speed = np.zeros((0, 2))  # of each, px a frame

    def step(self, frames: Sequence[VideoFrame]) -> list[Poses]:
        """The poses of the next frames. Passing several at once is faster."""
        found = self._found(frames) if self.detect_every == 1 else self._followed(frames)
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
        everybody = self._source.predict_batch(images, self._looked(images), self.heatmaps)
        return [without_doubles(poses, self._doubles) for poses in everybody]

    def _looked(self, images: Sequence[Frame]) -> list[Detections]:
        """The boxes that the detector finds in each picture."""
        return [best(found, self._max_people) for found in self._source.detect(images)] if images else []

    def _followed(self, frames: Sequence[VideoFrame]) -> list[Poses]:
        """The poses of frames, from key to key. The detector sees all keys together at which it is due."""
        images = [frame.image for frame in frames]
        due = [place for place in range(len(frames)) if (self._seen + place + 1) % self.detect_every == 0]
        looked = dict(zip(due, self._looked([images[place] for place in due]), strict=True))
        self._seen += len(frames)
        everybody: list[Poses] = []
        while (first := len(everybody)) < len(frames):
            key, begun = first, self._time
            while begun is not None and key not in looked and key + 1 < len(frames):
                if frames[key + 1].time - begun > KEY_SECONDS:
                    break
                key += 1
            if key not in looked and self._lost:
                looked[key] = self._looked([images[key]])[0]
            everybody += self._until_key(images[first : key + 1], looked.get(key))
            self._time = frames[key].time
        return everybody

    def _until_key(self, images: Sequence[Frame], found: Detections | None) -> list[Poses]:
        """The poses of the frames after one key up to the next, where the detector `found` people or was not asked.

        In between, boxes lie on straight lines, and people are left out where their pose is poor. A person who is
        found at only one of the two keys is looked for only in the half of the frames nearer to that key.
        """
        steps, before, detected = len(images), moved_boxes(self._detected, self._last), self._detected
        ahead = _shifted(before, steps * self._speed)
        if found is None:
            rows, now = self._at_key(images[-1], ahead)
            boxes = moved_boxes(detected[rows], now)
        else:
            rows, boxes = same_boxes(ahead, found), found
        between = [_between(before, boxes, rows, self._speed, step, steps) for step in range(1, steps)]
        asked = [one for one, _ in between] + ([] if found is None else [found])
        poses = self._source.predict_batch(images[: len(asked)], asked, self.heatmaps) if asked else []
        if found is not None:
            now = poses.pop()
        least = np.concatenate([_least_scores(detected), _least_scores(now)])
        kept = [one[one.keypoint_scores.mean(1) >= least[ends]] for one, (_, ends) in zip(poses, between, strict=True)]

        single = single_rows(now, self._doubles)
        now, rows, boxes = now[single], rows[single], boxes[single]
        self._speed, known = np.zeros((len(now), 2)), rows >= 0
        self._speed[known] = (_centers(boxes[known]) - _centers(before[rows[known]])) / steps
        self._last, self._detected = now, detected[rows] if found is None else now
        self._lost = len(now) == 0 or (found is None and len(now) < len(before))
        return [*(without_doubles(one, self._doubles) for one in kept), now]

    def _at_key(self, image: Frame, boxes: Detections) -> tuple[Ints, Poses]:
        """The people of the last key found in `boxes`: their rows and poses, without poor ones and doubles."""
        height, width = image.shape[:2]
        inside = (boxes.xyxy[:, :2] < [width, height]).all(1) & (boxes.xyxy[:, 2:] > 0).all(1)
        rows = np.flatnonzero(inside)
        poses = self._source.predict_batch([image], [boxes[rows]], self.heatmaps)[0]
        good = poses.keypoint_scores.mean(1) >= _least_scores(self._detected[rows])
        single = np.isin(np.arange(len(poses)), single_rows(poses, SAME_POSE))
        return rows[good & single], poses[good & single]

    def _identified(self, poses: Poses, time: float) -> Poses:
        with section("tracking"):
            for part in self._parts.values():
                poses = part.update(poses, time)
            return poses

    def state_dict(self) -> State:
        """The state as plain values, ready for JSON. `load_state_dict` continues from it with the same numbers."""
        return {
            "seen": self._seen,
            "time": self._time,
            "lost": self._lost,
            "last": _to_plain(self._last),
            "detected": _to_plain(self._detected),
            "speed": self._speed.tolist(),
            **{name: part.state_dict() for name, part in self._parts.items()},
        }

    def load_state_dict(self, state: State) -> None:
        """Restores a state that a follower with the same settings gave."""
        self._seen, self._time, self._lost = state["seen"], state["time"], state["lost"]
        self._last, self._detected = (_from_plain(state[name], self._source.skeleton) for name in ("last", "detected"))
        self._speed = np.reshape(state["speed"], (-1, 2))
        for name, part in self._parts.items():
            part.load_state_dict(state[name])


def followed_frames(
    source: FrameSource, follower: Follower, *, first: int = 0, end: int | None = None, at_once: int | None = None
) -> Iterator[list[tuple[VideoFrame, Poses]]]:
    """Frames `first` to `end` (exclusive) of a source with their poses, in lists of `at_once` frames.

    `at_once` is 1 by default for a live source, else the last multiple of `detect_every` up to 8, or 8. Files are read
    in the background. An error of the source is raised after the frames before it.
    """
    every = follower.detect_every
    whole = FRAMES_AT_ONCE // every * every or FRAMES_AT_ONCE  # the last frame is a key, best if the detector is due
    size = at_once or (1 if source.info.live else whole)
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


def same_boxes(before: Detections, now: Detections) -> Ints:
    """(N,) the row of `before` that each box of `now` is most likely the same person as; -1 for people who are new."""
    old, new = (boxes.xyxy.astype(np.float64) for boxes in (before, now))
    return assign(box_overlap(old, new, REACH * sizes(old)), LEAST_OVERLAP)


def _between(
    before: Detections, after: Detections, rows: Ints, speed: NDArray[np.float64], step: int, steps: int
) -> tuple[Detections, Ints]:
    """Boxes `step` of `steps` frames after `before`, and for each the row of a key that has the person.

    `rows` are those of `before` for each box `after`, or -1; rows of `after` count on from those of `before`. `speed`
    is in px a frame, (M,2).
    """
    both = np.flatnonzero(rows >= 0)
    gone = np.setdiff1d(np.arange(len(before)), rows) if 2 * step <= steps else both[:0]
    new = np.flatnonzero(rows < 0) if 2 * step >= steps else both[:0]
    old, share = before[rows[both]], step / steps
    parts = [after[both], _shifted(before, step * speed)[gone], after[new]]
    boxes = [(1 - share) * old.xyxy + share * parts[0].xyxy, parts[1].xyxy, parts[2].xyxy]
    scores, classes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "class_ids"))
    ends = np.concatenate([len(before) + both, gone, len(before) + new])
    return Detections(np.concatenate(boxes), scores, classes), ends


def _shifted(boxes: Detections, shift: NDArray[np.float64]) -> Detections:
    return Detections(boxes.xyxy + np.tile(shift, 2), boxes.scores, boxes.class_ids)


def _centers(boxes: Detections) -> NDArray[np.floating]:
    return (boxes.xyxy[:, :2] + boxes.xyxy[:, 2:]) / 2


def _least_scores(poses: Poses) -> NDArray[np.floating]:
    """(N,) the mean score below which the pose of a person is poor, by what it was when they were detected."""
    scores = poses.keypoint_scores.mean(1)
    return np.where(scores >= JOINT_THRESHOLD, POOR_THRESHOLD * scores, 0)


def _visible(poses: Poses) -> NDArray[np.bool_]:
    return np.logical_and(poses.keypoint_scores >= JOINT_THRESHOLD, np.isfinite(poses.keypoints).all(2))


def _to_plain(poses: Poses) -> State:
    columns = {**asdict(poses.detections), "keypoints": poses.keypoints, "keypoint_scores": poses.keypoint_scores}
    return {name: values.tolist() for name, values in columns.items()}


def _from_plain(plain: State, skeleton: Skeleton) -> Poses:
    found, joints = Detections(plain["xyxy"], plain["scores"], plain["class_ids"]), len(skeleton)
    keypoints = np.reshape(plain["keypoints"], (len(found), joints, 2))
    return Poses(keypoints, np.reshape(plain["keypoint_scores"], (len(found), joints)), found, skeleton)
