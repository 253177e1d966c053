"""People over time: constant ids, keypoints without jitter, and a detector that can skip frames."""

from hrkit.tracking.follower import Follower
from hrkit.tracking.smoother import PoseSmoother
from hrkit.tracking.tracker import PoseTracker

__all__ = ["Follower", "PoseSmoother", "PoseTracker"]
