"""The official losses (lib/core/loss.py): of heatmaps where they count, and of tags that should tell people apart.

Newell et al., Associative Embedding, NIPS 2017. Shapes: N pictures, P people, K joints, maps (h,w).
"""

from __future__ import annotations

import torch


def heatmap_loss(heatmaps: torch.Tensor, targets: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """(N,K,h,w) against targets, where `masks` (N,h,w) are 1: the mean of the squares over all cells."""
    return ((heatmaps - targets).square() * masks[:, None]).mean()


def tag_losses(
    tags: torch.Tensor, cells: torch.Tensor, there: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """How near the tags of different people are, and how far apart those of one: means over pictures.

    `cells` (N,P,K) say where in tags (N,K,h,w), laid flat, the joints are, `there` (N,P,K) which of them are labelled.
    The first is half the mean of exp(-d^2) over pairs of people, d between their mean tags; the second the mean over
    people of the variance of their tags. A picture with too few people has 0.
    """
    count = len(tags)
    weight = there.to(tags.dtype)
    own = tags.reshape(count, -1).gather(1, cells.reshape(count, -1)).view(cells.shape)
    joints = weight.sum(2)
    known = (joints > 0).to(tags.dtype)  # (N,P)
    means = (own * weight).sum(2) / joints.clamp(min=1)
    variances = ((own - means[..., None]).square() * weight).sum(2) / joints.clamp(min=1)
    people = known.sum(1)
    pull = (variances * known).sum(1) / people.clamp(min=1)
    pairs = known[:, :, None] * known[:, None]
    near = torch.exp(-(means[:, :, None] - means[:, None]).square()) * pairs
    push = 0.5 * (near.sum((1, 2)) - people) / (people * (people - 1)).clamp(min=1)
    return push.mean(), pull.mean()
