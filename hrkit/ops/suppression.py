"""Suppression of duplicate boxes (by IoU) and of duplicate poses (by OKS).

Each function takes tensors or numpy arrays and returns the same kind. Indices are int64, by falling score; equal scores
keep their order, and rows with a NaN score are never kept. Gradients do not pass through: a tensor that requires them
raises `HrkitError`.

Each function has a torch implementation in this module and a plain one in `reference.py`; some also have a native one
(`native.py`). `HRKIT_OPS` selects among them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hrkit.errors import HrkitError
from hrkit.ops import native, reference
from hrkit.ops.tensors import ArrayOrTensor, as_tensor, like

Rows = NDArray[np.int64]
Values = ArrayLike | Tensor
_CORNERS = ((torch.maximum, slice(0, 2)), (torch.minimum, slice(2, 4)))
FEW = 1000
"""Number of boxes up to which all pairs are compared at once."""
Implementation = Callable[..., Any]  # Any: a tensor or array, or a tuple of them


def nms(boxes: ArrayOrTensor, scores: ArrayOrTensor, iou_threshold: float) -> ArrayOrTensor:
    """Rows of the (N,4) xyxy boxes that remain when each drops those of lower score with IoU above the threshold.

    IoU treats coordinates as real numbers (torchvision's rule), without the +1 px of older code. Raises `HrkitError`
    if the shapes do not fit.
    """
    box, score = _boxes_and_scores(boxes, scores)
    return like(_implementation(_nms, box)(box, score, iou_threshold), boxes)


def batched_nms(
    boxes: ArrayOrTensor, scores: ArrayOrTensor, idxs: ArrayOrTensor, iou_threshold: float
) -> ArrayOrTensor:
    """`nms` within each class; `idxs` (N,) int64 holds the classes. Raises as `nms`."""
    box, score = _boxes_and_scores(boxes, scores)
    group = _given(idxs).to(box.device).long().contiguous()
    if len(group) != len(box):
        raise HrkitError(f"{len(box)} boxes but {len(group)} classes")
    return like(_implementation(_batched_nms, box)(box, score, group, iou_threshold), boxes)


def soft_nms(
    boxes: ArrayOrTensor,
    scores: ArrayOrTensor,
    iou_threshold: float = 0.3,
    *,
    method: Literal["linear", "gaussian"] = "gaussian",
    sigma: float = 0.5,
    score_threshold: float = 0.001,
) -> tuple[ArrayOrTensor, ArrayOrTensor]:
    """Picks the best box repeatedly, lowering the scores of boxes that overlap it, down to the score threshold.

    Soft-NMS (Bodla et al., ICCV 2017). "linear" multiplies a score by 1 - IoU if the IoU is above `iou_threshold`;
    "gaussian" always multiplies it by exp(-IoU^2 / sigma). Returns the picked rows and their scores when picked. Raises
    as `nms`, and if `sigma` is not above 0.
    """
    box, score = _boxes_and_scores(boxes, scores)
    if method not in ("linear", "gaussian"):
        raise HrkitError(f"unknown method {method!r}; choices: 'linear', 'gaussian'")
    if not sigma > 0:
        raise HrkitError(f"sigma must be above 0, not {sigma}")
    picked = _implementation(_soft_nms, box)
    rows, left = picked(box, score, iou_threshold, sigma, score_threshold, method)
    return like(rows, boxes), like(left, scores)


def oks(
    keypoints: ArrayOrTensor,
    others: ArrayOrTensor,
    areas: ArrayOrTensor,
    other_areas: ArrayOrTensor,
    sigmas: Values,
) -> ArrayOrTensor:
    """Object keypoint similarity (N,M) of poses (N,K,2 or more) and (M,K,2 or more), frame px.

    Columns after x and y are ignored. The scale of a pair is the mean of its areas, (N,) and (M,) in frame px squared;
    `sigmas` (K,) is the spread per joint. As in lib/nms/nms.py of the official HRNet code, after
    cocodataset.org/#keypoints-eval.
    """
    spread = _double(sigmas)
    ours, theirs = _points(keypoints, spread), _points(others, spread)
    area, other_area, spread = (_double(values).to(ours.device) for values in (areas, other_areas, spread))
    if (len(ours), len(theirs)) != (len(area), len(other_area)):
        raise HrkitError(f"{len(ours)} and {len(theirs)} poses but {len(area)} and {len(other_area)} areas")
    similarity = _implementation(_oks, ours)
    return like(similarity(ours, theirs.to(ours.device), area, other_area, spread), keypoints)


def oks_nms(
    keypoints: ArrayOrTensor, scores: ArrayOrTensor, areas: ArrayOrTensor, threshold: float, sigmas: Values
) -> ArrayOrTensor:
    """Rows of the (N,K,2 or more) poses that remain when each drops those of lower score with OKS above the threshold.

    `areas` and `sigmas` are those of `oks`.
    """
    points, score, area, spread = _poses(keypoints, scores, areas, sigmas)
    return like(_implementation(_oks_nms, points)(points, score, area, threshold, spread), keypoints)


def soft_oks_nms(
    keypoints: ArrayOrTensor,
    scores: ArrayOrTensor,
    areas: ArrayOrTensor,
    threshold: float,
    sigmas: Values,
    max_poses: int = 20,
) -> ArrayOrTensor:
    """Picks the best pose repeatedly, lowering the scores of similar ones by exp(-OKS^2 / threshold).

    Soft-NMS (Bodla et al., ICCV 2017) on OKS, as in the official HRNet code. Returns the rows of at most `max_poses`
    poses.
    """
    if not threshold > 0:
        raise HrkitError(f"threshold must be above 0, not {threshold}")
    points, score, area, spread = _poses(keypoints, scores, areas, sigmas)
    return like(_implementation(_soft_oks_nms, points)(points, score, area, threshold, spread, max_poses), keypoints)


def _implementation(own: Implementation, given: Tensor) -> Implementation:
    """The implementation to run on the device of `given` in place of one of this module."""
    name, chosen = own.__name__.removeprefix("_"), native.implementation(given.device.type)
    if chosen == "native" and name in native.OPERATORS:
        return getattr(torch.ops.hrkit, name)
    return functools.partial(_on_arrays, getattr(reference, name)) if chosen == "reference" else own


def _on_arrays(function: Implementation, *given: object) -> Tensor | tuple[Tensor, ...]:
    result = function(*(value.cpu().numpy() if isinstance(value, Tensor) else value for value in given))
    return tuple(map(torch.from_numpy, result)) if isinstance(result, tuple) else torch.from_numpy(result)


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    rows = _not_nan(scores)
    if len(rows) > FEW:
        import torchvision  # takes as long to load as torch

        return rows[torchvision.ops.nms(boxes[rows], scores[rows], iou_threshold)]
    rows = rows[scores[rows].argsort(descending=True, stable=True)]
    alive = _alive(box_iou(boxes[rows], boxes[rows]).double().cpu().numpy() > iou_threshold)
    return rows[torch.from_numpy(alive).to(rows.device)]


def _batched_nms(boxes: Tensor, scores: Tensor, classes: Tensor, iou_threshold: float) -> Tensor:
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for one in classes.unique():  # torchvision moves the classes apart, which rounds coordinates of large boxes
        rows = torch.nonzero(classes == one)[:, 0]
        kept[rows[_nms(boxes[rows], scores[rows], iou_threshold)]] = True
    rows = torch.nonzero(kept)[:, 0]
    return rows[scores[rows].argsort(descending=True, stable=True)]


def _soft_nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, sigma: float, score_threshold: float, method: str
) -> tuple[Tensor, Tensor]:
    def factors(best: int, others: Rows) -> NDArray[np.float64]:
        overlap = box_iou(boxes[best][None], boxes[others])[0].double().nan_to_num(0).cpu().numpy()
        return 1 - overlap * (overlap > iou_threshold) if method == "linear" else np.exp(-(overlap**2) / sigma)

    rows, left = _picked_softly(scores, factors, score_threshold, len(scores))
    return rows, left.to(scores.dtype)


def _oks(ours: Tensor, theirs: Tensor, areas: Tensor, other_areas: Tensor, sigmas: Tensor) -> Tensor:
    area = (areas[:, None] + other_areas[None]) / 2
    squared = (ours[:, None] - theirs[None]).square().sum(-1)
    return torch.exp(-squared / (2 * sigmas) ** 2 / (area[..., None] + np.spacing(1)) / 2).mean(-1)


def _oks_nms(keypoints: Tensor, scores: Tensor, areas: Tensor, threshold: float, sigmas: Tensor) -> Tensor:
    score = scores.cpu().numpy()
    order = np.argsort(-score, kind="stable")
    order = order[~np.isnan(score[order])]
    similar = _similarity(keypoints, areas, sigmas)[order][:, order] > threshold
    return torch.from_numpy(order[_alive(similar)])


def _alive(similar: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) which rows, best first, remain when each that does drops later rows similar to it, (N,N)."""
    alive = np.ones(len(similar), bool)
    for row in np.flatnonzero(similar.sum(1) > 1) if len(similar) else ():
        if alive[row]:
            alive[row + 1 :] &= ~similar[row, row + 1 :]
    return alive


def box_iou(ours: Tensor, theirs: Tensor) -> Tensor:
    """(N,M) IoU of boxes (N,4) and (M,4); NaN for two boxes without area."""
    corner, end = (pick(ours[:, None, part], theirs[None, :, part]) for pick, part in _CORNERS)
    shared = (end - corner).clamp(min=0).prod(-1)
    areas, other_areas = ((boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (ours, theirs))
    return shared / (areas[:, None] + other_areas - shared)


def _soft_oks_nms(
    keypoints: Tensor, scores: Tensor, areas: Tensor, threshold: float, sigmas: Tensor, max_poses: int
) -> Tensor:
    similarity = _similarity(keypoints, areas, sigmas)

    def factors(best: int, others: Rows) -> NDArray[np.float64]:
        return np.exp(-(similarity[best, others] ** 2) / threshold)

    return _picked_softly(scores, factors, -np.inf, max_poses)[0]


def _picked_softly(
    scores: Tensor, factors: Callable[[int, Rows], NDArray[np.float64]], least: float, most: int
) -> tuple[Tensor, Tensor]:
    """At most `most` rows and their scores, all at least `least`; each pick multiplies the scores left by `factors`."""
    remaining = scores.double().cpu().numpy().copy()
    left = np.flatnonzero(~np.isnan(remaining))
    kept: list[int] = []
    while len(left) and len(kept) < most:
        best = int(left[remaining[left].argmax()])
        if not remaining[best] >= least:
            break
        kept.append(best)
        left = left[left != best]
        remaining[left] *= factors(best, left)
    return torch.tensor(kept, dtype=torch.int64), torch.tensor([remaining[row] for row in kept], dtype=torch.float64)


def _similarity(keypoints: Tensor, areas: Tensor, sigmas: Tensor) -> NDArray[np.float64]:
    """(N,N) OKS; 0 for a pose that is not finite."""
    return np.nan_to_num(_oks(keypoints, keypoints, areas, areas, sigmas).cpu().numpy(), nan=0.0)


def _poses(keypoints: Values, scores: Values, areas: Values, sigmas: Values) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(N,K,2), (N,), (N,) and (K,), float64, on one device."""
    spread = _double(sigmas)
    points = _points(keypoints, spread)
    score, area, spread = (_double(values).to(points.device) for values in (scores, areas, spread))
    if not len(points) == len(area) == len(score):
        raise HrkitError(f"{len(points)} poses but {len(area)} areas and {len(score)} scores")
    return points, score, area, spread


def _points(keypoints: Values, sigmas: Tensor) -> Tensor:
    """(N,K,2 or more) -> (N,K,2) float64."""
    points = _double(keypoints)
    points = points.reshape(0, len(sigmas), 2) if points.numel() == 0 else points[..., :2]
    if points.shape[1:] != (len(sigmas), 2):
        raise HrkitError(f"{len(sigmas)} sigmas want poses (N, {len(sigmas)}, 2 or more); got {tuple(points.shape)}")
    return points.contiguous()


def _boxes_and_scores(boxes: Values, scores: Values) -> tuple[Tensor, Tensor]:
    """(N,4) and (N,) in one floating dtype of at least 32 bits."""
    box, score = _given(boxes), _given(scores)
    box = box.reshape(0, 4) if box.numel() == 0 else box
    if box.ndim != 2 or box.shape[1] != 4 or score.shape != (len(box),):
        raise HrkitError(f"boxes must be (N, 4) and scores (N,); got {tuple(box.shape)} and {tuple(score.shape)}")
    dtype = torch.promote_types(torch.promote_types(box.dtype, score.dtype), torch.float32)
    return box.to(dtype).contiguous(), score.to(box.device, dtype).contiguous()


def _double(values: Values) -> Tensor:
    """Contiguous float64 on the same device; on the CPU for MPS, which has no float64."""
    tensor = _given(values)
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double().contiguous()


def _given(values: Values) -> Tensor:
    if torch.is_tensor(values) and values.requires_grad:
        raise HrkitError("gradients do not pass through suppression and OKS: give tensors without, as by .detach()")
    return as_tensor(values)


def _not_nan(scores: Tensor) -> Tensor:
    return torch.nonzero(~scores.isnan())[:, 0]
