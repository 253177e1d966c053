"""Losses between heatmaps (N,K,h,w), by name in `LOSSES`. `weights` (N,K) scales each joint; 0 leaves it out."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(outputs, targets, weights) -> a scalar."""


def mse(heatmaps: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Half the mean squared error of the weighted maps: JointsMSELoss of the official HRNet code (lib/core/loss.py)."""
    return _squared_errors(heatmaps, targets, weights).mean()


def ohkm(heatmaps: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, hardest: int = 8) -> torch.Tensor:
    """`mse` over the `hardest` joints of each person: JointsOHKMMSELoss of the official HRNet code.

    Online hard keypoint mining: Chen et al., Cascaded Pyramid Network, CVPR 2018.
    """
    errors = _squared_errors(heatmaps, targets, weights)
    return errors.topk(min(hardest, errors.shape[1]), dim=1).values.mean()


def bce(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of logits against heatmaps, weighted per joint and averaged over all cells."""
    per_joint = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean((2, 3))
    return (per_joint * weights).mean()


LOSSES: dict[str, Loss] = {"mse": mse, "ohkm": ohkm, "bce": bce}
"""`bce` takes logits, the others take heatmaps."""


def _squared_errors(heatmaps: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(N,K) half the mean squared error of each weighted map."""
    difference = (heatmaps - targets) * weights[..., None, None]
    return 0.5 * difference.square().mean((2, 3))
