"""Whole pictures as the network sees them: the short side at one size, both multiples of 64.

As in the official HigherHRNet code (lib/utils/transforms.py, resize_align_multi_scale).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrkit.structures import Size

MULTIPLE = 64
"""What the network divides sides by, twice over."""

LONGEST = 8
"""The long side has at most so many short sides; a picture that is longer is made smaller to fit."""


def input_size(frame_size: Size, short_side: int, scale: float = 1.0, smallest: float = 1.0) -> Size:
    """(height, width) of the network's input at a `scale`, for a frame of (height, width).

    `smallest` is the smallest of all scales of a test, whose sides are rounded up to multiples of 64.
    """
    height, width = frame_size
    base = _rounded_up(smallest * short_side)
    ratio = min(max(height, width) / min(height, width), LONGEST)
    short, long = (int(side * scale / smallest) for side in (base, _rounded_up(base * ratio)))
    return (long, short) if width < height else (short, long)


def to_input(frame_size: Size, size: Size) -> NDArray[np.float64]:
    """(2,3) frame px -> input px: the middle onto the middle, as large as it fits; black beyond it.

    Less than a pixel of the long side may be lost, as officially, where the short side alone says how large it gets.
    """
    height, width = frame_size
    scales = size[1] / width, size[0] / height
    scale = scales[0] if width < height else scales[1]
    if height * scale >= size[0] + 1 or width * scale >= size[1] + 1:
        scale = min(scales)
    middle = np.array([width // 2 + width % 2, height // 2 + height % 2])
    offset = np.array([size[1], size[0]]) / 2 - scale * middle
    return np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])


def _rounded_up(side: float) -> int:
    return int((side + MULTIPLE - 1) // MULTIPLE * MULTIPLE)
