"""People who walk about, of known joints and ids, as a detector and a pose network that are not perfect see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from hrkit.skeletons import coco17
from hrkit.structures import Detections, Poses

_RIGHT_HALF = np.array(
    [[0.02, -0.45], [0.04, -0.44], [0.11, -0.32], [0.14, -0.17], [0.15, -0.03], [0.07, 0.0], [0.07, 0.24], [0.07, 0.46]]
)
STANDING = np.concatenate([[[0, -0.43]], np.repeat(_RIGHT_HALF, 2, axis=0) * np.tile([[1, 1], [-1, 1]], (8, 1))])
"""(17,2) somebody of height 1 who faces us, about their middle."""

SWING = np.zeros(17)
SWING[[7, 8, 9, 10, 13, 14, 15, 16]] = [0.05, -0.05, 0.1, -0.1, -0.06, 0.06, -0.12, 0.12]
"""(17,) how far each joint swings to the side at every step, in heights."""

BOX = np.array([-0.2, -0.5, 0.2, 0.5])
"""The box of a walker of height 1, about their middle."""


@frozen(eq=False)
class Walker:
    """Somebody on the way: their middle and how tall they are, px, at any time; there from `start` to `end`."""

    middle: Callable[[float], NDArray[np.float64]]
    height: Callable[[float], float]
    start: float = 0.0
    end: float = np.inf
    phase: float = 0.0

    def joints(self, time: float) -> NDArray[np.float64]:
        """(17,2) frame px."""
        swing = SWING * np.sin(2 * np.pi * time + self.phase)
        return self.middle(time) + self.height(time) * (STANDING + np.stack([swing, np.zeros(17)], axis=1))

    def box(self, time: float) -> NDArray[np.float64]:
        """(4,) xyxy frame px."""
        return np.tile(self.middle(time), 2) + self.height(time) * BOX


def straight(
    place: tuple[float, float], velocity: tuple[float, float], height: float = 200.0, growth: float = 0.0, **kw: float
) -> Walker:
    """From `place`, at time 0, on at `velocity` px/s; taller by the share `growth` each second."""
    return Walker(
        lambda time: np.add(place, np.multiply(velocity, time)), lambda time: height * np.exp(growth * time), **kw
    )


def poses_of(
    keypoints: NDArray[np.float64], boxes: NDArray[np.float64], score: float = 0.9, joint_score: float = 0.8
) -> Poses:
    """(N,17,2), (N,4) -> poses that are all equally sure."""
    count = len(keypoints)
    return Poses(
        np.reshape(keypoints, (count, 17, 2)),
        np.full((count, 17), joint_score),
        Detections(np.reshape(boxes, (count, 4)), np.full(count, score), np.zeros(count)),
        coco17,
    )


def look(walkers: list[Walker], time: float, random: np.random.Generator | None = None) -> tuple[Poses, list[int]]:
    """Who is there at `time`, and which of `walkers` each row is.

    With `random` the joints are off by 0.01 heights, the box's sides by 0.02, and the rows are in any order.
    """
    there = [i for i, walker in enumerate(walkers) if walker.start <= time < walker.end]
    if random is not None:
        there = random.permutation(there).astype(int).tolist()
    joints = np.reshape([walkers[i].joints(time) for i in there], (-1, 17, 2))
    boxes = np.reshape([walkers[i].box(time) for i in there], (-1, 4))
    if random is not None:
        heights = np.reshape([walkers[i].height(time) for i in there], (-1, 1))
        joints = joints + random.normal(0, 0.01, joints.shape) * heights[..., None]
        boxes = boxes + random.normal(0, 0.02, boxes.shape) * heights
    return poses_of(joints, boxes), there


def watch(
    walkers: list[Walker], seconds: float, fps: float, random: np.random.Generator, missed: float = 0.2
) -> Iterator[tuple[float, Poses, list[int]]]:
    """Time, rows and who they are, of frame after frame; each person is missed in a share of the frames."""
    for frame in range(round(seconds * fps)):
        time = frame / fps
        poses, truth = look(walkers, time, random)
        kept = np.flatnonzero(random.random(len(truth)) >= missed)
        yield time, poses[kept], [truth[i] for i in kept]


def idf1(truth: list[int], ids: list[int]) -> float:
    """How far `ids` of rows are those of `truth`, from 0 to 1; -1 is no id.

    Ristani et al., Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking, ECCV 2016 workshops:
    2 IDTP / (2 IDTP + IDFP + IDFN) under the one-to-one assignment of ids to people that makes it highest.
    """
    people, person = np.unique(truth, return_inverse=True)
    given = np.asarray(ids) >= 0
    tracks, track = np.unique(np.asarray(ids)[given], return_inverse=True)
    together = np.zeros((len(people), len(tracks)))
    np.add.at(together, (person[given], track), 1)
    return float(2 * together[linear_sum_assignment(together, maximize=True)].sum() / (len(truth) + given.sum()))
