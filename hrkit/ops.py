"""Suppression of doubles: boxes by IoU, poses by OKS.

Every function takes tensors or numpy arrays, gives back the same kind, and answers with int64 indices by falling
score. Equal scores keep their order; NaN scores are never kept. Plain versions to compare with are in
`ops_reference.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torchvision

from hrkit.arrays import ArrayOrTensor, as_tensor, like


def nms(boxes: ArrayOrTensor, scores: ArrayOrTensor, iou_threshold: float) -> ArrayOrTensor:
    """Which of (N,4) xyxy boxes stay when each drops those of lower score with IoU above the threshold.

    IoU on real-valued boxes, without the +1 px of older code (torchvision's rule).
    """
    box, score = as_tensor(boxes), as_tensor(scores)
    wanted = _not_nan(score)
    return like(wanted[torchvision.ops.nms(box[wanted].to(score), score[wanted], iou_threshold)], boxes)


def batched_nms(
    boxes: ArrayOrTensor, scores: ArrayOrTensor, idxs: ArrayOrTensor, iou_threshold: float
) -> ArrayOrTensor:
    """`nms` within each class of `idxs` (N,) int64; classes do not suppress each other."""
    box, score, group = as_tensor(boxes), as_tensor(scores), as_tensor(idxs)
    wanted = _not_nan(score)
    kept = torchvision.ops.batched_nms(box[wanted].to(score), score[wanted], group[wanted], iou_threshold)
    return like(wanted[kept], boxes)


def oks(
    keypoints: ArrayOrTensor,
    others: ArrayOrTensor,
    areas: ArrayOrTensor,
    other_areas: ArrayOrTensor,
    sigmas: Any,
) -> ArrayOrTensor:
    """Object keypoint similarity (N,M) of poses (N,K,2 or more) and (M,K,2 or more), frame px.

    Further columns are ignored. The scale of a pair is the mean of its areas (N,), (M,), frame px squared; `sigmas`
    (K,) are the joints' spreads. As in lib/nms/nms.py of the official HRNet code, after
    cocodataset.org/#keypoints-eval.
    """
    ours, theirs = (as_tensor(points, torch.float64)[..., :2] for points in (keypoints, others))
    area = (as_tensor(areas, torch.float64)[:, None] + as_tensor(other_areas, torch.float64)[None]) / 2
    variances = (2 * as_tensor(sigmas, torch.float64).to(ours.device)) ** 2
    squared = (ours[:, None] - theirs[None]).square().sum(-1)
    eps = np.spacing(1)
    return like(torch.exp(-squared / variances / (area[..., None] + eps) / 2).mean(-1), keypoints)


def oks_nms(
    keypoints: ArrayOrTensor, scores: ArrayOrTensor, areas: ArrayOrTensor, threshold: float, sigmas: Any
) -> ArrayOrTensor:
    """Which of (N,K,2 or more) poses stay when each drops those of lower score with OKS above the threshold."""
    score = as_tensor(scores).cpu()
    order = _by_falling_score(score)
    similar = _similarity(keypoints, areas, sigmas)[order][:, order] > threshold
    alive = np.ones(len(order), bool)
    for row in range(len(order)):
        if alive[row]:
            alive[row + 1 :] &= ~similar[row, row + 1 :]
    return like(torch.from_numpy(order[alive]), keypoints)


def soft_oks_nms(
    keypoints: ArrayOrTensor,
    scores: ArrayOrTensor,
    areas: ArrayOrTensor,
    threshold: float,
    sigmas: Any,
    max_poses: int = 20,
) -> ArrayOrTensor:
    """Picks the best pose again and again, lowering the scores of those like it by exp(-OKS^2 / threshold).

    Soft-NMS (Bodla et al., ICCV 2017) on OKS, as in the official HRNet code; at most `max_poses` are kept.
    """
    similarity = _similarity(keypoints, areas, sigmas)
    remaining = as_tensor(scores).double().cpu().numpy().copy()
    remaining[np.isnan(remaining)] = -np.inf
    kept = []
    for _ in range(min(max_poses, int((remaining > -np.inf).sum()))):
        best = int(remaining.argmax())
        kept.append(best)
        remaining *= np.exp(-(similarity[best] ** 2) / threshold)
        remaining[best] = -np.inf
    return like(torch.tensor(kept, dtype=torch.int64), keypoints)


def _similarity(keypoints: Any, areas: Any, sigmas: Any) -> np.ndarray[Any, Any]:
    poses, area = as_tensor(keypoints), as_tensor(areas)
    return oks(poses, poses, area, area, sigmas).cpu().numpy()


def _not_nan(scores: torch.Tensor) -> torch.Tensor:
    return torch.nonzero(~scores.isnan())[:, 0]


def _by_falling_score(scores: torch.Tensor) -> np.ndarray[Any, Any]:
    values = scores.double().numpy()
    order = np.argsort(-values, kind="stable")
    return order[~np.isnan(values[order])]
