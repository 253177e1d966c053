"""The definitions of the operations in plain numpy, one pair at a time; all implementations give the same results.

Boxes are (N,4) xyxy and poses (N,K,2 or more), both in frame px. Indices are int64, by falling score; equal scores keep
their order, and rows with a NaN score are left out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # Any: numbers of any kind


def _by_falling_score(scores: Array) -> list[int]:
    return sorted((i for i in range(len(scores)) if not math.isnan(scores[i])), key=lambda i: -scores[i])


def iou(a: Array, b: Array) -> float:
    """Intersection over union of two boxes; 0 if neither has any area."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def nms(boxes: Array, scores: Array, iou_threshold: float) -> Array:
    """Keeps each box that no kept box of higher score overlaps by more than the threshold."""
    kept: list[int] = []
    for i in _by_falling_score(scores):
        if all(iou(boxes[k], boxes[i]) <= iou_threshold for k in kept):
            kept.append(i)
    return np.array(kept, np.int64)


def batched_nms(boxes: Array, scores: Array, idxs: Array, iou_threshold: float) -> Array:
    """`nms` within each class."""
    kept: list[int] = []
    for i in _by_falling_score(scores):
        if all(idxs[k] != idxs[i] or iou(boxes[k], boxes[i]) <= iou_threshold for k in kept):
            kept.append(i)
    return np.array(kept, np.int64)


def soft_nms(
    boxes: Array, scores: Array, iou_threshold: float, sigma: float, score_threshold: float, method: str
) -> tuple[Array, Array]:
    """Picks the best box and lowers the scores of overlapping ones, repeatedly, while a score reaches the threshold."""
    left = {i: float(scores[i]) for i in range(len(scores)) if not math.isnan(scores[i])}
    kept: list[int] = []
    kept_scores: list[float] = []
    while left:
        best = max(left, key=lambda i: (left[i], -i))
        if not left[best] >= score_threshold:
            break
        kept.append(best)
        kept_scores.append(left.pop(best))
        for i in left:
            overlap = iou(boxes[best], boxes[i])
            if method == "gaussian":
                left[i] *= math.exp(-(overlap**2) / sigma)
            elif overlap > iou_threshold:
                left[i] *= 1 - overlap
    return np.array(kept, np.int64), np.array(kept_scores, scores.dtype)


def oks_pair(a: Array, b: Array, area_a: float, area_b: float, sigmas: Array) -> float:
    """Object keypoint similarity of two poses. The scale is the mean of their areas."""
    terms = []
    for (xa, ya), (xb, yb), sigma in zip(a[:, :2], b[:, :2], sigmas, strict=True):
        squared = (xa - xb) ** 2 + (ya - yb) ** 2
        terms.append(math.exp(-squared / (2 * sigma) ** 2 / ((area_a + area_b) / 2 + np.spacing(1)) / 2))
    return sum(terms) / len(terms)


def oks(keypoints: Array, others: Array, areas: Array, other_areas: Array, sigmas: Array) -> Array:
    """(N,M): `oks_pair` of each pair."""
    rows = [
        [oks_pair(a, b, area_a, area_b, sigmas) for b, area_b in zip(others, other_areas, strict=True)]
        for a, area_a in zip(keypoints, areas, strict=True)
    ]
    return np.array(rows, np.float64).reshape(len(keypoints), len(others))


def _alike(i: int, j: int, keypoints: Array, areas: Array, sigmas: Array) -> float:
    """OKS of two rows; 0 if one of the poses is not finite."""
    similarity = oks_pair(keypoints[i], keypoints[j], areas[i], areas[j], sigmas)
    return 0.0 if math.isnan(similarity) else similarity


def oks_nms(keypoints: Array, scores: Array, areas: Array, threshold: float, sigmas: Array) -> Array:
    """`nms` with OKS in place of IoU."""
    kept: list[int] = []
    for i in _by_falling_score(scores):
        if all(_alike(k, i, keypoints, areas, sigmas) <= threshold for k in kept):
            kept.append(i)
    return np.array(kept, np.int64)


def soft_oks_nms(
    keypoints: Array, scores: Array, areas: Array, threshold: float, sigmas: Array, max_poses: int = 20
) -> Array:
    """Picks the best pose and lowers the scores of others by exp(-OKS^2 / threshold), at most `max_poses` times."""
    left = {i: float(scores[i]) for i in range(len(scores)) if not math.isnan(scores[i])}
    kept: list[int] = []
    while left and len(kept) < max_poses:
        best = max(left, key=lambda i: (left[i], -i))
        kept.append(best)
        del left[best]
        for i in left:
            left[i] *= math.exp(-(_alike(best, i, keypoints, areas, sigmas) ** 2) / threshold)
    return np.array(kept, np.int64)
