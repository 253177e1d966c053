"""Who is who over time: ids for the people of frame after frame.

Each person is followed by a Kalman filter of place and velocity, and found again where the expected pose and box fit a
row best: by OKS together with IoU, all people of a frame at once (Hungarian method). Rows of a high detection score
choose first, rows of a low one may go on with what is left (Zhang et al., ByteTrack, ECCV 2022). Whoever is not found
is remembered for a while, and sought ever further around the place where they should be by then.

Shapes: M people followed, N rows of a frame, K joints. Times are seconds, places frame px. A person's *size* is the
longer side of their box, frame px; constants of motion are in sizes, so that near and far people are treated alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from hrkit.errors import HrkitError
from hrkit.structures import Poses

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# People at a walk cover 0.8 sizes a second and keep their course for seconds.
SPEED = 0.6
"""Standard deviation of people's velocity along each axis, sizes/s."""
COURSE_TIME = 2.0
"""Seconds in which a velocity that is not seen any more falls to 1/e."""
PLACE_NOISE = 0.02
"""Standard deviation of a place that is seen, sizes."""

SURE = 0.08
"""How far expected places may be off, sizes, before somebody else who fits as well goes first; about the spread of a
standing person's joints in OKS, sqrt(0.4) * 2 * the mean of COCO's sigmas."""

VISIBLE = 0.2
"""Joints of a lower keypoint score say nothing about who it is; where COCO's rescoring has its threshold too."""
POSE_WEIGHT = 0.5
"""The share of OKS in the similarity, the rest is IoU; simple-HRNet's pose_alpha."""
ENOUGH_JOINTS = 6
"""With fewer joints in common OKS counts proportionally less; with fewer than half, the box alone says who moved."""
FAR = 6.0
"""Standard deviations from which joints have nothing in common: OKS is below 2e-8 there."""
TENTATIVE_WEIGHT = 0.5
"""What those without an id are worth beside those with one, when both fit a row."""
LOW_SCORE_FIT = 0.3
"""How well, and how surely, a row of low score must fit to count at all."""
DOUBLE_FIT = 0.6
"""Two rows that fit each other this well are one person, unless two people are expected right there."""
OTHER_FIT = 0.5
"""How well a row that may be a double must fit, without allowance, to be taken for somebody else."""
TENTATIVE_MEMORY = 0.3
"""Seconds for which somebody without an id is remembered; one missed frame is always forgiven."""
FRAME_TIME = 1 / 30
"""Seconds from one frame to the next where the time given stands still or goes back."""


def _floats(values: ArrayLike) -> Floats:
    return np.array(values, np.float64)


def _ints(values: ArrayLike) -> Ints:
    return np.array(values, np.int64)


def _bools(values: ArrayLike) -> Bools:
    return np.array(values, np.bool_)


_Rows = TypeVar("_Rows", bound="_People")


@frozen(eq=False)
class _People:
    """What is seen of people, one a row."""

    boxes: Floats = field(converter=_floats)
    """(N,4) xyxy, frame px."""
    scores: Floats = field(converter=_floats)
    """(N,) of the detector."""
    keypoints: Floats = field(converter=_floats)
    """(N,K,2) frame px; finite."""
    visible: Bools = field(converter=_bools)
    """(N,K) which joints count."""

    @classmethod
    def seen_in(cls, poses: Poses) -> _People:
        """Everybody in `poses`."""
        finite = np.asarray(np.isfinite(poses.keypoints).all(2))
        keypoints = np.where(finite[..., None], poses.keypoints, 0)
        scores = np.nan_to_num(poses.detections.scores)
        return cls(poses.detections.xyxy, scores, keypoints, finite & (poses.keypoint_scores >= VISIBLE))

    @property
    def sizes(self) -> Floats:
        """(N,) longer sides of the boxes, frame px; at least 1."""
        return np.maximum((self.boxes[:, 2:] - self.boxes[:, :2]).max(1, initial=0), 1)

    def moved(self: _Rows, shift: Floats) -> _Rows:
        """The same people, moved by (N,2) frame px."""
        return evolve(self, boxes=self.boxes + np.tile(shift, 2), keypoints=self.keypoints + shift[:, None])

    def fields(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return attrs.asdict(self, recurse=False)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self: _Rows, rows: Any) -> _Rows:
        return evolve(self, **{name: values[rows] for name, values in self.fields().items()})

    def __add__(self: _Rows, others: _Rows) -> _Rows:
        theirs = others.fields()
        return evolve(self, **{name: np.concatenate([mine, theirs[name]]) for name, mine in self.fields().items()})


@frozen(eq=False)
class _Tracks(_People):
    """People followed, as they were when last seen; boxes and keypoints stand where the filter has them."""

    ids: Ints = field(converter=_ints)
    """(M,) -1 until confirmed."""
    hits: Ints = field(converter=_ints)
    """(M,) in how many frames seen."""
    misses: Ints = field(converter=_ints)
    """(M,) in how many frames not seen since."""
    seen: Floats = field(converter=_floats)
    """(M,) when last seen, seconds."""
    velocity: Floats = field(converter=_floats)
    """(M,2) frame px/s."""
    covariance: Floats = field(converter=_floats)
    """(M,3) variance of place, covariance of place and velocity, variance of velocity, along each axis; sizes, s."""

    @classmethod
    def begin(cls, people: _People, now: float) -> _Tracks:
        """Everybody in `people`, seen for the first time."""
        count = len(people)
        return cls(
            **people.fields(),
            ids=np.full(count, -1),
            hits=np.ones(count),
            misses=np.zeros(count),
            seen=np.full(count, now),
            velocity=np.zeros((count, 2)),
            covariance=np.tile([PLACE_NOISE**2, 0, SPEED**2], (count, 1)),
        )

    @classmethod
    def nobody(cls, joints: int) -> _Tracks:
        """No tracks, of people with `joints` joints."""
        return cls.begin(_People(np.zeros((0, 4)), [], np.zeros((0, joints, 2)), np.zeros((0, joints))), 0.0)

    def expected(self, now: float) -> _Tracks:
        """Where they should be by now, and how surely.

        Velocity is an Ornstein-Uhlenbeck process (Uhlenbeck and Ornstein, Physical Review 36, 1930): constant but for
        damping and random pushes that keep its variance at SPEED^2; integrated exactly over the time since last seen.
        """
        time = (now - self.seen) / COURSE_TIME
        keep, reach = np.exp(-time), -COURSE_TIME * np.expm1(-time)
        place, both, speed = self.covariance.T
        pushed = np.maximum(2 * time - 3 + 4 * keep - keep**2, 0)  # rounding could make it negative
        covariance = [
            place + 2 * reach * both + reach**2 * speed + (SPEED * COURSE_TIME) ** 2 * pushed,
            keep * (both + reach * speed) + SPEED**2 * reach**2 / COURSE_TIME,
            keep**2 * speed + SPEED**2 * (1 - keep**2),
        ]
        moved = self.moved(self.velocity * reach[:, None])
        return evolve(moved, velocity=self.velocity * keep[:, None], covariance=np.stack(covariance, axis=1))

    def corrected(self, people: _People, now: float) -> _Tracks:
        """The same tracks, which are expected ones, each now seen in its row of `people`: a Kalman filter's update."""
        offset = _displacement(self, people)
        place, both, speed = self.covariance.T
        gain, velocity_gain = np.stack([place, both]) / (place + PLACE_NOISE**2)
        covariance = [place * (1 - gain), both * (1 - gain), speed - velocity_gain * both]
        return _Tracks(
            **people.moved(offset * (gain - 1)[:, None]).fields(),
            ids=self.ids,
            hits=self.hits + 1,
            misses=np.zeros(len(self)),
            seen=np.full(len(self), now),
            velocity=self.velocity + offset * velocity_gain[:, None],
            covariance=np.stack(covariance, axis=1),
        )


class PoseTracker:
    """Gives people ids that stay theirs; one tracker a video.

    `memory`: seconds for which somebody who is not seen is remembered, and comes back with their id.
    `min_hits`: in how many frames somebody new is seen before an id shows; in the very first frame one is enough.
    `min_score`: people of a lower detection score go on with ids, but start none.
    `min_similarity`: how well, from 0 to 1, somebody must fit where they are expected.
    """

    def __init__(
        self, *, memory: float = 2.0, min_hits: int = 3, min_score: float = 0.4, min_similarity: float = 0.2
    ) -> None:
        for name, fraction in (("min_score", min_score), ("min_similarity", min_similarity)):
            if not 0 <= fraction <= 1:
                raise HrkitError(f"{name} must be from 0 to 1, not {fraction}")
        if not 0 <= memory < math.inf:
            raise HrkitError(f"memory must be a number of seconds of at least 0, not {memory}")
        if not isinstance(min_hits, int) or min_hits < 1:
            raise HrkitError(f"min_hits must be a whole number of at least 1, not {min_hits!r}")
        self.memory = memory
        self.min_hits = min_hits
        self.min_score = min_score
        self.min_similarity = min_similarity
        self._time: float | None = None  # as last given
        self._now = 0.0  # the same, but that it never goes back
        self._tracks = _Tracks.nobody(0)
        self._next_id = 1

    def __repr__(self) -> str:
        return f"PoseTracker({len(self._tracks)} followed, {self._next_id - 1} ids given)"

    def update(self, poses: Poses, time: float) -> Poses:
        """The same rows with `track_ids`, of the frame at `time` (seconds).

        Ids are from 1 up and never given twice; -1 is whoever is not confirmed yet, of too low a score, or a double.
        Raises `HrkitError` for a time that is not finite, or people of other joints than those followed.
        """
        people = _People.seen_in(poses)
        tracks, first = self._fitting(people), self._time is None
        self._now, self._time = self._steady(time), float(time)
        now = self._now
        tracks = tracks[now - tracks.seen <= self.memory]
        owners, doubles = self._match(tracks.expected(now), people, poses.skeleton.sigmas)
        rows = np.flatnonzero(owners >= 0)
        fresh = self._newcomers(people, owners >= 0, doubles)
        found = tracks[owners[rows]].expected(now).corrected(people[rows], now)
        order = np.argsort(np.concatenate([rows, fresh]))
        present = self._confirmed((found + _Tracks.begin(people[fresh], now))[order], first)
        track_ids = np.full(len(poses), -1)
        track_ids[np.sort(np.concatenate([rows, fresh]))] = present.ids
        self._tracks = present + _lost(tracks[np.setdiff1d(np.arange(len(tracks)), owners)], now)
        return poses.replace(track_ids=track_ids)

    def state_dict(self) -> dict[str, Any]:
        """Plain values, ready for json, from which a tracker of the same options goes on exactly as this one would."""
        return {
            "time": self._time,
            "now": self._now,
            "next_id": self._next_id,
            "joints": self._tracks.keypoints.shape[1],
            "tracks": {name: values.tolist() for name, values in self._tracks.fields().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave. Raises `HrkitError` for anything else, and then changes nothing."""
        try:
            time = None if state["time"] is None else float(state["time"])
            now, next_id, given = float(state["now"]), int(state["next_id"]), state["tracks"]
            shapes = {name: values.shape[1:] for name, values in _Tracks.nobody(int(state["joints"])).fields().items()}
            count = len(given["ids"])
            tracks = _Tracks(**{name: np.reshape(given[name], (count, *shape)) for name, shape in shapes.items()})
        except (KeyError, TypeError, ValueError) as error:
            raise HrkitError(f"this is no state of a PoseTracker ({type(error).__name__}: {error})") from None
        self._time, self._now, self._next_id, self._tracks = time, now, next_id, tracks

    def _steady(self, time: float) -> float:
        """Now, at `time` as given; by `FRAME_TIME` later than before where that has not gone on."""
        if not math.isfinite(time):
            raise HrkitError(f"time must be a finite number of seconds, not {time}")
        if self._time is None:
            return float(time)
        return self._now + (time - self._time if time > self._time else FRAME_TIME)

    def _fitting(self, people: _People) -> _Tracks:
        """The tracks; where there are none, of as many joints as `people`."""
        joints = people.keypoints.shape[1]
        if len(self._tracks) == 0:
            return _Tracks.nobody(joints)
        if self._tracks.keypoints.shape[1] != joints:
            followed = self._tracks.keypoints.shape[1]
            raise HrkitError(f"people of {joints} joints, but those followed have {followed}; use a tracker for each")
        return self._tracks

    def _match(self, tracks: _Tracks, people: _People, sigmas: Floats) -> tuple[Ints, Bools]:
        """(N,) the expected track that each row is, or -1; (N,N) which rows are doubles of each other."""
        variance = tracks.covariance[:, 0]
        near = _fit(tracks, people, sigmas, np.sqrt(variance + PLACE_NOISE**2) * tracks.sizes)
        # as a Gaussian around the expected place that widens gets lower: who is expected here surely goes first
        sure = near * (SURE**2 / (SURE**2 + variance))[:, None]
        worth = sure * np.where(tracks.ids > 0, 1, TENTATIVE_WEIGHT)[:, None]

        doubles = _fit(people, people, sigmas, np.zeros(len(people))) >= DOUBLE_FIT
        np.fill_diagonal(doubles, False)
        # of two rows on one person either may have that person's track, but for another it must fit as it is
        theirs = (worth >= worth.max(0, initial=0)) | (_fit(tracks, people, sigmas, np.zeros(len(tracks))) >= OTHER_FIT)
        worth = worth * ((near >= self.min_similarity) & (theirs | ~doubles.any(0)))

        high = people.scores >= self.min_score
        owners = _assign(worth * high)
        left = (tracks.ids > 0) & ~np.isin(np.arange(len(tracks)), owners)
        owners = np.maximum(owners, _assign(worth * ~high * left[:, None] * (sure >= LOW_SCORE_FIT)))
        # nobody is confirmed for being somebody's double
        known = np.isin(owners, np.flatnonzero(tracks.ids > 0))
        owners[~known & (doubles & known).any(1)] = -1
        return owners, doubles

    def _newcomers(self, people: _People, taken: Bools, doubles: Bools) -> Ints:
        """The rows to start tracks with: of those not taken the best by score, but for doubles of better ones."""
        taken = taken.copy()
        order = np.lexsort((*people.boxes.T, -people.scores))  # by box where scores are equal, never by row
        fresh = []
        for row in order[~taken[order] & (people.scores[order] >= self.min_score)]:
            if not (doubles[row] & taken).any():
                taken[row] = True
                fresh.append(row)
        return np.sort(_ints(fresh))

    def _confirmed(self, tracks: _Tracks, first: bool) -> _Tracks:
        """The same tracks, with ids for those who now get one."""
        confirmed = (tracks.ids < 0) & (first | (tracks.hits >= self.min_hits))
        ids = tracks.ids.copy()
        ids[confirmed] = self._next_id + np.arange(confirmed.sum())
        self._next_id += int(confirmed.sum())
        return evolve(tracks, ids=ids)


def _lost(tracks: _Tracks, now: float) -> _Tracks:
    """What is remembered of tracks that were not found in this frame."""
    tracks = evolve(tracks, misses=tracks.misses + 1)
    return tracks[(tracks.ids > 0) | (tracks.misses < 2) | (now - tracks.seen <= TENTATIVE_MEMORY)]


def _displacement(ours: _People, theirs: _People) -> Floats:
    """(N,2) how far people have moved from `ours` to `theirs`, row by row, frame px.

    The median over joints visible in both, which a limb on its own does not change; else from box to box.
    """
    moved = (theirs.boxes - ours.boxes).reshape(-1, 2, 2).mean(1)
    common = ours.visible & theirs.visible
    enough = common.sum(1) >= ENOUGH_JOINTS / 2
    joints = np.where(common[..., None], theirs.keypoints - ours.keypoints, np.nan)
    moved[enough] = np.nanmedian(joints[enough], axis=1)
    return moved


def _fit(ours: _People, theirs: _People, sigmas: Floats, spread: Floats) -> Floats:
    """(M,N) from 0 to 1, how well M people fit N rows: OKS of the joints visible in both, and IoU of the boxes.

    `spread` (M,), frame px, is how far off the M may be: it adds to the spread of each joint in OKS, and to the boxes
    on every side (Yang et al., Hard to Track Objects ... by Buffering the Matching Space, WACV 2023).
    """
    count = ours.visible.astype(np.float64) @ theirs.visible.T
    weight = POSE_WEIGHT * np.minimum(count / ENOUGH_JOINTS, 1)
    oks = _oks(ours, theirs, sigmas, spread) / np.maximum(count, 1)
    return weight * oks + (1 - weight) * _iou(ours.boxes, theirs.boxes, spread)


def _oks(ours: _People, theirs: _People, sigmas: Floats, spread: Floats) -> Floats:
    """(M,N) the sum of OKS over the joints visible in both; 0 for who are so far apart that no joint can count."""
    areas = np.maximum((_areas(ours.boxes.T)[:, None] + _areas(theirs.boxes.T)) / 2, 1)
    (low, high), (other_low, other_high) = _extents(ours), _extents(theirs)
    apart = np.maximum(low[:, None] - other_high, other_low - high[:, None]).max(-1)
    widest = (2 * sigmas.max(initial=0)) ** 2 * areas + spread[:, None] ** 2
    rows, others = np.nonzero(apart < FAR * np.sqrt(widest))
    moved = ours.keypoints[rows] - theirs.keypoints[others]
    variances = (2 * sigmas) ** 2 * areas[rows, others, None] + spread[rows, None] ** 2
    alike = np.exp(-(moved[..., 0] ** 2 + moved[..., 1] ** 2) / variances / 2)
    total = np.zeros(areas.shape)
    total[rows, others] = (alike * (ours.visible[rows] & theirs.visible[others])).sum(1)
    return total


def _extents(people: _People) -> tuple[Floats, Floats]:
    """(N,2) the upper left and the lower right end of everybody's visible joints; of none inf and -inf."""
    visible = people.visible[..., None]
    low = np.where(visible, people.keypoints, np.inf).min(1, initial=np.inf)
    high = np.where(visible, people.keypoints, -np.inf).max(1, initial=-np.inf)
    return low, high


def _iou(ours: Floats, theirs: Floats, spread: Floats) -> Floats:
    """(M,N) IoU of (M,4) and (N,4) boxes, both grown by `spread` (M,) on every side; 0 for boxes without area."""
    grow = np.reshape([-1, -1, 1, 1], (4, 1, 1)) * spread[:, None]
    a, b = ours.T[..., None] + grow, theirs.T[:, None] + grow
    width, height = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = width * height
    union = _areas(a) + _areas(b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _areas(boxes: Floats) -> Floats:
    """(...) areas of (4,...) boxes, frame px squared."""
    return (boxes[2] - boxes[0]) * (boxes[3] - boxes[1])


def _assign(worth: Floats) -> Ints:
    """(N,) the track of (M,N) that goes to each row such that the sum of their worth is highest; -1 for none."""
    owners = np.full(worth.shape[1], -1)
    tracks, rows = linear_sum_assignment(worth, maximize=True)
    chosen = worth[tracks, rows] > 0
    owners[rows[chosen]] = tracks[chosen]
    return owners
