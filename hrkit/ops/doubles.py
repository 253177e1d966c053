"""One pose per person: of several boxes around one person, only one pose is kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrkit.ops.suppression import oks_nms
from hrkit.structures import Found, Poses

SAME_POSE = 0.7
"""OKS above which two poses are taken for one person."""


def without_doubles(poses: Poses, oks_threshold: float | None = SAME_POSE) -> Poses:
    """The poses of one frame, without those whose OKS with a better one is above `oks_threshold`; order is kept.

    None keeps all poses. The better one has the higher `Poses.scores`. Two boxes of one person, such as one around the
    whole body and one around its upper half, overlap too little for the detector to drop one, but give nearly the same
    joints.
    """
    rows = single_rows(poses, oks_threshold)
    return poses if len(rows) == len(poses) else poses[rows]


def single_rows(poses: Poses, oks_threshold: float | None = SAME_POSE) -> NDArray[np.int64]:
    """The rows that are left when each pose goes whose OKS with a better one is above `oks_threshold`."""
    if oks_threshold is None or len(poses) < 2:
        return np.arange(len(poses))
    return np.sort(oks_nms(poses.keypoints, poses.scores, poses.detections.areas, oks_threshold, poses.skeleton.sigmas))


def at_least(found: Found, threshold: float) -> Found:
    """The rows with a score of at least `threshold`; all rows if it is 0."""
    return found if threshold == 0 else found[found.scores >= threshold]
