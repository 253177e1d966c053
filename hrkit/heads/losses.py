"""Losses between heatmaps (N,K,h,w); `weights` (N,K) leave joints out (0) or stress them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812

from hrkit.errors import UnknownNameError

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def mse(heatmaps: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Half the mean squared error of the weighted maps: JointsMSELoss of the official HRNet code (lib/core/loss.py)."""
    return _per_joint(heatmaps, targets, weights).mean()


def ohkm(heatmaps: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, hardest: int = 8) -> torch.Tensor:
    """`mse` over the `hardest` joints of each person alone, as JointsOHKMMSELoss of the official HRNet code.

    Online hard keypoint mining: Chen et al., Cascaded Pyramid Network, CVPR 2018.
    """
    per_joint = _per_joint(heatmaps, targets, weights)
    return per_joint.topk(min(hardest, per_joint.shape[1]), dim=1).values.mean()


def bce(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of logits against heatmaps, weighted by joint, averaged over all cells."""
    per_joint = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((2, 3))
    return (per_joint * weights).mean()


LOSSES: dict[str, Loss] = {"mse": mse, "ohkm": ohkm, "bce": bce}


def get_loss(name: str) -> Loss:
    """The loss `name`; raises `UnknownNameError` with the choices. `bce` takes logits, the others heatmaps."""
    if name not in LOSSES:
        raise UnknownNameError("loss", name, LOSSES)
    return LOSSES[name]


def _per_joint(heatmaps: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(N,K)."""
    difference = (heatmaps - targets) * weights[..., None, None]
    return 0.5 * difference.square().mean((2, 3))
