"""Assignment of peaks to people at the lowest total cost, by Munkres' algorithm.

Grouping often has several assignments of equal cost. The official code takes the one that the package `munkres` 1.1
finds. This module visits rows and columns in the same order, so it finds the same one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrkit_higherhrnet.search import Ints

Costs = NDArray[np.float64]


def match(costs: Costs) -> Ints:
    """Finite costs (R,C), R <= C -> the column (R,) of each row; no two rows share a column."""
    rows, size = costs.shape
    left = np.zeros((size, size))
    left[:rows] = costs - costs.min(1, keepdims=True)
    column_of, row_of = np.full(size, -1), np.full(size, -1)
    for row, zeros in enumerate(left == 0):
        free = np.flatnonzero(zeros & (row_of < 0))
        if len(free):
            column_of[row], row_of[free[0]] = free[0], row
    while (row_of < 0).any():
        _match_one_more(left, column_of, row_of)
    return column_of[:rows]


def _match_one_more(left: Costs, column_of: Ints, row_of: Ints) -> None:
    """Finds an alternating path of zeros from an unmatched row to an unmatched column, and matches along it."""
    row_covered, column_covered = np.zeros(len(left), bool), row_of >= 0
    primed = np.full(len(left), -1)
    row = column = 0
    while True:
        zeros = (left == 0) & ~column_covered & ~row_covered[:, None]
        found = np.flatnonzero(zeros.any(1))
        if not len(found):
            smallest = left[np.ix_(~row_covered, ~column_covered)].min()
            left[row_covered] += smallest
            left[:, ~column_covered] -= smallest
            row = column = 0
            continue
        row = found[np.searchsorted(found, row) % len(found)]  # the next row from here, around the end
        candidates = np.flatnonzero(zeros[row])
        column = candidates[np.searchsorted(candidates, column) - 1]  # the last column before here, around the start
        primed[row] = column
        if column_of[row] < 0:
            break
        column = column_of[row]
        row_covered[row], column_covered[column] = True, False
    while row >= 0:
        column = primed[row]
        next_row = row_of[column]
        column_of[row], row_of[column] = column, row
        row = next_row
