"""People of known joints for the synthetic detector and pose network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrkit.synthetic import paint_people


def person(left: float, top: float, width: float = 60, height: float = 120, joints: int = 17) -> NDArray[np.float64]:
    """(K,2) x, y: joints in rows of three, from the corner given."""
    grid = np.array([[k % 3 / 2, k // 3 / 5] for k in range(joints)])
    return grid * [width, height] + [left, top]


TWO_PEOPLE = np.stack([person(30, 40), person(150, 60, 50, 100)])
"""(2,17,2), the larger first, as the synthetic detector gives them."""


def two_people() -> NDArray[np.uint8]:
    """(240,320,3) BGR with `TWO_PEOPLE`."""
    return paint_people((240, 320), TWO_PEOPLE, radius=4)


def one_person() -> NDArray[np.uint8]:
    """(240,320,3) BGR with the first of `TWO_PEOPLE`."""
    return paint_people((240, 320), TWO_PEOPLE[:1], radius=4)


def nobody() -> NDArray[np.uint8]:
    """(240,320,3), black."""
    return np.zeros((240, 320, 3), np.uint8)
