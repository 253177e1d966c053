"""People over time: ids that stay, keypoints without jitter, and a detector that need not look at every frame."""

from hrkit.tracking.follower import Follower
from hrkit.tracking.smoother import PoseSmoother
from hrkit.tracking.tracker import PoseTracker

__all__ = ["Follower", "PoseSmoother", "PoseTracker"]
