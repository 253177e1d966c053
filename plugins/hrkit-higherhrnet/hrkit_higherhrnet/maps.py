"""The maps of a picture, cleaned of NaN and infinity, their peaks, and a search in them.

Shapes: K joints, T tags per joint, maps (H,W), m searches.
"""

from __future__ import annotations

import cv2
import numpy as np
from attrs import frozen

from hrkit_higherhrnet import search
from hrkit_higherhrnet.search import Floats, Ints


@frozen(eq=False)
class Maps:
    """Finite heatmaps and tags, and the peaks of the heatmaps."""

    heatmaps: Floats
    """(K,H,W)"""
    tags: Floats
    """(T,K,H,W)"""
    peaks: list[Ints]
    """Of each joint the flat cells of (H,W), the highest first."""

    @property
    def width(self) -> int:
        """Cells per row."""
        return self.heatmaps.shape[2]

    def at(self, joints: Ints, cells: Ints) -> tuple[Floats, Floats]:
        """Heatmap values (...) and tags (...,T) of joints (...) in flat cells (...)."""
        y, x = np.divmod(cells, self.width)
        return self.heatmaps[joints, y, x], np.moveaxis(self.tags[:, joints, y, x], 0, -1)

    def best_cells(self, joints: Ints, mean_tags: Floats) -> Ints:
        """The flat cells (m,) in which joints (m,) of people with mean tags (m,T) most likely are."""
        return search.best_cells(self.heatmaps, self.tags, joints, mean_tags)


def look(heatmaps: Floats, tags: Floats, threshold: float, most: int) -> Maps:
    """Finds the peaks in heatmaps (K,H,W) with tags (T,K,H,W): at most `most` per joint, above the threshold.

    No cell among the 5x5 around a peak is higher. A cell that is NaN or infinite in any map counts as 0 in all maps.
    """
    heatmaps, tags = np.asarray(heatmaps, np.float32), np.asarray(tags, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        # sums of squares are finite if all values are; huge finite values only cost the second check
        sums = [np.dot(maps.ravel(), maps.ravel()) for maps in (heatmaps, tags)]
    if not np.isfinite(sums).all():
        heatmaps, tags = _finite(heatmaps, tags)
    peaks = [_peaks(heatmap, threshold)[:most] for heatmap in heatmaps]
    return Maps(heatmaps, tags, peaks)


def _finite(heatmaps: Floats, tags: Floats) -> tuple[Floats, Floats]:
    wrong = ~np.isfinite(heatmaps) | ~np.isfinite(tags).all(0)
    return np.where(wrong, np.float32(0), heatmaps), np.where(wrong, np.float32(0), tags)


def _peaks(heatmap: Floats, threshold: float) -> Ints:
    """Flat cells (n,) of the peaks of (H,W), highest first."""
    cells = np.flatnonzero((heatmap == cv2.dilate(heatmap, _WINDOW)) & (heatmap > threshold))
    return cells[np.argsort(-heatmap.ravel()[cells], kind="stable")]


_WINDOW = np.ones((5, 5), np.uint8)
