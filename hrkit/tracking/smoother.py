"""Keypoints without jitter: a One-Euro filter for every joint of everybody who has an id."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from attrs import define, fields_dict
from numpy.typing import ArrayLike, NDArray

from hrkit.errors import HrkitError
from hrkit.structures import Poses

Floats = NDArray[np.float64]

CUTOFF = 0.4
"""Hz, of a joint at rest: jitter of a still person at 30 fps falls to less than a third."""
QUICKNESS = 3.2
"""Hz more for each size of the person that a joint moves in a second, so that what is quick has no lag."""
SPEED_CUTOFF = 1.0
"""Hz, of the speed itself; as in the paper."""
GAP = 0.5
"""Seconds for which a joint may be missing; after more its filter begins anew where it comes back."""
MEMORY = 2.0
"""Seconds for which who is not seen is remembered."""


@define(eq=False)
class _Memory:
    """What was last known of M people with K joints."""

    ids: NDArray[np.int64]
    """(M,)."""
    points: Floats
    """(M,K,2) as filtered, frame px."""
    speeds: Floats
    """(M,K,2) sizes/s."""
    times: Floats
    """(M,K) when seen, seconds."""
    known: NDArray[np.bool_]
    """(M,K) whether it ever was."""

    @classmethod
    def blank(cls, ids: ArrayLike, joints: int) -> _Memory:
        """Of people of whom nothing is known."""
        people = np.array(ids, np.int64)
        shape = (len(people), joints)
        return cls(people, np.zeros((*shape, 2)), np.zeros((*shape, 2)), np.zeros(shape), np.zeros(shape, bool))

    def rows(self, chosen: Any) -> _Memory:
        return _Memory(*(getattr(self, name)[chosen] for name in fields_dict(_Memory)))

    def joined(self, other: _Memory) -> _Memory:
        names = fields_dict(_Memory)
        return _Memory(*(np.concatenate([getattr(one, name) for one in (self, other)]) for name in names))


class PoseSmoother:
    """The One-Euro filter (Casiez et al., CHI 2012) a joint: calm where it rests, quick where it moves.

    Time counts, not frames, and speed is measured in sizes of the person (longer side of the box), so one setting fits
    all. `strength` is the trade-off: twice as much halves both cutoff frequencies, which calms more and lags more; 0
    changes nothing. Joints that score less than `threshold` are missing: they stay where they are.
    """

    def __init__(self, strength: float = 1.0, *, threshold: float = 0.2) -> None:
        if not 0 <= strength < math.inf:
            raise HrkitError(f"the strength of smoothing must be a number of at least 0, not {strength}")
        self.strength = strength
        self.threshold = threshold
        self._memory = _Memory.blank([], 0)

    def update(self, poses: Poses, time: float) -> Poses:
        """The same people of the frame at `time` (seconds) with smooth keypoints; who has no id yet is left as is.

        Raises `HrkitError` for poses without ids, and for a time that is not finite.
        """
        if poses.track_ids is None:
            raise HrkitError("smoothing needs to know who is who; give the poses ids with a PoseTracker first")
        if not math.isfinite(time):
            raise HrkitError(f"time must be a finite number of seconds, not {time}")
        if self.strength == 0:
            return poses
        rows = np.flatnonzero(poses.track_ids >= 0)
        seen = (poses.keypoint_scores[rows] >= self.threshold) & np.isfinite(poses.keypoints[rows]).all(2)
        given = np.where(seen[..., None], poses.keypoints[rows], 0).astype(np.float64)
        boxes = poses.detections.xyxy[rows].astype(np.float64)
        sizes = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1, initial=0), 1)

        before, others = self._recalled(poses.track_ids[rows], given.shape[1], time)
        now = self._filtered(before, given, seen, sizes, time)
        self._memory = now.joined(others)
        keypoints = poses.keypoints.copy()
        keypoints[rows] = np.where(seen[..., None], now.points, keypoints[rows])
        return poses.replace(keypoints=keypoints)

    def _recalled(self, ids: NDArray[np.int64], joints: int, time: float) -> tuple[_Memory, _Memory]:
        """What is known of the people with `ids`, row by row, and of those who may come back."""
        memory = self._memory if len(self._memory.ids) else _Memory.blank([], joints)
        if memory.points.shape[1] != joints:
            before = memory.points.shape[1]
            raise HrkitError(f"people of {joints} joints after some of {before}; use a smoother for each")
        pool = memory.joined(_Memory.blank(ids, joints))
        order = np.argsort(pool.ids, kind="stable")  # what is remembered comes before what is blank
        first = order[np.searchsorted(pool.ids[order], ids)]
        last_seen = np.where(memory.known, memory.times, -np.inf).max(1, initial=-np.inf)
        others = memory.rows(~np.isin(memory.ids, ids) & (time - last_seen <= MEMORY))
        return pool.rows(first), others

    def _filtered(
        self, before: _Memory, points: Floats, seen: NDArray[np.bool_], sizes: Floats, time: float
    ) -> _Memory:
        """What is known of the same people after joints were `seen` at `points` (M,K,2)."""
        passed = time - before.times
        going_on = before.known & (passed <= GAP) & (passed >= 0)
        moved = (points - before.points) / sizes[:, None, None]
        seconds = np.where(passed > 0, passed, np.inf)
        speeds = before.speeds + _weight(passed, SPEED_CUTOFF) * (moved / seconds[..., None] - before.speeds)
        cutoff = (CUTOFF + QUICKNESS * np.linalg.norm(speeds, axis=2)) / self.strength
        smooth = before.points + _weight(passed, cutoff) * (points - before.points)
        return _Memory(
            before.ids,
            _pick(seen, _pick(going_on, smooth, points), before.points),
            _pick(seen, _pick(going_on, speeds, np.zeros_like(speeds)), before.speeds),
            np.where(seen, time, before.times),
            before.known | seen,
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain values, ready for json, from which `load_state_dict` goes on to the same numbers."""
        return {"joints": self._memory.points.shape[1]} | {
            name: getattr(self._memory, name).tolist() for name in fields_dict(_Memory)
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to where `state_dict` was taken. Raises `HrkitError` for anything else."""
        try:
            blank = _Memory.blank([], int(state["joints"]))
            count = len(state["ids"])
            self._memory = _Memory(
                *(
                    np.array(state[name], values.dtype).reshape(count, *values.shape[1:])
                    for name, values in ((name, getattr(blank, name)) for name in fields_dict(_Memory))
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise HrkitError(f"this is no state of a PoseSmoother ({type(error).__name__}: {error})") from None


def _weight(seconds: Floats, cutoff: Floats | float) -> Floats:
    """(...,1) of what is new after some time, in a low pass of first order with a cutoff in Hz."""
    turn = 2 * np.pi * np.maximum(seconds, 0) * cutoff
    return (turn / (turn + 1))[..., None]


def _pick(which: NDArray[np.bool_], these: Floats, those: Floats) -> Floats:
    return np.where(which[..., None], these, those)
