"""Where a joint of somebody is best: the highest heatmap less the rounded distance of the tags from theirs.

Branch and bound, exact. Shapes: n people, T tags, B blocks of cells.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SMALL, LARGE = 8, 16
"""Side of the blocks, cells."""

FEW = 1 << 16
"""Maps of up to so many cells are taken apart into small blocks, others into large ones."""

PARTS_AT_ONCE = 1024
"""How many are looked into in one step; a bound of memory."""

Look = Callable[[Ints, Ints], tuple[Floats, Ints]]


def best_cells(heatmap: Floats, tags: Floats, strong: Ints, mean_tags: Floats) -> Ints:
    """(n,) the best flat cell of (H,W), with tags (T,H,W), for each of (n,T) mean tags.

    `strong` are the cells of a high heatmap, all above a threshold, rising. They are looked at by runs, which lie on
    one person or two, the others by blocks. No cell of such a part is better than its highest heatmap less the rounded
    distance from the range of its tags; parts that cannot hold the best are not looked into.
    """
    best, found = np.full(len(mean_tags), -np.inf, np.float32), np.zeros(len(mean_tags), np.int64)
    flat, flat_tags = np.ravel(heatmap), tags.reshape(len(tags), -1)
    threshold = np.float32(np.inf)
    if len(strong):
        threshold = flat[strong].min()
        bound, look = _runs(flat[strong], flat_tags[:, strong], strong, mean_tags)
        _search(bound, look, best, found)
    left = np.flatnonzero(best < threshold)  # the others may find better among the cells below it
    if len(left):
        best_left, found_left = best[left], found[left]
        bound, look = _blocks(heatmap, tags, strong, threshold, mean_tags[left])
        _search(bound, look, best_left, found_left)
        found[left] = found_left
    return found


def _search(bound: Floats, look: Look, best: Floats, found: Ints) -> None:
    """Raises `best` (n,) and the cells `found` (n,) to the best of all parts; `bound` (n,parts) is used up.

    `look(people, parts)`, pairs of them, gives the best value and its cell of each pair.
    """
    who, part = np.arange(len(best)), bound.argmax(1)
    while len(who):
        value, cell = look(who, part)
        rising = np.argsort(value, kind="stable")  # of one person's parts the best is written last
        rising = rising[value[rising] > best[who[rising]]]
        best[who[rising]], found[who[rising]] = value[rising], cell[rising]
        bound[who, part] = -np.inf
        who, part = np.nonzero(bound > best[:, None])
        if len(who) > PARTS_AT_ONCE:
            promising = np.argsort(-bound[who, part], kind="stable")[:PARTS_AT_ONCE]
            who, part = who[promising], part[promising]


def _runs(values: Floats, tags: Floats, cells: Ints, mean_tags: Floats) -> tuple[Floats, Look]:
    """Bounds and looks of the runs of `cells` (c,), which follow each other, with their heatmap (c,) and tags (T,c)."""
    begins = np.flatnonzero(np.diff(cells, prepend=-2) > 1)
    lengths = np.diff(begins, append=len(cells))
    means = mean_tags.T[..., None]
    low, high = (reduce.reduceat(tags, begins, axis=1) for reduce in (np.minimum, np.maximum))
    bound = np.maximum.reduceat(values, begins) - _distance(np.clip(means, low[:, None], high[:, None]), means)

    def look(who: Ints, run: Ints) -> tuple[Floats, Ints]:
        length = lengths[run]
        first = np.cumsum(length) - length
        at = np.arange(length.sum()) + np.repeat(begins[run] - first, length)
        worth = values[at] - _distance(_taken(tags, at), np.repeat(mean_tags[who].T, length, axis=1))
        best = np.maximum.reduceat(worth, first)
        place = np.flatnonzero(worth == np.repeat(best, length))
        place = place[np.searchsorted(place, first)]  # the first of equals
        return best, cells[at[place]]

    return bound, look


def _blocks(
    heatmap: Floats, tags: Floats, strong: Ints, threshold: np.float32, mean_tags: Floats
) -> tuple[Floats, Look]:
    """Bounds and looks of blocks of cells; bounds are those of the cells that are not `strong`."""
    flat, flat_tags = np.ravel(heatmap), tags.reshape(len(tags), -1)
    side = SMALL if heatmap.size <= FEW else LARGE
    weak = _without(tags, strong)
    low, high = (_by_block(weak, reduce, side) for reduce in (np.minimum, np.maximum))
    highest = np.minimum(_by_block(heatmap, np.maximum, side), threshold)
    means = mean_tags.T[..., None]
    bound = highest - _distance(np.clip(means, low[:, None], high[:, None]), means)

    def look(who: Ints, block: Ints) -> tuple[Floats, Ints]:
        cells = _cells(block, heatmap.shape, side)
        worth = flat.take(cells, mode="clip") - _distance(_taken(flat_tags, cells), mean_tags[who].T[..., None])
        place = worth.argmax(1)
        row = np.arange(len(who))
        return worth[row, place], cells[row, place]

    return bound, look


def _taken(tags: Floats, cells: Ints) -> list[Floats]:
    """Of (T,c) tags those of some cells; faster than by index, which checks each."""
    return [tag.take(cells, mode="clip") for tag in tags]


def _distance(tags: Floats | list[Floats], means: Floats) -> Floats:
    """The rounded distance between (T,...) and (T,...), over T."""
    squares = np.square(tags[0] - means[0])
    for tag, mean in zip(tags[1:], means[1:], strict=True):
        squares += np.square(tag - mean)
    return np.rint(np.sqrt(squares, out=squares), out=squares)


def _without(tags: Floats, strong: Ints) -> Floats:
    """Tags (T,H,W) in which `strong` cells, which rise, have those of the last cell before them that is not strong.

    Ranges of blocks are then those of the other cells, or wider where that cell is of another block.
    """
    weak = np.array(tags)
    if len(strong):
        flat = weak.reshape(len(tags), -1)
        begins = np.diff(strong, prepend=-2) > 1
        before = np.maximum(strong[begins] - 1, 0)
        flat[:, strong] = flat[:, before[np.cumsum(begins) - 1]]
    return weak


def _by_block(maps: Floats, reduce: np.ufunc, side: int) -> Floats:
    """(...,H,W) -> (...,B), columns of blocks one after the other; those over the edge end there."""
    *front, height, width = maps.shape
    over = -height % side, -width % side
    if any(over):
        maps = np.pad(maps, [(0, 0)] * len(front) + [(0, over[0]), (0, over[1])], mode="edge")
        height, width = height + over[0], width + over[1]
    strips = reduce.reduce(maps.reshape(*front, height // side, side, width), axis=-2)
    strips = np.ascontiguousarray(np.swapaxes(strips, -1, -2))  # both steps run along memory
    return reduce.reduce(strips.reshape(*front, width // side, side, -1), axis=-2).reshape(*front, -1)


def _cells(blocks: Ints, size: tuple[int, ...], side: int) -> Ints:
    """(m,side^2) flat cells of blocks (m,); of those over the edge the last cells again and again."""
    height, width = size
    down = -(-height // side)
    steps = np.arange(side)
    y = np.minimum(blocks[:, None] % down * side + steps, height - 1)
    x = np.minimum(blocks[:, None] // down * side + steps, width - 1)
    return (y[:, :, None] * width + x[:, None, :]).reshape(len(blocks), -1)
