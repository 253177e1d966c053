"""Suppression of doubles: boxes by IoU, poses by OKS.

Every function takes tensors or numpy arrays, gives back the same kind, and answers with int64 indices by falling
score. Equal scores keep their order; NaN scores are never kept. Gradients do not pass through: a tensor that requires
them is refused with `HrkitError`, whichever version runs.

There are three versions: native operators (`csrc/`, built by `native.py`), the ones here with torch, and plain ones to
compare with (`reference.py`). `HRKIT_OPS` chooses. The native ones run on the CPU, and on GPUs where their CUDA
kernels were built; those are tested on the CPU, thread by thread, and were never run on a GPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from hrkit.arrays import ArrayOrTensor, as_tensor, like
from hrkit.errors import HrkitError
from hrkit.ops import reference
from hrkit.ops.operators import library


def nms(boxes: ArrayOrTensor, scores: ArrayOrTensor, iou_threshold: float) -> ArrayOrTensor:
    """Which of (N,4) xyxy boxes stay when each drops those of lower score with IoU above the threshold.

    IoU on real-valued boxes, without the +1 px of older code (torchvision's rule). Raises `HrkitError` for shapes that
    do not fit.
    """
    box, score = _boxes_and_scores(boxes, scores)
    chosen = _chosen("nms", box)
    kept = _nms(box, score, _not_nan(score), iou_threshold) if chosen is None else chosen(box, score, iou_threshold)
    return like(kept, boxes)


def batched_nms(
    boxes: ArrayOrTensor, scores: ArrayOrTensor, idxs: ArrayOrTensor, iou_threshold: float
) -> ArrayOrTensor:
    """`nms` within each class of `idxs` (N,) int64; classes do not suppress each other. Raises as `nms`."""
    box, score = _boxes_and_scores(boxes, scores)
    group = _given(idxs).to(box.device)
    if len(group) != len(box):
        raise HrkitError(f"{len(box)} boxes but {len(group)} classes")
    chosen = _chosen("batched_nms", box)
    if chosen is not None:
        return like(chosen(box, score, group.long().contiguous(), iou_threshold), boxes)
    wanted = _not_nan(score)
    # class by class: shifting classes apart, as is often done, costs the precision that far coordinates have not got
    rows = [wanted[group[wanted] == one] for one in group[wanted].unique()]
    kept = torch.cat([_nms(box, score, row, iou_threshold) for row in rows]) if rows else wanted
    kept = kept.sort().values
    return like(kept[score[kept].argsort(descending=True, stable=True)], boxes)


def soft_nms(
    boxes: ArrayOrTensor,
    scores: ArrayOrTensor,
    iou_threshold: float = 0.3,
    *,
    method: Literal["linear", "gaussian"] = "gaussian",
    sigma: float = 0.5,
    score_threshold: float = 0.001,
) -> tuple[ArrayOrTensor, ArrayOrTensor]:
    """Picks the best box again and again, lowering the scores of those that overlap it, while one scores enough.

    Soft-NMS (Bodla et al., ICCV 2017): "linear" multiplies with 1 - IoU where that is above the threshold, "gaussian"
    with exp(-IoU^2 / sigma) everywhere. Gives the rows picked and their scores then. Raises as `nms`, and for a `sigma`
    of nothing.
    """
    box, score = _boxes_and_scores(boxes, scores)
    if method not in ("linear", "gaussian"):
        raise HrkitError(f"unknown method {method!r}; choices: 'linear', 'gaussian'")
    if not sigma > 0:
        raise HrkitError(f"sigma must be above 0, not {sigma}")
    chosen = _chosen("soft_nms", box)
    settings = (iou_threshold, sigma, score_threshold, method)
    rows, left = _soft_nms(box, score, *settings) if chosen is None else chosen(box, score, *settings)
    return like(rows, boxes), like(left, scores)


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
    spread = _double(sigmas)
    ours, theirs = _points(keypoints, spread), _points(others, spread)
    area, other_area, spread = (_double(values).to(ours.device) for values in (areas, other_areas, spread))
    if (len(ours), len(theirs)) != (len(area), len(other_area)):
        raise HrkitError(f"{len(ours)} and {len(theirs)} poses but {len(area)} and {len(other_area)} areas")
    similarity = _chosen("oks", ours) or _oks
    return like(similarity(ours, theirs.to(ours.device), area, other_area, spread), keypoints)


def oks_nms(
    keypoints: ArrayOrTensor, scores: ArrayOrTensor, areas: ArrayOrTensor, threshold: float, sigmas: Any
) -> ArrayOrTensor:
    """Which of (N,K,2 or more) poses stay when each drops those of lower score with OKS above the threshold."""
    poses = _poses(keypoints, scores, areas, sigmas)
    chosen = _chosen("oks_nms", poses[0]) or _oks_nms
    return like(chosen(*poses[:3], threshold, poses[3]), keypoints)


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
    poses = _poses(keypoints, scores, areas, sigmas)
    chosen = _chosen("soft_oks_nms", poses[0]) or _soft_oks_nms
    return like(chosen(*poses[:3], threshold, poses[3], max_poses), keypoints)


def _chosen(name: str, given: Tensor) -> Callable[..., Any] | None:
    """The version of an operation that is not written here, where that is wanted for the device of `given`."""
    kind = library().implementation(given.device.type)
    if kind == "native":
        return getattr(torch.ops.hrkit, name)
    if kind == "reference":
        return functools.partial(_plainly, getattr(reference, name))
    return None


def _plainly(function: Callable[..., Any], *given: Any) -> Any:
    """A plain version on tensors."""
    result = function(*(value.cpu().numpy() if torch.is_tensor(value) else value for value in given))
    return tuple(map(torch.from_numpy, result)) if isinstance(result, tuple) else torch.from_numpy(result)


def _soft_nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, sigma: float, score_threshold: float, method: str
) -> tuple[Tensor, Tensor]:
    rows = _not_nan(scores)
    left, kept, kept_scores = scores[rows].double(), [], []
    while len(rows):
        best = int(left.argmax())
        if not left[best] >= score_threshold:
            break
        kept.append(rows[best])
        kept_scores.append(left[best])
        others = torch.arange(len(rows), device=rows.device) != best
        overlap = torchvision.ops.box_iou(boxes[rows[best]][None], boxes[rows[others]])[0].double().nan_to_num(0)
        rows, left = rows[others], left[others]
        lowered = 1 - overlap * (overlap > iou_threshold) if method == "linear" else torch.exp(-(overlap**2) / sigma)
        left = left * lowered
    if not kept:
        return rows[:0], scores[:0]
    return torch.stack(kept), torch.stack(kept_scores).to(scores.dtype)


def _oks(ours: Tensor, theirs: Tensor, areas: Tensor, other_areas: Tensor, sigmas: Tensor) -> Tensor:
    area = (areas[:, None] + other_areas[None]) / 2
    squared = (ours[:, None] - theirs[None]).square().sum(-1)
    return torch.exp(-squared / (2 * sigmas) ** 2 / (area[..., None] + np.spacing(1)) / 2).mean(-1)


def _oks_nms(keypoints: Tensor, scores: Tensor, areas: Tensor, threshold: float, sigmas: Tensor) -> Tensor:
    score = scores.cpu().numpy()
    order = np.argsort(-score, kind="stable")
    order = order[~np.isnan(score[order])]
    similar = _similarity(keypoints, areas, sigmas)[order][:, order] > threshold
    alive = np.ones(len(order), bool)
    for row in range(len(order)):
        if alive[row]:
            alive[row + 1 :] &= ~similar[row, row + 1 :]
    return torch.from_numpy(order[alive])


def _soft_oks_nms(
    keypoints: Tensor, scores: Tensor, areas: Tensor, threshold: float, sigmas: Tensor, max_poses: int
) -> Tensor:
    remaining = scores.cpu().numpy().copy()
    similarity = _similarity(keypoints, areas, sigmas)
    left = np.flatnonzero(~np.isnan(remaining))
    kept: list[int] = []
    while len(left) and len(kept) < max_poses:
        best = left[remaining[left].argmax()]
        kept.append(int(best))
        left = left[left != best]
        remaining[left] *= np.exp(-(similarity[best, left] ** 2) / threshold)
    return torch.tensor(kept, dtype=torch.int64)


def _similarity(keypoints: Tensor, areas: Tensor, sigmas: Tensor) -> NDArray[np.float64]:
    """(N,N) OKS; a pose that is not finite is like no other."""
    return np.nan_to_num(_oks(keypoints, keypoints, areas, areas, sigmas).cpu().numpy(), nan=0.0)


def _poses(keypoints: Any, scores: Any, areas: Any, sigmas: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(N,K,2), (N,), (N,) and (K,), float64, on one device."""
    spread = _double(sigmas)
    points = _points(keypoints, spread)
    score, area, spread = (_double(values).to(points.device) for values in (scores, areas, spread))
    if not len(points) == len(area) == len(score):
        raise HrkitError(f"{len(points)} poses but {len(area)} areas and {len(score)} scores")
    return points, score, area, spread


def _points(keypoints: Any, sigmas: Tensor) -> Tensor:
    """(N,K,2) float64 of (N,K,2 or more)."""
    points = _double(keypoints)
    points = points.reshape(0, len(sigmas), 2) if points.numel() == 0 else points[..., :2]
    if points.shape[1:] != (len(sigmas), 2):
        raise HrkitError(f"{len(sigmas)} sigmas want poses (N, {len(sigmas)}, 2 or more); got {tuple(points.shape)}")
    return points.contiguous()


def _nms(boxes: Tensor, scores: Tensor, rows: Tensor, iou_threshold: float) -> Tensor:
    """`nms` among some of the rows."""
    return rows[torchvision.ops.nms(boxes[rows], scores[rows], iou_threshold)]


def _boxes_and_scores(boxes: Any, scores: Any) -> tuple[Tensor, Tensor]:
    """(N,4) and (N,) in one floating dtype of at least 32 bits."""
    box, score = _given(boxes), _given(scores)
    box = box.reshape(0, 4) if box.numel() == 0 else box
    if box.ndim != 2 or box.shape[1] != 4 or score.shape != (len(box),):
        raise HrkitError(f"boxes must be (N, 4) and scores (N,); got {tuple(box.shape)} and {tuple(score.shape)}")
    dtype = torch.promote_types(torch.promote_types(box.dtype, score.dtype), torch.float32)
    return box.to(dtype).contiguous(), score.to(box.device, dtype).contiguous()


def _double(values: Any) -> Tensor:
    """Contiguous float64, on its device if that has such numbers."""
    tensor = _given(values)
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double().contiguous()


def _given(values: Any) -> Tensor:
    if torch.is_tensor(values) and values.requires_grad:
        raise HrkitError("gradients do not pass through suppression and OKS: give tensors without, as by .detach()")
    return as_tensor(values)


def _not_nan(scores: Tensor) -> Tensor:
    return torch.nonzero(~scores.isnan())[:, 0]
