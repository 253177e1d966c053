"""Where a joint of somebody is best: the highest heatmap less the rounded distance of the tags from theirs.

Branch and bound over a pyramid of blocks, exact. Of a block the highest heatmap is known and the range of its first
tags; no cell in it is better than that highest less the rounded distance from that range. Every step of the arithmetic
is monotone, so this holds to the last bit. Blocks that cannot hold better than what was found are not looked into.

Shapes: K joints, T tags, m searches, each for a joint and somebody's mean tags, p parts: blocks or cells.
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
Extreme = Callable[..., Any]  # cv2.min or cv2.max

SIDE = 4
"""Blocks are of 4x4 parts of the level below."""

LEVELS = 3
"""Cells, blocks of 4x4 cells, and of 16x16."""

ROUNDS = 8
"""In so many the best large block of each search is looked into before all others that are left. Results do not depend
on it."""


AT_ONCE = 2048
"""Large blocks that are looked into together, 256 cells each: maps of noise would fill the memory."""


@frozen(eq=False)
class Level:
    """The parts of one size, joint by joint and row by row: K*h*w of them."""

    highest: Floats
    """(K*h*w,) heatmap."""
    low: Floats
    """(T,K*h*w) tags; of blocks only (1,K*h*w), as tags of all passes are much alike."""
    high: Floats
    """As many; the same array as `low` of cells."""
    width: int
    """Parts in a row."""

    def bound(self, parts: Ints, mean_tags: Floats) -> Floats:
        """(p,) what `parts` (p,) are worth at most to mean tags (T,p); of cells what they are worth."""
        squares = np.zeros(len(parts), np.float32)
        for low, high, mean in zip(self.low, self.high, mean_tags, strict=False):
            lowest = low.take(parts, mode="clip")  # faster than by index, which checks each
            highest = lowest if high is low else high.take(parts, mode="clip")
            squares += _square_outside(lowest, highest, mean)
        return self.highest.take(parts, mode="clip") - _rounded_root(squares)


@frozen(eq=False)
class Best:
    """What was found up to now."""

    value: Floats
    """(m,)"""
    cell: Ints
    """(m,) in the level of cells."""


def best_cells(heatmaps: Floats, tags: Floats, joints: Ints, mean_tags: Floats) -> Ints:
    """(m,) the best flat cells of (H,W), by maps (K,H,W) and tags (T,K,H,W), for `joints` (m,) and mean tags (m,T)."""
    height, width = heatmaps.shape[1:]
    over = -height % SIDE ** (LEVELS - 1), -width % SIDE ** (LEVELS - 1)
    if any(over):  # cells over the edge are those at the edge again
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
    """Raises `best` to what is in `parts` (p,) of the last level; `search` (p,) rises, `bound` (p,) is used up."""
    if not len(parts):
        return
    begins = np.flatnonzero(np.diff(search, prepend=-1))
    highest = np.maximum.reduceat(bound, begins)
    first = np.flatnonzero(bound == np.repeat(highest, np.diff(begins, append=len(search))))
    first = first[np.searchsorted(first, begins)]  # the best part of each search, the first of equals
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
    """Raises `best` to what is in the blocks (p,) of the last level, by their parts in the level below."""
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
    """(m,h*w) what every block of its joint is worth at most to each search, `count` K."""
    highest, low, high = (values.reshape(count, -1) for values in (level.highest, level.low[0], level.high[0]))
    bound = np.empty((len(joints), highest.shape[1]), np.float32)
    for joint in np.unique(joints).tolist():
        own = joints == joint
        squares = _square_outside(low[joint], high[joint], mean_tags[own, :1])
        bound[own] = highest[joint] - _rounded_root(squares)
    return bound


def _square_outside(low: Floats, high: Floats, means: Floats) -> Floats:
    """The square of how far `means` are outside of ranges."""
    outside = np.maximum(low - means, means - high)
    np.maximum(outside, 0, out=outside)
    return np.square(outside, out=outside)


def _rounded_root(squares: Floats) -> Floats:
    return np.rint(np.sqrt(squares, out=squares), out=squares)


def _pyramid(heatmaps: Floats, tags: Floats, joints: Ints) -> list[Level]:
    """All levels, cells first; blocks are filled in for `joints` only."""
    count, height, width = heatmaps.shape
    cells = tags.reshape(len(tags), -1)
    levels = [Level(heatmaps.reshape(-1), cells, cells, width)]
    low = high = tags[0]
    for _ in range(1, LEVELS):
        below = heatmaps, low, high
        height, width = height // SIDE, width // SIDE
        heatmaps, low, high = (np.empty((count, height, width), np.float32) for _ in range(3))
        sizes = np.array([8, 4, 4, 2, 1]) * height * width
        rooms = [np.empty(size, np.float32) for size in sizes]  # to get new memory takes longer than the work
        for joint in joints.tolist():
            heatmaps[joint] = _by_block(below[0][joint], cv2.max, rooms)
            low[joint] = _by_block(below[1][joint], cv2.min, rooms)
            high[joint] = _by_block(below[2][joint], cv2.max, rooms)
        levels.append(Level(heatmaps.reshape(-1), low.reshape(1, -1), high.reshape(1, -1), width))
    return levels


def _by_block(values: Floats, extreme: Extreme, rooms: list[Floats]) -> Floats:
    """(H,W) -> (H/4,W/4) the extreme of each block; `rooms` hold what comes between, and the result."""
    rows = _by_four_rows(values, extreme, rooms[:2])
    turned = rooms[2].reshape(rows.shape[::-1])
    cv2.transpose(rows, dst=turned)
    return _by_four_rows(turned, extreme, rooms[3:]).T


def _by_four_rows(values: Floats, extreme: Extreme, rooms: list[Floats]) -> Floats:
    """(H,W) -> (H/4,W), by halves of memory that lies together, which is several times faster than a reduction."""
    height, width = values.shape[0] // SIDE, values.shape[1]
    fours = values.reshape(height, 4 * width)
    twos, rows = rooms[0].reshape(height, 2 * width), rooms[1].reshape(height, width)
    extreme(fours[:, : 2 * width], fours[:, 2 * width :], dst=twos)
    extreme(twos[:, :width], twos[:, width:], dst=rows)
    return rows
