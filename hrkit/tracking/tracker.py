"""Gives people ids that stay the same from frame to frame.

A Kalman filter predicts the place and velocity of each person. Rows of a frame are matched to the expected poses and
boxes by OKS together with IoU, all at once (Hungarian method). Rows with a high detection score are matched first, and
rows with a low score only to people who are left over (Zhang et al., ByteTrack, ECCV 2022). A person who is not found
is remembered for a while, and the area in which they are expected grows.

Shapes: M people tracked, N rows of a frame, K joints. Times are seconds, places frame px. A person's *size* is the
longer side of their box in frame px. Constants of motion are in sizes, so that near and far people are treated alike.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrkit.errors import HrkitError, check_number, check_whole
from hrkit.structures import Poses

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
State = dict[str, Any]  # Any: plain values, as JSON has them
Columns = list[Any]  # Any: the name, type and shape of each column
People = NDArray[np.void]  # a table with the columns of `_person`

# Motion. Walking people cover 0.8 sizes per second and keep their course for seconds.
SPEED = 0.6  # standard deviation of people's velocity along each axis, sizes/s
COURSE_TIME = 2.0  # seconds in which the velocity of a person who is out of sight falls to 1/e
PLACE_NOISE = 0.02  # standard deviation of an observed place, sizes
FRAME_TIME = 1 / 30  # seconds between frames if the given time does not advance
MEMORY_FRAMES = 3  # frames for which everybody is remembered at least, so that ids stay at any frame rate
TENTATIVE_MEMORY = 0.3  # seconds for which a person without an id is remembered; one missed frame is always allowed

# Matching. PLACE_ERROR is about the spread of a standing person's joints in OKS, sqrt(0.4) * 2 * mean of COCO's sigmas.
PLACE_ERROR = 0.08  # uncertainty of an expected place that halves the worth of a match, sizes
VISIBLE_THRESHOLD = 0.2  # joints with a lower keypoint score are ignored, as in COCO's rescoring
POSE_WEIGHT = 0.5  # share of OKS in the similarity; the rest is IoU. simple-HRNet's pose_alpha
ENOUGH_JOINTS = 6  # with fewer common joints, OKS counts proportionally less; with under half, boxes tell the motion
FAR = 6.0  # standard deviations beyond which the OKS of joints is taken as 0; it is below 2e-8
TENTATIVE_WEIGHT = 0.5  # worth of a match with a person without an id, relative to one with an id
LOW_SCORE_FIT = 0.3  # least similarity, weighted by uncertainty, of a row with a low score
DOUBLE_FIT = 0.6  # similarity above which two rows are one person, unless two people are expected there
OTHER_FIT = 0.5  # least similarity, without tolerance, for a row that may be a double to be another person


def _person(joints: int) -> Columns:
    """The columns of a table of people: first what is observed, then what is tracked."""
    return [
        ("boxes", float, (4,)),  # xyxy, frame px
        ("scores", float),  # of the detection
        ("keypoints", float, (joints, 2)),  # frame px, finite
        ("visible", bool, (joints,)),  # whether each joint counts
        ("ids", int),  # -1 until confirmed
        ("hits", int),  # number of frames with the person
        ("misses", int),  # number of frames without the person since
        ("seen", float),  # time when last seen, seconds
        ("velocity", float, (2,)),  # frame px/s
        ("covariance", float, (3,)),  # per axis: variance of place, covariance, variance of velocity; sizes, s
    ]


def _observed(poses: Poses) -> People:
    """The people of a frame, as new tracks."""
    people = np.zeros(len(poses), _person(poses.keypoints.shape[1]))
    finite = np.asarray(np.isfinite(poses.keypoints).all(2))
    people["boxes"] = poses.detections.xyxy
    people["scores"] = np.nan_to_num(poses.detections.scores)
    people["keypoints"] = np.where(finite[..., None], poses.keypoints, 0)
    people["visible"] = finite & (poses.keypoint_scores >= VISIBLE_THRESHOLD)
    people["ids"], people["hits"] = -1, 1
    people["covariance"] = PLACE_NOISE**2, 0, SPEED**2
    return people


def sizes(boxes: Floats) -> Floats:
    """(N,) longer sides of boxes (N,4), frame px, at least 1."""
    return np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1, initial=0), 1)


def _moved(people: People, shift: Floats) -> People:
    """The same people moved by (N,2) frame px."""
    moved = people.copy()
    moved["boxes"] += np.tile(shift, 2)
    moved["keypoints"] += shift[:, None]
    return moved


def _expected(tracks: People, now: float) -> People:
    """The places expected at `now` and their uncertainty: the prediction of the Kalman filter.

    Velocity is an Ornstein-Uhlenbeck process (Uhlenbeck and Ornstein, Physical Review 36, 1930): constant except for
    damping and random changes that keep its variance at SPEED^2, integrated exactly over the time unseen.
    """
    time = (now - tracks["seen"]) / COURSE_TIME
    keep, reach = np.exp(-time), -COURSE_TIME * np.expm1(-time)
    place, both, speed = tracks["covariance"].T
    changes = np.maximum(2 * time - 3 + 4 * keep - keep**2, 0)  # rounding could make it negative
    covariance = [
        place + 2 * reach * both + reach**2 * speed + (SPEED * COURSE_TIME) ** 2 * changes,
        keep * (both + reach * speed) + SPEED**2 * reach**2 / COURSE_TIME,
        keep**2 * speed + SPEED**2 * (1 - keep**2),
    ]
    expected = _moved(tracks, tracks["velocity"] * reach[:, None])
    expected["velocity"] *= keep[:, None]
    expected["covariance"] = np.stack(covariance, axis=1)
    return expected


def _corrected(expected: People, people: People) -> People:
    """Expected tracks after each was observed in its row of `people`: the update of the Kalman filter.

    A person's offset is the median of that of the joints visible in both, which a single limb does not change, else
    that of the box.
    """
    offset = (people["boxes"] - expected["boxes"]).reshape(-1, 2, 2).mean(1)
    common = expected["visible"] & people["visible"]
    enough = common.sum(1) >= ENOUGH_JOINTS / 2
    joints = np.where(common[..., None], people["keypoints"] - expected["keypoints"], np.nan)
    offset[enough] = np.nanmedian(joints[enough], axis=1)
    place, both, speed = expected["covariance"].T
    gain, velocity_gain = np.stack([place, both]) / (place + PLACE_NOISE**2)
    tracks = _moved(people, offset * (gain - 1)[:, None])
    tracks["ids"], tracks["hits"] = expected["ids"], expected["hits"] + 1
    tracks["velocity"] = expected["velocity"] + offset * velocity_gain[:, None]
    tracks["covariance"] = np.stack([place * (1 - gain), both * (1 - gain), speed - velocity_gain * both], axis=1)
    return tracks


class PoseTracker:
    """Gives people ids that stay the same. Use one tracker per video.

    `memory`: seconds, but at least three frames, for which a person who is out of sight is remembered and gets the same
    id back.
    `min_hits`: frames in which a new person must be seen to get an id; in the first frame of the video one is enough.
    `min_score`: people with a lower detection score keep their id but get no new one.
    `min_similarity`: least similarity, from 0 to 1, of a person and the pose expected.
    """

    def __init__(
        self, *, memory: float = 2.0, min_hits: int = 3, min_score: float = 0.4, min_similarity: float = 0.2
    ) -> None:
        self.memory: float = check_number("memory", memory)
        self.min_hits: int = check_whole("min_hits", min_hits)
        self.min_score: float = check_number("min_score", min_score, 1)
        self.min_similarity: float = check_number("min_similarity", min_similarity, 1)
        self._time: float | None = None  # as given
        self._now = 0.0  # the same, but never going back
        self._tracks = np.zeros(0, _person(0))
        self._next_id = 1

    def __repr__(self) -> str:
        return f"PoseTracker({len(self._tracks)} followed, {self._next_id - 1} ids given)"

    def update(self, poses: Poses, time: float) -> Poses:
        """The poses of the frame at `time` (seconds) with `track_ids`.

        Ids start at 1 and are never reused. A person who is not confirmed yet, has too low a score or is a double gets
        -1. Raises `HrkitError` for a time that is not finite, or if the number of joints changes.
        """
        people, tracks, first = _observed(poses), self._tracks, self._time is None
        if len(tracks) == 0:
            tracks = people[:0]
        if tracks.dtype != people.dtype:
            joints, followed = (table["keypoints"].shape[1] for table in (people, tracks))
            raise HrkitError(f"people of {joints} joints, but those followed have {followed}; use a tracker for each")
        people["seen"] = now = self._now = self._steady(time)
        self._time = float(time)
        tracks = tracks[(now - tracks["seen"] <= self.memory) | (tracks["misses"] < MEMORY_FRAMES)]
        expected = _expected(tracks, now)
        owners, doubles = self._match(expected, people, poses.skeleton.sigmas)
        found = np.flatnonzero(owners >= 0)
        people[found] = _corrected(expected[owners[found]], people[found])
        rows = np.sort(np.concatenate([found, self._newcomers(people, owners >= 0, doubles)]))
        present = people[rows]
        confirmed = (present["ids"] < 0) & (first | (present["hits"] >= self.min_hits))
        present["ids"][confirmed] = self._next_id + np.arange(confirmed.sum())
        self._next_id += int(confirmed.sum())
        track_ids = np.full(len(poses), -1)
        track_ids[rows] = present["ids"]
        lost = tracks[np.setdiff1d(np.arange(len(tracks)), owners)]
        lost["misses"] += 1
        kept = (lost["ids"] > 0) | (lost["misses"] < 2) | (now - lost["seen"] <= TENTATIVE_MEMORY)
        self._tracks = np.concatenate([present, lost[kept]])
        return poses.replace(track_ids=track_ids)

    def state_dict(self) -> State:
        """The state as plain values, ready for JSON. A tracker with the same options continues from it exactly."""
        joints, tracks = self._tracks["keypoints"].shape[1], to_plain(self._tracks)
        return {"time": self._time, "now": self._now, "next_id": self._next_id, "joints": joints, "tracks": tracks}

    def load_state_dict(self, state: State) -> None:
        """Restores a state of `state_dict`. Raises `HrkitError` for anything else and then changes nothing."""
        try:
            time = None if state["time"] is None else float(state["time"])
            now, next_id = float(state["now"]), int(state["next_id"])
            tracks = from_plain(state["tracks"], _person(int(state["joints"])))
        except (KeyError, TypeError, ValueError) as error:
            raise HrkitError(f"this is no state of a PoseTracker ({type(error).__name__}: {error})") from None
        self._time, self._now, self._next_id, self._tracks = time, now, next_id, tracks

    def _steady(self, time: float) -> float:
        """`time` made to advance: by `FRAME_TIME` if it stands still or goes back."""
        if not math.isfinite(time):
            raise HrkitError(f"time must be a finite number of seconds, not {time}")
        if self._time is None:
            return float(time)
        return self._now + (time - self._time if time > self._time else FRAME_TIME)

    def _match(self, tracks: People, people: People, sigmas: Floats) -> tuple[Ints, Bools]:
        """(N,) the expected track of each row, or -1, and (N,N) which rows are doubles of each other."""
        variance = tracks["covariance"][:, 0]
        near = _fit(tracks, people, sigmas, np.sqrt(variance + PLACE_NOISE**2) * sizes(tracks["boxes"]))
        # a match is worth less if the expected place is uncertain, as a Gaussian gets lower when it widens
        sure = near * (PLACE_ERROR**2 / (PLACE_ERROR**2 + variance))[:, None]
        worth = sure * np.where(tracks["ids"] > 0, 1, TENTATIVE_WEIGHT)[:, None]

        doubles = _fit(people, people, sigmas, np.zeros(len(people))) >= DOUBLE_FIT
        np.fill_diagonal(doubles, False)
        # either of two rows on one person may get that person's track; for another track it must fit without tolerance
        theirs = (worth >= worth.max(0, initial=0)) | (_fit(tracks, people, sigmas, np.zeros(len(tracks))) >= OTHER_FIT)
        worth = worth * ((near >= self.min_similarity) & (theirs | ~doubles.any(0)))

        high = people["scores"] >= self.min_score
        owners = assign(worth * high)
        left = (tracks["ids"] > 0) & ~np.isin(np.arange(len(tracks)), owners)
        owners = np.maximum(owners, assign(worth * ~high * left[:, None] * (sure >= LOW_SCORE_FIT)))
        # a double of a person with an id is nobody new
        known = np.isin(owners, np.flatnonzero(tracks["ids"] > 0))
        owners[~known & (doubles & known).any(1)] = -1
        return owners, doubles

    def _newcomers(self, people: People, taken: Bools, doubles: Bools) -> Ints:
        """The free rows that start tracks: all with a high score except doubles of better ones."""
        taken = taken.copy()
        order = np.lexsort((*people["boxes"].T, -people["scores"]))  # ties by box: the order of rows is no matter
        fresh = []
        for row in order[~taken[order] & (people["scores"][order] >= self.min_score)]:
            if not (doubles[row] & taken).any():
                taken[row] = True
                fresh.append(row)
        return np.array(fresh, np.int64)


def _fit(ours: People, theirs: People, sigmas: Floats, spread: Floats) -> Floats:
    """(M,N) the similarity, from 0 to 1, of M people and N rows: OKS of joints visible in both, and IoU of boxes.

    `spread` (M,) is the tolerance in frame px: it adds to the spread of each joint in OKS, and to each side of the
    boxes (Yang et al., Hard to Track Objects ... by Buffering the Matching Space, WACV 2023).
    """
    count = ours["visible"].astype(np.float64) @ theirs["visible"].T
    weight = POSE_WEIGHT * np.minimum(count / ENOUGH_JOINTS, 1)
    oks = _oks(ours, theirs, sigmas, spread) / np.maximum(count, 1)
    return weight * oks + (1 - weight) * box_overlap(ours["boxes"], theirs["boxes"], spread)


def _oks(ours: People, theirs: People, sigmas: Floats, spread: Floats) -> Floats:
    """(M,N) the sum of OKS over joints visible in both; 0 without calculation for people who are far apart."""
    areas = np.maximum((_areas(ours["boxes"].T)[:, None] + _areas(theirs["boxes"].T)) / 2, 1)
    (low, high), (other_low, other_high) = _extents(ours), _extents(theirs)
    apart = np.maximum(low[:, None] - other_high, other_low - high[:, None]).max(-1)
    widest = (2 * sigmas.max(initial=0)) ** 2 * areas + spread[:, None] ** 2
    rows, others = np.nonzero(apart < FAR * np.sqrt(widest))
    moved = ours["keypoints"][rows] - theirs["keypoints"][others]
    variances = (2 * sigmas) ** 2 * areas[rows, others, None] + spread[rows, None] ** 2
    alike = np.exp(-(moved[..., 0] ** 2 + moved[..., 1] ** 2) / variances / 2)
    total = np.zeros(areas.shape)
    total[rows, others] = (alike * (ours["visible"][rows] & theirs["visible"][others])).sum(1)
    return total


def _extents(people: People) -> tuple[Floats, Floats]:
    """(N,2) upper left and lower right corner of the visible joints; inf and -inf if there are none."""
    visible = people["visible"][..., None]
    low = np.where(visible, people["keypoints"], np.inf).min(1, initial=np.inf)
    high = np.where(visible, people["keypoints"], -np.inf).max(1, initial=-np.inf)
    return low, high


def box_overlap(ours: Floats, theirs: Floats, spread: Floats) -> Floats:
    """(M,N) IoU of boxes (M,4) and (N,4), both grown by `spread` (M,) on each side; 0 for boxes without area."""
    grow = np.reshape([-1, -1, 1, 1], (4, 1, 1)) * spread[:, None]
    a, b = ours.T[..., None] + grow, theirs.T[:, None] + grow
    width, height = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = width * height
    union = _areas(a) + _areas(b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _areas(boxes: Floats) -> Floats:
    """(...) areas of boxes (4,...), frame px squared."""
    return (boxes[2] - boxes[0]) * (boxes[3] - boxes[1])


def assign(worth: Floats, least: float = 0.0) -> Ints:
    """(N,) the track of each row, or -1, so that the total worth (M,N) is highest; each is worth more than `least`."""
    from scipy.optimize import linear_sum_assignment  # loads slowly

    owners = np.full(worth.shape[1], -1)
    tracks, rows = linear_sum_assignment(worth, maximize=True)
    chosen = worth[tracks, rows] > least
    owners[rows[chosen]] = tracks[chosen]
    return owners


def to_plain(table: NDArray[np.void]) -> State:
    """The columns of a table as lists."""
    return {name: table[name].tolist() for name in table.dtype.names or ()}


def from_plain(columns: State, kind: Columns) -> NDArray[np.void]:
    """A table from its columns as lists. Raises `KeyError`, `TypeError` or `ValueError` if they do not fit."""
    table = np.zeros(len(columns["ids"]), kind)
    for name in table.dtype.names or ():
        table[name] = np.reshape(columns[name], table[name].shape)
    return table
