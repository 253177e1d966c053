"""Searches for the best cell of a joint: the highest heatmap value minus the rounded distance of the tags from a mean.

Exact branch and bound over a pyramid of blocks. The highest heatmap value and the range of the first tags of each block
are known. No cell in a block is better than its highest value minus the rounded distance from that range. Every step of
the arithmetic is monotone, so this bound holds to the last bit. Blocks that cannot hold a better cell are skipped.

Shapes: K joints, T tags per joint, m searches, each for a joint and a person's mean tags, p parts: blocks or cells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Extreme = Callable[..., Any]  # Any: cv2.min or cv2.max, which have many overloads

SIDE = 4
"""A block holds 4x4 parts of the level below."""

LEVELS = 3
"""Levels: cells, blocks of 4x4 cells, and blocks of 16x16 cells."""

ROUNDS = 8
"""Rounds in which each search looks into its best large block, before it looks into all that are left. This changes the
speed only."""


AT_ONCE = 2048
"""Large blocks, 256 cells each, processed together. This limits the memory for maps of noise."""


@frozen(eq=False)
class Level:
    """The K*h*w parts of one size, joint by joint and row by row."""

    highest: Floats
    """(K*h*w,) highest heatmap values."""
    low: Floats
    """(T,K*h*w) lowest tags; (1,K*h*w) for blocks, as the tags of all passes are similar."""
    high: Floats
    """Highest tags, in the same shape; for cells the same array as `low`."""
    width: int
    """Parts per row."""

    def bound(self, parts: Ints, mean_tags: Floats) -> Floats:
        """Upper bounds (p,) of the values in `parts` (p,) for mean tags (T,p). For cells these are the values."""
        squares = np.zeros(len(parts), np.float32)
        for low, high, mean in zip(self.low, self.high, mean_tags, strict=False):
            lowest = low.take(parts, mode="clip")  # faster than indexing, which checks bounds
            highest = lowest if high is low else high.take(parts, mode="clip")
            squares += _square_outside(lowest, highest, mean)
        return self.highest.take(parts, mode="clip") - _rounded_root(squares)


@frozen(eq=False)
class Best:
    """The best cells found so far."""

    value: Floats
    """(m,)"""
    cell: Ints
    """(m,) indices in the level of cells."""


def best_cells(heatmaps: Floats, tags: Floats, joints: Ints, mean_tags: Floats) -> Ints:
    """The best flat cells (m,) for `joints` (m,) and mean tags (m,T), in heatmaps (K,H,W) and tags (T,K,H,W)."""
    height, width = heatmaps.shape[1:]
    over = -height % SIDE ** (LEVELS - 1), -width % SIDE ** (LEVELS - 1)
    if any(over):  # repeats the cells at the edge
        beside = [(0, 0), (0, over[0]), (0, over[1])]
        heatmaps, tags = np.pad(heatmaps, beside, "edge"), np.pad(tags, [(0, 0), *beside], "edge")
    levels = _pyramid(heatmaps, tags, np.unique(joints))
    bound = _bounds(levels[-1], joints, len(heatmaps), mean_tags)
    begins = joints * bound.shape[1]
    means = np.ascontiguousarray(mean_tags.T)
    best = Best(np.full(len(joints), -np.inf, np.float32), np.zeros(len(joints), np.int64))
    for _ in range(ROUNDS):
        block = bound.argmax(1)
        search = np.flatnonzero(bound[np.arange(len(block)), block] > best.value)
        if not len(search):
            break
        block = block[search]
        _look_into(levels, search, begins[search] + block, means, best)
        bound[search, block] = -np.inf
    searches, blocks = np.nonzero(bound > best.value[:, None])
    for start in range(0, len(searches), AT_ONCE):
        search, block = searches[start : start + AT_ONCE], blocks[start : start + AT_ONCE]
        left = bound[search, block] > best.value[search]
        search, block = search[left], block[left]
        _look_at(levels, search, begins[search] + block, bound[search, block], means, best)
    y, x = np.divmod(best.cell % heatmaps[0].size, heatmaps.shape[2])
    return np.minimum(y, height - 1) * width + np.minimum(x, width - 1)


def _look_at(levels: list[Level], search: Ints, parts: Ints, bound: Floats, means: Floats, best: Best) -> None:
    """Updates `best` from `parts` (p,) of the last level. `search` (p,) is sorted; `bound` (p,) is overwritten."""
    if not len(parts):
        return
    begins = np.flatnonzero(np.diff(search, prepend=-1))
    highest = np.maximum.reduceat(bound, begins)
    first = np.flatnonzero(bound == np.repeat(highest, np.diff(begins, append=len(search))))
    first = first[np.searchsorted(first, begins)]  # the best part per search, the first among equals
    if len(levels) == 1:
        better = highest > best.value[search[first]]
        who = search[first[better]]
        best.value[who], best.cell[who] = highest[better], parts[first[better]]
        return
    _look_into(levels, search[first], parts[first], means, best)
    bound[first] = -np.inf
    rest = np.flatnonzero(bound > best.value.take(search))
    _look_into(levels, search[rest], parts[rest], means, best)


def _look_into(levels: list[Level], search: Ints, blocks: Ints, means: Floats, best: Best) -> None:
    """Updates `best` from blocks (p,) of the last level, by way of their parts in the level below."""
    *below, own = levels
    width = below[-1].width
    steps = (width * np.arange(SIDE)[:, None] + np.arange(SIDE)).ravel()
    y, x = np.divmod(blocks, own.width)
    parts = (SIDE * (y * width + x)[:, None] + steps).ravel()
    search = np.repeat(search, SIDE**2)
    bound = below[-1].bound(parts, means.take(search, axis=1, mode="clip"))
    left = np.flatnonzero(bound > best.value.take(search))
    _look_at(below, search[left], parts[left], bound[left], means, best)


def _bounds(level: Level, joints: Ints, count: int, mean_tags: Floats) -> Floats:
    """(m,h*w) upper bounds of all blocks of a joint for each search; `count` is K."""
    highest, low, high = (values.reshape(count, -1) for values in (level.highest, level.low[0], level.high[0]))
    bound = np.empty((len(joints), highest.shape[1]), np.float32)
    for joint in np.unique(joints).tolist():
        own = joints == joint
        squares = _square_outside(low[joint], high[joint], mean_tags[own, :1])
        bound[own] = highest[joint] - _rounded_root(squares)
    return bound


def _square_outside(low: Floats, high: Floats, means: Floats) -> Floats:
    """Squared distances of `means` from ranges; 0 inside."""
    outside = np.maximum(low - means, means - high)
    np.maximum(outside, 0, out=outside)
    return np.square(outside, out=outside)


def _rounded_root(squares: Floats) -> Floats:
    return np.rint(np.sqrt(squares, out=squares), out=squares)


def _pyramid(heatmaps: Floats, tags: Floats, joints: Ints) -> list[Level]:
    """All levels, cells first. Blocks are computed for `joints` only."""
    count, height, width = heatmaps.shape
    cells = tags.reshape(len(tags), -1)
    levels = [Level(heatmaps.reshape(-1), cells, cells, width)]
    low = high = tags[0]
    for _ in range(1, LEVELS):
        below = heatmaps, low, high
        height, width = height // SIDE, width // SIDE
        heatmaps, low, high = (np.empty((count, height, width), np.float32) for _ in range(3))
        sizes = np.array([8, 4, 4, 2, 1]) * height * width
        rooms = [np.empty(size, np.float32) for size in sizes]  # allocating per joint takes longer than the work
        for joint in joints.tolist():
            heatmaps[joint] = _by_block(below[0][joint], cv2.max, rooms)
            low[joint] = _by_block(below[1][joint], cv2.min, rooms)
            high[joint] = _by_block(below[2][joint], cv2.max, rooms)
        levels.append(Level(heatmaps.reshape(-1), low.reshape(1, -1), high.reshape(1, -1), width))
    return levels


def _by_block(values: Floats, extreme: Extreme, rooms: list[Floats]) -> Floats:
    """(H,W) -> (H/4,W/4), the extreme of each block. `rooms` hold intermediate values and the result."""
    rows = _by_four_rows(values, extreme, rooms[:2])
    turned = rooms[2].reshape(rows.shape[::-1])
    cv2.transpose(rows, dst=turned)
    return _by_four_rows(turned, extreme, rooms[3:]).T


def _by_four_rows(values: Floats, extreme: Extreme, rooms: list[Floats]) -> Floats:
    """(H,W) -> (H/4,W), by halving contiguous memory, which is several times faster than a reduction."""
    height, width = values.shape[0] // SIDE, values.shape[1]
    fours = values.reshape(height, 4 * width)
    twos, rows = rooms[0].reshape(height, 2 * width), rooms[1].reshape(height, width)
    extreme(fours[:, : 2 * width], fours[:, 2 * width :], dst=twos)
    extreme(twos[:, :width], twos[:, width:], dst=rows)
    return rows
