"""The training objective of networks that give distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from hrkit.errors import HrkitError
from hrkit.pose_model import PoseModel
from hrkit.training.config import TrainConfig
from hrkit.training.objective import HeatmapObjective
from hrkit_rtm.simcc import BINS_PER_PX, simcc_loss

CELL = 4 * BINS_PER_PX
"""Bins per cell of the maps that the log's PCK is measured on; they are a quarter of the input, like heatmaps."""


class SimccObjective(HeatmapObjective):
    """`simcc_loss` of single people. Raises `HrkitError` for settings that are for heatmaps."""

    def __init__(self, config: TrainConfig, model: PoseModel, teacher: PoseModel | None = None) -> None:
        for name, given in (("teacher", teacher is not None), ("loss", config.loss is not None)):
            if given:
                raise HrkitError(f"{name} is for networks that give heatmaps; {model.describe()} takes none")
        super().__init__(config, model)

    def loss(self, outputs: Any, targets: tuple[Any, Tensor]) -> Tensor:
        """The loss of distributions (N,K,2W) and (N,K,2H)."""
        return simcc_loss(outputs, *targets)

    def heatmaps(self, outputs: Any, targets: tuple[Any, Tensor]) -> tuple[Tensor, Tensor]:
        """Predicted and wanted maps (N,K,H/4,W/4): products of what the distributions say of each cell."""
        return _maps([one.softmax(-1) for one in outputs]), _maps(targets[0])


def _maps(distributions: Sequence[Tensor]) -> Tensor:
    x, y = (F.max_pool1d(one, CELL) for one in distributions)
    return y[..., :, None] * x[..., None, :]
