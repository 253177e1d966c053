"""Training targets for a picture with labelled people.

As in the official HigherHRNet code (lib/dataset/target_generators). Shapes: P people, K joints, maps (h,w). The cell of
a joint is its position in cells, rounded down.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrkit.structures import Size


def joint_maps(
    points: NDArray[np.floating], visible: NDArray[np.floating], size: Size, sigma: float
) -> NDArray[np.float32]:
    """Heatmaps (K,h,w): a Gaussian around the cell of each labelled joint; the highest counts where several overlap.

    `points` (P,K,2) and the standard deviation `sigma` are in cells of the maps.
    """
    cells, there = joint_cells(points, visible, size)
    height, width = size
    reach = int(3 * sigma + 1)
    steps = np.arange(-reach, reach + 1)
    bell = np.exp(-(steps**2) / (2 * sigma**2))
    bump = np.outer(bell, bell).astype(np.float32)
    maps = np.zeros((points.shape[1], height + 2 * reach, width + 2 * reach), np.float32)  # padded for bumps
    for person, joint in zip(*np.nonzero(there), strict=True):
        y, x = divmod(int(cells[person, joint]) - joint * height * width, width)
        part = maps[joint, y : y + 2 * reach + 1, x : x + 2 * reach + 1]
        np.maximum(part, bump, out=part)
    return np.ascontiguousarray(maps[:, reach : reach + height, reach : reach + width])


def joint_cells(
    points: NDArray[np.floating], visible: NDArray[np.floating], size: Size
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Flat cells (P,K) in maps (K,h,w), and whether joints are labelled and inside; cells of the others are 0."""
    height, width = size
    floor = np.floor(points)
    there = (visible > 0) & (floor >= 0).all(2) & (floor < [width, height]).all(2)
    x, y = np.where(there[..., None], floor, 0).astype(np.int64).transpose(2, 0, 1)
    cells = (np.arange(points.shape[1]) * height + y) * width + x
    return np.where(there, cells, 0), there
