"""Where a joint of somebody is best: the highest heatmap less the rounded distance of the tags from theirs.

Branch and bound, exact. Shapes: n people, T tags, B blocks of cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

BLOCK = 16
"""Side of the blocks, cells."""

CELLS_AT_ONCE = 1 << 16
"""How many are looked at in one step; a bound of memory."""


def best_cells(heatmap: Floats, tags: Floats, strong: Ints, mean_tags: Floats) -> Ints:
    """(n,) the best flat cell of (H,W), with tags (T,H,W), for each of (n,T) mean tags.

    `strong` are the cells of a high heatmap, all above a threshold, which are looked at one by one. Of the others none
    is better than the highest heatmap of its block less the rounded distance from the range of the block's tags; blocks
    that cannot hold the best are not looked into.
    """
    flat, flat_tags = np.ravel(heatmap), tags.reshape(len(tags), -1)
    everyone = np.arange(len(mean_tags))
    best, found = np.full(len(mean_tags), -np.inf, np.float32), np.zeros(len(mean_tags), np.int64)
    threshold = np.float32(np.inf)
    if len(strong):
        threshold = flat[strong].min()
        for people in np.array_split(everyone, -(-len(everyone) * len(strong) // CELLS_AT_ONCE)):
            values = flat[strong] - _distance(flat_tags[:, strong][:, None], mean_tags[people].T[..., None])
            place = values.argmax(1)
            best[people], found[people] = values[np.arange(len(people)), place], strong[place]
    left = np.flatnonzero(best < threshold)  # the others may find better among the cells below it
    if len(left):
        best_left, found_left = best[left], found[left]
        _search_blocks(heatmap, tags, strong, threshold, mean_tags[left], best_left, found_left)
        found[left] = found_left
    return found


def _search_blocks(
    heatmap: Floats, tags: Floats, strong: Ints, threshold: np.float32, mean_tags: Floats, best: Floats, found: Ints
) -> None:
    """Raises `best` (n,) and `found` (n,) to what is better among the cells that are not `strong`."""
    height, width = heatmap.shape
    across = -(-width // BLOCK)
    blocks = _blocked(np.concatenate([heatmap[None], tags]))
    low, high = _ranges(blocks, _in_blocks(strong, width, across))
    means = mean_tags.T[..., None]
    nearest = np.clip(means, low[1:, None], high[1:, None])
    bound = np.minimum(high[0], threshold) - _distance(nearest, means)  # (n,B)
    who, block = np.arange(len(best)), bound.argmax(1)
    while len(who):
        part = np.moveaxis(blocks[block], 1, 0)  # (1+T,m,BLOCK^2)
        values = part[0] - _distance(part[1:], mean_tags[who].T[..., None])
        place = values.argmax(1)
        value = values[np.arange(len(who)), place]
        rising = np.argsort(value, kind="stable")  # of one person's blocks the best is written last
        rising = rising[value[rising] > best[who[rising]]]
        y = np.minimum(block // across * BLOCK + place // BLOCK, height - 1)
        x = np.minimum(block % across * BLOCK + place % BLOCK, width - 1)
        best[who[rising]], found[who[rising]] = value[rising], (y * width + x)[rising]
        bound[who, block] = -np.inf
        who, block = np.nonzero(bound > best[:, None])
        if len(who) * BLOCK**2 > CELLS_AT_ONCE:
            promising = np.argsort(-bound[who, block], kind="stable")[: CELLS_AT_ONCE // BLOCK**2]
            who, block = who[promising], block[promising]


def _distance(tags: Floats, means: Floats) -> Floats:
    """The rounded distance between (T,...) and (T,...), over T."""
    squares = np.square(tags[0] - means[0])
    for tag, mean in zip(tags[1:], means[1:], strict=True):
        squares += np.square(tag - mean)
    return np.rint(np.sqrt(squares, out=squares), out=squares)


def _blocked(maps: Floats) -> Floats:
    """(M,H,W) -> (B,M,BLOCK^2); blocks over the edge repeat their last cells."""
    count, height, width = maps.shape
    over = -height % BLOCK, -width % BLOCK
    if any(over):
        maps = np.pad(maps, [(0, 0), (0, over[0]), (0, over[1])], mode="edge")
    parts = maps.reshape(count, maps.shape[1] // BLOCK, BLOCK, maps.shape[2] // BLOCK, BLOCK)
    return np.ascontiguousarray(parts.transpose(1, 3, 0, 2, 4)).reshape(-1, count, BLOCK**2)


def _in_blocks(cells: Ints, width: int, across: int) -> Ints:
    """Where flat cells are when block stands after block, (n,), rising."""
    y, x = cells // width, cells % width
    return np.sort((y // BLOCK * across + x // BLOCK) * BLOCK**2 + y % BLOCK * BLOCK + x % BLOCK)


def _ranges(blocks: Floats, strong: Ints) -> tuple[Floats, Floats]:
    """(M,B) the lowest and the highest of each block (B,M,BLOCK^2), without those of `strong` cells.

    Each of these takes the values of the last cell before it that is not strong, be that in the block or not: a range
    may only be too wide.
    """
    block, place = strong // BLOCK**2, strong % BLOCK**2
    own = blocks[block, :, place]
    begins = np.diff(strong, prepend=-2) > 1
    before = np.maximum(strong[begins] - 1, 0)[np.cumsum(begins) - 1]
    blocks[block, :, place] = blocks[before // BLOCK**2, :, before % BLOCK**2]
    low, high = blocks.min(2).T, blocks.max(2).T
    blocks[block, :, place] = own
    return low, high
