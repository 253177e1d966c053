"""The kind of pose model that RTMPose and RTMW are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hrkit.pose_model import PoseModel

if TYPE_CHECKING:
    from hrkit.training.config import TrainConfig
    from hrkit.training.objective import Objective


class SimccModel(PoseModel):
    """(N,3,H,W) normalised crops -> distributions (N,K,2W) and (N,K,2H)."""

    def objective(self, config: TrainConfig, teacher: PoseModel | None = None) -> Objective:
        """The divergence of labelled and predicted distributions."""
        from hrkit_rtm.objective import SimccObjective

        return SimccObjective(config, self, teacher)
