"""One pose per person: of several boxes around one person, only one pose is kept."""

from __future__ import annotations

from hrkit.ops.suppression import oks_nms
from hrkit.structures import Poses

SAME_POSE = 0.7
"""OKS above which two poses are taken for one person."""


def without_doubles(poses: Poses, oks_threshold: float | None = SAME_POSE) -> Poses:
    """The poses of one frame, without those whose OKS with a better one is above `oks_threshold`; order is kept.

    None keeps all poses. The better one has the higher `Poses.scores`. Two boxes of one person, such as one around the
    whole body and one around its upper half, overlap too little for the detector to drop one, but give nearly the same
    joints.
    """
    if oks_threshold is None or len(poses) < 2:
        return poses
    kept = oks_nms(poses.keypoints, poses.scores, poses.detections.areas, oks_threshold, poses.skeleton.sigmas)
    return poses if len(kept) == len(poses) else poses[sorted(kept.tolist())]
