"""Removes jitter: a One-Euro filter for each joint of each person with an id."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hrkit.errors import HrkitError, check_number
from hrkit.structures import Poses
from hrkit.tracking.tracker import Bools, Columns, Floats, State, from_plain, sizes, to_plain

People = NDArray[np.void]  # a table with the columns of `_columns`

CUTOFF = 0.4  # cutoff frequency of a joint at rest, Hz; at 30 fps less than a third of a still person's jitter is left
QUICKNESS = 3.2  # increase of the cutoff per speed of a joint, Hz per size of the person per second
SPEED_CUTOFF = 1.0  # cutoff frequency of the speed, Hz; as in the paper
GAP = 0.5  # seconds after which the filter of a joint that was missing starts again
GAP_FRAMES = 2  # the same in frames; the longer of the two counts
MEMORY = 2.0  # seconds for which a person out of sight is remembered
MEMORY_FRAMES = 3  # the same in frames; the longer of the two counts


def _columns(joints: int) -> Columns:
    return [
        ("ids", int),
        ("points", float, (joints, 2)),  # filtered, frame px
        ("speeds", float, (joints, 2)),  # sizes/s
        ("times", float, (joints,)),  # time when last seen, seconds
        ("frames", int, (joints,)),  # number of the frame where last seen
        ("known", bool, (joints,)),  # whether the joint was ever seen
    ]


class PoseSmoother:
    """A One-Euro filter (Casiez et al., CHI 2012) per joint: smooth at rest, fast in motion.

    It works in seconds, not frames, and measures speed in sizes of the person (longer side of the box), so one setting
    fits all videos. `strength` trades jitter for lag: twice the strength halves the cutoff frequency; 0 changes
    nothing. Joints that score less than `threshold` count as missing and are not changed.
    """

    def __init__(self, strength: float = 1.0, *, threshold: float = 0.2) -> None:
        self.strength: float = check_number("the strength of smoothing", strength)
        self.threshold = threshold
        self._memory = np.zeros(0, _columns(0))
        self._frame = 0

    def update(self, poses: Poses, time: float) -> Poses:
        """The poses of the frame at `time` (seconds) with smooth keypoints, except for people without an id.

        Raises `HrkitError` for poses without ids, for a time that is not finite, and if the number of joints changes.
        """
        if poses.track_ids is None:
            raise HrkitError("smoothing needs to know who is who; give the poses ids with a PoseTracker first")
        if not math.isfinite(time):
            raise HrkitError(f"time must be a finite number of seconds, not {time}")
        if self.strength == 0:
            return poses
        self._frame += 1
        rows = np.flatnonzero(poses.track_ids >= 0)
        seen = (poses.keypoint_scores[rows] >= self.threshold) & np.isfinite(poses.keypoints[rows]).all(2)
        given = np.where(seen[..., None], poses.keypoints[rows], 0).astype(np.float64)
        before, others = self._recalled(poses.track_ids[rows], given.shape[1], time)
        now = self._filtered(before, given, seen, sizes(poses.detections.xyxy[rows].astype(np.float64)), time)
        self._memory = np.concatenate([now, others])
        keypoints = poses.keypoints.copy()
        keypoints[rows] = np.where(seen[..., None], now["points"], keypoints[rows])
        return poses.replace(keypoints=keypoints)

    def _recalled(self, ids: NDArray[np.int64], joints: int, time: float) -> tuple[People, People]:
        """The filters of the people with `ids`, row by row, and of others who may come back."""
        memory, people = self._memory, np.zeros(len(ids), _columns(joints))
        if len(memory) == 0:
            memory = people[:0]
        if memory.dtype != people.dtype:
            before = memory["points"].shape[1]
            raise HrkitError(f"people of {joints} joints after some of {before}; use a smoother for each")
        people["ids"] = ids
        pool = np.concatenate([memory, people])
        order = np.argsort(pool["ids"], kind="stable")  # a remembered person comes before the new one of the same id
        first = order[np.searchsorted(pool["ids"][order], ids)]
        last_seen = np.where(memory["known"], memory["times"], -np.inf).max(1, initial=-np.inf)
        recent = self._frame - memory["frames"].max(1, initial=0) <= MEMORY_FRAMES
        others = memory[~np.isin(memory["ids"], ids) & (recent | (time - last_seen <= MEMORY))]
        return pool[first], others

    def _filtered(self, before: People, points: Floats, seen: Bools, sizes: Floats, time: float) -> People:
        """The filters after the joints that are `seen` were observed at `points` (M,K,2)."""
        passed = time - before["times"]
        recent = self._frame - before["frames"] <= GAP_FRAMES
        going_on = before["known"] & (recent | (passed <= GAP)) & (passed >= 0)
        moved = (points - before["points"]) / sizes[:, None, None]
        seconds = np.where(passed > 0, passed, np.inf)
        speeds = before["speeds"] + _weight(passed, SPEED_CUTOFF) * (moved / seconds[..., None] - before["speeds"])
        cutoff = (CUTOFF + QUICKNESS * np.linalg.norm(speeds, axis=2)) / self.strength
        smooth = before["points"] + _weight(passed, cutoff) * (points - before["points"])
        now = before.copy()
        now["points"][seen] = np.where(going_on[..., None], smooth, points)[seen]
        now["speeds"][seen] = np.where(going_on[..., None], speeds, 0)[seen]
        now["times"][seen], now["frames"][seen] = time, self._frame
        now["known"] |= seen
        return now

    def state_dict(self) -> State:
        """The state as plain values, ready for JSON. `load_state_dict` continues from it with the same numbers."""
        return {"joints": self._memory["points"].shape[1], "frame": self._frame, **to_plain(self._memory)}

    def load_state_dict(self, state: State) -> None:
        """Restores a state of `state_dict`. Raises `HrkitError` for anything else."""
        try:
            frame, memory = int(state["frame"]), from_plain(state, _columns(int(state["joints"])))
        except (KeyError, TypeError, ValueError) as error:
            raise HrkitError(f"this is no state of a PoseSmoother ({type(error).__name__}: {error})") from None
        self._frame, self._memory = frame, memory


def _weight(seconds: Floats, cutoff: Floats | float) -> Floats:
    """(...,1) the weight of a new value in a first-order low pass with a cutoff in Hz."""
    turn = 2 * np.pi * np.maximum(seconds, 0) * cutoff
    return (turn / (turn + 1))[..., None]
