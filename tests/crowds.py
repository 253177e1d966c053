"""Boxes and poses that get in each other's way, as suppression meets them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def scattered_boxes(seed: int, count: int) -> tuple[Array, Array]:
    """Boxes (N,4) xyxy that overlap a good deal, and scores (N,) of which some are equal."""
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 300, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0, 80, (count, 2))], axis=1)
    return boxes, random.integers(0, 50, count) / 50


def awkward_boxes(seed: int, count: int) -> tuple[Array, Array, Array]:
    """Boxes (N,4), scores (N,) and classes (N,).

    Corners are whole, so that boxes are equal, without area, or overlap by just a threshold. Some boxes and some scores
    are no numbers, and many scores are equal.
    """
    random = np.random.default_rng(seed)
    corners = random.integers(0, 40, (count, 2))
    boxes = np.concatenate([corners, corners + random.integers(0, 12, (count, 2))], axis=1).astype(np.float64)
    boxes[random.random(count) < 0.03, random.integers(0, 4)] = np.nan
    scores = random.integers(0, 9, count) / 8
    scores[random.random(count) < 0.05] = np.nan
    return boxes, scores, random.integers(-2, 3, count)


def awkward_poses(seed: int, count: int) -> tuple[Array, Array, Array]:
    """Poses (N,17,2) of which many are alike, scores (N,) of which many are equal, areas (N,); some are no numbers."""
    random = np.random.default_rng(seed)
    poses = random.uniform(0, 60, (count, 1, 2)) + random.normal(0, 6, (count, 17, 2))
    poses[random.random(count) < 0.03] = np.nan
    scores = random.integers(0, 20, count) / 20
    scores[random.random(count) < 0.05] = np.nan
    return poses, scores, random.uniform(500, 5000, count)
