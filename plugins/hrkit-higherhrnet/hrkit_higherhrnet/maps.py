"""Maps of a picture as grouping sees them: without what is no number, their peaks, and a search in them.

Shapes: K joints, T tags a joint, maps (H,W), m searches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np
from attrs import frozen

from hrkit_higherhrnet import search
from hrkit_higherhrnet.search import Floats, Ints


@frozen(eq=False)
class Maps:
    """Heatmaps and tags that are numbers everywhere."""

    heatmaps: Floats
    """(K,H,W)"""
    tags: Floats
    """(T,K,H,W)"""
    peaks: list[Ints]
    """Of each joint the flat cells of (H,W), the highest first."""
    best_cells: Callable[[Ints, Floats], Ints]
    """`search.best_cells` in these maps: joints (m,) and mean tags (m,T) -> flat cells (m,)."""

    @property
    def width(self) -> int:
        """Cells in a row."""
        return self.heatmaps.shape[2]

    def at(self, joints: Ints, cells: Ints) -> tuple[Floats, Floats]:
        """(...) heatmaps and (...,T) tags of joints (...) in flat cells (...)."""
        y, x = np.divmod(cells, self.width)
        return self.heatmaps[joints, y, x], np.moveaxis(self.tags[:, joints, y, x], 0, -1)


def look(heatmaps: Floats, tags: Floats, threshold: float, most: int) -> Maps:
    """(K,H,W) and (T,K,H,W), with at most so many peaks of a joint, all above the threshold.

    A peak is the highest of the 5x5 cells about it, or as high as others there. A cell that is no number in any of its
    maps counts as 0 in all of them.
    """
    heatmaps, tags = np.asarray(heatmaps, np.float32), np.asarray(tags, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        # squares do not cancel, so one pass tells; that it also takes huge numbers for infinite costs a second look
        sums = [np.dot(maps.ravel(), maps.ravel()) for maps in (heatmaps, tags)]
    if not np.isfinite(sums).all():
        heatmaps, tags = _numbers(heatmaps, tags)
    peaks = [_peaks(heatmap, threshold)[:most] for heatmap in heatmaps]
    return Maps(heatmaps, tags, peaks, functools.partial(search.best_cells, heatmaps, tags))


def _numbers(heatmaps: Floats, tags: Floats) -> tuple[Floats, Floats]:
    wrong = ~np.isfinite(heatmaps) | ~np.isfinite(tags).all(0)
    return np.where(wrong, np.float32(0), heatmaps), np.where(wrong, np.float32(0), tags)


def _peaks(heatmap: Floats, threshold: float) -> Ints:
    """(n,) of (H,W), best first."""
    cells = np.flatnonzero((heatmap == cv2.dilate(heatmap, _WINDOW)) & (heatmap > threshold))
    return cells[np.argsort(-heatmap.ravel()[cells], kind="stable")]


_WINDOW = np.ones((5, 5), np.uint8)
