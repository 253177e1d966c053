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
from hrkit.errors import HrkitError


def nms(boxes: ArrayOrTensor, scores: ArrayOrTensor, iou_threshold: float) -> ArrayOrTensor:
    """Which of (N,4) xyxy boxes stay when each drops those of lower score with IoU above the threshold.

    IoU on real-valued boxes, without the +1 px of older code (torchvision's rule). Raises `HrkitError` for shapes that
    do not fit.
    """
    box, score = _boxes_and_scores(boxes, scores)
    return like(_nms(box, score, _not_nan(score), iou_threshold), boxes)


def batched_nms(
    boxes: ArrayOrTensor, scores: ArrayOrTensor, idxs: ArrayOrTensor, iou_threshold: float
) -> ArrayOrTensor:
    """`nms` within each class of `idxs` (N,) int64; classes do not suppress each other. Raises as `nms`."""
    box, score = _boxes_and_scores(boxes, scores)
    group = as_tensor(idxs).to(box.device)
    if len(group) != len(box):
        raise HrkitError(f"{len(box)} boxes but {len(group)} classes")
    wanted = _not_nan(score)
    # class by class: shifting classes apart, as is often done, costs the precision that far coordinates have not got
    rows = [wanted[group[wanted] == one] for one in group[wanted].unique()]
    kept = torch.cat([_nms(box, score, row, iou_threshold) for row in rows]) if rows else wanted
    kept = kept.sort().values
    return like(kept[score[kept].argsort(descending=True, stable=True)], boxes)


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
    ours, theirs = _double(keypoints)[..., :2], _double(others)[..., :2]
    area = (_double(areas)[:, None] + _double(other_areas)[None]) / 2
    variances = (2 * _double(sigmas).to(ours.device)) ** 2
    squared = (ours[:, None] - theirs[None]).square().sum(-1)
    eps = np.spacing(1)
    return like(torch.exp(-squared / variances / (area[..., None] + eps) / 2).mean(-1), keypoints)


def oks_nms(
    keypoints: ArrayOrTensor, scores: ArrayOrTensor, areas: ArrayOrTensor, threshold: float, sigmas: Any
) -> ArrayOrTensor:
    """Which of (N,K,2 or more) poses stay when each drops those of lower score with OKS above the threshold."""
    score = _double(scores).cpu().numpy()
    order = np.argsort(-score, kind="stable")
    order = order[~np.isnan(score[order])]
    similar = _similarity(keypoints, score, areas, sigmas)[order][:, order] > threshold
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
    if not threshold > 0:
        raise HrkitError(f"threshold must be above 0, not {threshold}")
    remaining = _double(scores).cpu().numpy().copy()
    similarity = _similarity(keypoints, remaining, areas, sigmas)
    left = np.flatnonzero(~np.isnan(remaining))
    kept: list[int] = []
    while len(left) and len(kept) < max_poses:
        best = left[remaining[left].argmax()]
        kept.append(int(best))
        left = left[left != best]
        remaining[left] *= np.exp(-(similarity[best, left] ** 2) / threshold)
    return like(torch.tensor(kept, dtype=torch.int64), keypoints)


def _similarity(keypoints: Any, scores: np.ndarray[Any, Any], areas: Any, sigmas: Any) -> np.ndarray[Any, Any]:
    """(N,N) OKS; a pose that is not finite is like no other."""
    poses, area = as_tensor(keypoints), as_tensor(areas)
    if not len(poses) == len(area) == len(scores):
        raise HrkitError(f"{len(poses)} poses but {len(area)} areas and {len(scores)} scores")
    if len(poses) == 0:
        return np.zeros((0, 0))
    return np.nan_to_num(like(oks(poses, poses, area, area, sigmas), None), nan=0.0)


def _nms(boxes: torch.Tensor, scores: torch.Tensor, rows: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """`nms` among some of the rows."""
    return rows[torchvision.ops.nms(boxes[rows], scores[rows], iou_threshold)]


def _boxes_and_scores(boxes: Any, scores: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(N,4) and (N,) in one floating dtype of at least 32 bits."""
    box, score = as_tensor(boxes), as_tensor(scores)
    box = box.reshape(0, 4) if box.numel() == 0 else box
    if box.ndim != 2 or box.shape[1] != 4 or score.shape != (len(box),):
        raise HrkitError(f"boxes must be (N, 4) and scores (N,); got {tuple(box.shape)} and {tuple(score.shape)}")
    dtype = torch.promote_types(torch.promote_types(box.dtype, score.dtype), torch.float32)
    return box.to(dtype), score.to(box.device, dtype)


def _double(values: Any) -> torch.Tensor:
    tensor = as_tensor(values)
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def _not_nan(scores: torch.Tensor) -> torch.Tensor:
    return torch.nonzero(~scores.isnan())[:, 0]
