"""What the person network is trained for: which cell answers for which person, and the losses.

Ge et al., OTA (CVPR 2021) and YOLOX (arXiv:2107.08430) for SimOTA; Li et al., Generalized Focal Loss (NeurIPS 2020);
Rezatofighi et al., Generalized Intersection over Union (CVPR 2019). The weights of the losses are NanoDet's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from hrkit_lite.person_network import BINS, decode_boxes
from torch import Tensor

RADIUS = 2.5
"""A cell may answer for a person if it is inside the box and this many strides or fewer from its centre."""
GIOU_WEIGHT, DISTRIBUTION_WEIGHT = 2.0, 0.25
APART = 0.3
"""Least IoU of a cell's box with a box of `either` at which the cell is not told that nobody is there."""


def person_loss(
    outputs: Tensor, centers: Tensor, strides: Tensor, people: list[Tensor], either: list[Tensor]
) -> dict[str, Tensor]:
    """The parts of the loss for outputs (N,A,45); their sum is what is trained.

    `people` and `either` are (M,4) boxes per picture, in input px. The first are to be found; whether the second are
    found makes no difference.
    """
    logits, distances = outputs[..., 0], outputs[..., 1:]
    boxes = decode_boxes(distances, centers, strides)
    owners, targets, counted = [], [], []
    for logit, box, truth, free in zip(logits.detach(), boxes.detach(), people, either, strict=True):
        owner, target = assign(logit, box, centers, strides, truth)
        owners.append(owner)
        targets.append(target)
        counted.append((owner >= 0) | ~left_out(box, free))
    owner, target = torch.stack(owners), torch.stack(targets)
    positive = owner >= 0
    quality_loss = (quality_focal(logits, target) * torch.stack(counted)).sum() / positive.sum().clamp_min(1)
    if not positive.any():
        nothing = outputs.sum() * 0
        return {"quality": quality_loss, "giou": nothing, "distribution": nothing}
    picture, cell = positive.nonzero().unbind(1)
    truth = torch.stack([people[i][owner[i, a]] for i, a in zip(picture.tolist(), cell.tolist(), strict=True)])
    weight = logits.detach().sigmoid()[positive]
    weight = weight / weight.sum()
    giou_loss = ((1 - giou(boxes[positive], truth)) * weight).sum()
    distribution_loss = (distribution_focal(distances[positive], centers[cell], strides[cell], truth) * weight).sum()
    return {
        "quality": quality_loss,
        "giou": GIOU_WEIGHT * giou_loss,
        "distribution": DISTRIBUTION_WEIGHT * distribution_loss,
    }


@torch.no_grad()
def assign(logits: Tensor, boxes: Tensor, centers: Tensor, strides: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Which person each cell answers for (A,), -1 for none, and the IoU of its box with that person (A,), else 0.

    Logits (A,), boxes (A,4), centres (A,2), strides (A,), people (M,4). A person gets as many cells as the sum of the
    ten best IoUs says, those of least cost; a cell goes to the person for whom it costs least.
    """
    owner, quality = torch.full_like(logits, -1, dtype=torch.long), torch.zeros_like(logits)
    if not len(truth):
        return owner, quality
    middle = (truth[:, :2] + truth[:, 2:]) / 2
    inside = ((centers[:, None] > truth[:, :2]) & (centers[:, None] < truth[:, 2:])).all(2)
    near = ((centers[:, None] - middle).abs() <= RADIUS * strides[:, None, None]).all(2)
    candidate = (inside & near).any(1).nonzero()[:, 0]
    if not len(candidate):
        return owner, quality
    overlap = iou(boxes[candidate], truth)
    score = logits[candidate].sigmoid()[:, None]
    focal = F.binary_cross_entropy(score.expand_as(overlap), overlap, reduction="none") * (overlap - score).square()
    cost = focal - 3 * (overlap + 1e-7).log() + 1e6 * ~(inside & near)[candidate]
    count = overlap.topk(min(10, len(candidate)), 0).values.sum(0).int().clamp_min(1)
    chosen = cost.argsort(0).argsort(0) < count
    chosen &= cost < 1e5
    cost = cost.masked_fill(~chosen, torch.inf)
    cheapest, person = cost.min(1)
    taken = cheapest.isfinite()
    owner[candidate[taken]] = person[taken]
    quality[candidate[taken]] = overlap[taken, person[taken]]
    return owner, quality


def left_out(boxes: Tensor, either: Tensor) -> Tensor:
    """(A,) which of the cells' boxes (A,4) are about one of the boxes `either` (M,4)."""
    return (iou(boxes, either) >= APART).any(1)


def quality_focal(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with a target from 0 to 1, weighted by the square of how far the score is off; any shape."""
    far = (target - logits.sigmoid()).square()
    return far * F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def distribution_focal(distances: Tensor, centers: Tensor, strides: Tensor, truth: Tensor) -> Tensor:
    """(P,) cross-entropy with the two bins around each true distance, mean over the sides.

    Logits (P,44), centres (P,2), strides (P,), boxes (P,4).
    """
    wanted = torch.cat([centers - truth[:, :2], truth[:, 2:] - centers], 1) / strides[:, None]
    wanted = wanted.clamp(0, BINS - 1 - 0.01)
    lower = wanted.long()
    share = wanted - lower
    log_probability = distances.unflatten(1, (4, BINS)).log_softmax(2)
    below = log_probability.gather(2, lower[..., None])[..., 0]
    above = log_probability.gather(2, lower[..., None] + 1)[..., 0]
    return -((1 - share) * below + share * above).mean(1)


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """(N,4) and (M,4) -> (N,M)."""
    sides = torch.minimum(boxes[:, None, 2:], others[:, 2:]) - torch.maximum(boxes[:, None, :2], others[:, :2])
    shared = sides.clamp_min(0).prod(2)
    areas, other_areas = ((b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, others))
    return shared / (areas[:, None] + other_areas - shared).clamp_min(1e-7)


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """(N,) of (N,4) and (N,4), pair by pair: IoU less the part of the hull that neither covers."""
    shared = (torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])).clamp_min(0)
    hull = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    intersection, around = shared.prod(1), hull.prod(1).clamp_min(1e-7)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (others[:, 2:] - others[:, :2]).prod(1)
    union = (areas - intersection).clamp_min(1e-7)
    return intersection / union - (around - union) / around
