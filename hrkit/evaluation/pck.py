"""Measures of keypoints against ground truth: PCK, PCKh and the OKS of each person.

Shapes: N people, K joints, heatmaps (h, w). A figure of -1 means that there was nothing to measure, as in COCO's and
the official HRNet code. AP is in `coco`, the OKS of all pairs of poses in `hrkit.ops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hrkit.errors import HrkitError
from hrkit.heads.codecs import peaks
from hrkit.ops.tensors import ArrayOrTensor, as_tensor
from hrkit.skeletons import mpii16
from hrkit.structures import Skeleton

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

HEAD_SHARE = 0.6
"""PCKh's unit is this share of the head box's diagonal."""

PCKH_GROUPS: dict[str, tuple[str, ...]] = {
    "Head": ("head_top",),
    "Shoulder": ("left_shoulder", "right_shoulder"),
    "Elbow": ("left_elbow", "right_elbow"),
    "Wrist": ("left_wrist", "right_wrist"),
    "Hip": ("left_hip", "right_hip"),
    "Knee": ("left_knee", "right_knee"),
    "Ankle": ("left_ankle", "right_ankle"),
}
"""The rows of MPII's table, each with the joints that it averages."""


class PCK(NamedTuple):
    """Shares of correct keypoints."""

    per_joint: Floats
    """(K,) 0 to 1; -1 for a joint without labels."""
    mean: float
    """Unweighted mean over the joints with labels; 0 if there are none."""
    num_joints: int
    """The number of joints with labels."""


def pck_heatmaps(heatmaps: ArrayOrTensor, targets: ArrayOrTensor, threshold: float = 0.5) -> PCK:
    """The share of heatmap peaks near those of the targets, (N,K,h,w) each: the figure to watch during training.

    As `accuracy` in lib/core/evaluate.py of the official HRNet code, so logs can be compared: distances in x are
    divided by h/10 and those in y by w/10 (its order), and a peak is near below `threshold`. A target counts if its
    peak is above 0 and more than one cell from the left and the upper border. There is one transfer from the device.

    Raises `HrkitError` for shapes that differ.
    """
    ours, wanted = as_tensor(heatmaps).detach(), as_tensor(targets).detach()
    if ours.shape != wanted.shape or ours.ndim != 4:
        shapes = f"{tuple(ours.shape)} and {tuple(wanted.shape)}"
        raise HrkitError(f"heatmaps and targets have shapes {shapes}, wanted one shape (N, K, h, w)")
    located = []
    for points, scores in (peaks(ours), peaks(wanted)):
        located.append(points * (scores > 0)[..., None])  # (0, 0) if no cell is above 0
    found, aim = torch.stack(located).cpu().double().numpy()
    unit = np.array(ours.shape[2:]) / 10
    counted = (aim > 1).all(-1)
    near = np.linalg.norm(found / unit - aim / unit, axis=-1) < threshold
    return _pck(near, counted)


def pck(
    predictions: ArrayLike, ground_truth: ArrayLike, visible: ArrayLike, scale: ArrayLike, threshold: float = 0.2
) -> PCK:
    """The share of joints within `threshold` times the person's size of their label: PCK of LSP-style datasets.

    `predictions` and `ground_truth` (N,K,2 or more) are in frame px, further columns are ignored; a joint is labelled
    if `visible` (N,K) is above 0. `scale` (N,) is the person's size in frame px: the torso (`torso_scale`: PCK@0.2 of
    LSP; Yang and Ramanan, Articulated Human Detection with Flexible Mixtures of Parts, PAMI 2013), the diagonal or
    longer side of the box, or the head (Andriluka et al., CVPR 2014). People whose scale is NaN or not above 0 are left
    out. A predicted NaN is wrong.

    Raises `HrkitError` for shapes that do not fit.
    """
    distance, counted = _distances(predictions, ground_truth, visible)
    normed, counted = _by_scale(distance, counted, scale)
    return _pck(normed <= threshold, counted)


def torso_scale(ground_truth: ArrayLike, visible: ArrayLike, skeleton: Skeleton) -> Floats:
    """(N,) torsos of people (N,K,2 or more), left shoulder to right hip, frame px; NaN without both labels.

    Raises `HrkitError` for a skeleton without these joints.
    """
    left, right = _indices(("left_shoulder", "right_hip"), skeleton.keypoint_names)
    points = np.asarray(ground_truth, np.float64)[..., :2]
    labelled = np.asarray(visible) > 0
    length = np.linalg.norm(points[:, left] - points[:, right], axis=-1)
    return np.where(labelled[:, left] & labelled[:, right], length, np.nan)


def pckh(
    predictions: ArrayLike,
    ground_truth: ArrayLike,
    missing: ArrayLike,
    head_boxes: ArrayLike,
    joint_names: Sequence[str] = mpii16.keypoint_names,
    threshold: float = 0.5,
) -> dict[str, float]:
    """MPII's PCKh in percent: Head, Shoulder, Elbow, Wrist, Hip, Knee, Ankle, Mean, Mean@0.1.

    `predictions` and `ground_truth` (N,K,2 or more) and `head_boxes` (N,4) xyxy are in the same frame px (MPII's own
    files count from 1, hrkit from 0); `missing` (N,K) is true for joints without a label. A joint is correct within
    `threshold` times 0.6 of the head box's diagonal. A row for left and right joints is the mean of both shares; Mean
    is over all labels except pelvis and thorax. -1 stands for a row without labels. This is lib/dataset/mpii.py of the
    official HRNet code, whose Mean@0.1 is measured at 0.11.

    Raises `HrkitError` for shapes that do not fit, or if `joint_names` lacks a joint of the rows.
    """
    distance, counted = _distances(predictions, ground_truth, 1 - np.asarray(missing, np.float64))
    boxes = np.asarray(head_boxes, np.float64)
    _expect("head_boxes", boxes, (len(distance), 4))
    _expect("joint_names", np.asarray(joint_names), (distance.shape[1],))
    heads = HEAD_SHARE * np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=1)
    normed, counted = _by_scale(distance, counted, heads)
    per_joint = _share(normed <= threshold, counted)
    rows = {name: _indices(joints, joint_names) for name, joints in PCKH_GROUPS.items()}
    limbs = ~np.isin(joint_names, ("pelvis", "thorax"))
    figures = {name: _mean_of_known(per_joint[joints]) for name, joints in rows.items()}
    for name, limit in (("Mean", threshold), ("Mean@0.1", 0.11)):
        figures[name] = float(_share(normed[:, limbs] <= limit, counted[:, limbs], axis=None))
    return {name: 100 * value if value >= 0 else value for name, value in figures.items()}


def person_oks(
    keypoints: ArrayLike, ground_truth: ArrayLike, visible: ArrayLike, areas: ArrayLike, sigmas: ArrayLike
) -> Floats:
    """(N,) object keypoint similarity of each person with their own ground truth, 0 to 1.

    `keypoints` and `ground_truth` (N,K,2 or more) are in frame px; a joint counts if `visible` (N,K) is above 0;
    `areas` (N,) are those of the ground truth in frame px squared; `sigmas` (K,) are the joints' spreads. As COCO's
    keypoint evaluation (cocodataset.org/#keypoints-eval). NaN for a person without labels, so they sort last; a
    predicted NaN counts 0.

    Raises `HrkitError` for shapes that do not fit.
    """
    distance, counted = _distances(keypoints, ground_truth, visible)
    area, spread = np.asarray(areas, np.float64), np.asarray(sigmas, np.float64)
    _expect("areas", area, distance.shape[:1])
    _expect("sigmas", spread, distance.shape[1:])
    unit = 2 * (2 * spread) ** 2 * (area[:, None] + np.spacing(1))
    similarity = np.where(counted, np.exp(-(distance**2) / unit), 0.0).sum(1)
    labels = counted.sum(1)
    return np.where(labels > 0, similarity / np.maximum(labels, 1), np.nan)


def _distances(predictions: ArrayLike, ground_truth: ArrayLike, visible: ArrayLike) -> tuple[Floats, Booleans]:
    """(N,K) distances in px, infinite for a predicted NaN, and whether each joint is labelled."""
    ours, theirs = (np.asarray(points, np.float64) for points in (predictions, ground_truth))
    counted = np.asarray(visible) > 0
    if counted.ndim != 2:
        raise HrkitError(f"visible has shape {counted.shape}, wanted (N, K)")
    for name, points in (("predictions", ours), ("ground truth", theirs)):
        if points.ndim != 3 or points.shape[:2] != counted.shape or points.shape[2] < 2:
            raise HrkitError(f"{name} shape {points.shape} does not fit the labels'; wanted {(*counted.shape, 2)}")
    distance = np.linalg.norm(ours[..., :2] - theirs[..., :2], axis=-1)
    return np.where(np.isnan(distance), np.inf, distance), counted


def _by_scale(distance: Floats, counted: Booleans, scale: ArrayLike) -> tuple[Floats, Booleans]:
    """(N,K) distances divided by each person's scale (N,), and which labels count: not those without a scale."""
    size = np.asarray(scale, np.float64)
    _expect("scale", size, distance.shape[:1])
    known = size > 0
    return distance / np.where(known, size, 1)[:, None], counted & known[:, None]


def _expect(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise HrkitError(f"{name} has shape {array.shape}, wanted {shape}")


def _share(correct: Booleans, counted: Booleans, axis: int | None = 0) -> Floats:
    """The share of the counted labels (N,K) that are correct, along an axis or of all; -1 if none is counted."""
    total = counted.sum(axis)
    return np.where(total > 0, (correct & counted).sum(axis) / np.maximum(total, 1), -1.0)


def _mean_of_known(shares: Floats) -> float:
    known = shares[shares >= 0]
    return float(known.mean()) if len(known) else -1.0


def _pck(correct: Booleans, counted: Booleans) -> PCK:
    per_joint = _share(correct, counted)
    count = int((per_joint >= 0).sum())
    return PCK(per_joint, _mean_of_known(per_joint) if count else 0.0, count)


def _indices(names: Sequence[str], choices: Sequence[str]) -> list[int]:
    absent = [name for name in names if name not in choices]
    if absent:
        raise HrkitError(f"no joint {absent[0]!r} among {', '.join(choices)}")
    return [list(choices).index(name) for name in names]
