"""Several networks as one, whose outputs are their means."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from hrkit.errors import HrkitError
from hrkit.ops.tensors import Outputs, of_each
from hrkit.pose_model import PoseModel


class _Mean(nn.Module):
    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Outputs:
        outputs = [network(images) for network in self.networks]
        return of_each(lambda *parts: sum(parts[1:], start=parts[0]) / len(parts), *outputs)


def ensemble(models: Sequence[PoseModel]) -> PoseModel:
    """One network whose heatmaps are the means of those of `models`. It cannot be trained or saved.

    `Pipeline` and `evaluate` take it like any other. Prepare the networks before (`PoseModel.prepared`). Raises
    `HrkitError` if they differ in joints, input or codec, or find people by themselves.
    """
    first = models[0]
    if len(models) == 1:
        return first
    for model in models:
        if not model.needs_boxes:
            raise HrkitError(f"{model.describe()} finds people by itself, which cannot be averaged")
        for what in ("input_size", "margin", "codec", "sigma", "mean", "std", "channel_order", "skeleton"):
            own, theirs = (getattr(one.spec, what) for one in (first, model))
            if own != theirs:
                raise HrkitError(f"networks of an ensemble are alike; {what} is {own} in one and {theirs} in another")
    mean = copy.copy(first)
    mean._modules = {}
    mean._fast = _Mean(models)
    return mean.eval()
