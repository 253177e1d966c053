"""The network's view of whole pictures: the short side has a fixed size, and both sides are multiples of 64.

As in the official HigherHRNet code (lib/utils/transforms.py, resize_align_multi_scale).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrkit.structures import Size

MULTIPLE = 64
"""Sides of the input are multiples of this: twice the network's largest stride."""

LONGEST = 8
"""Largest ratio of the sides of the input. Longer pictures are shrunk to fit."""


def input_size(frame_size: Size, short_side: int, scale: float = 1.0, smallest: float = 1.0) -> Size:
    """The (height, width) of the network's input at a `scale`, for a frame of (height, width).

    `smallest` is the smallest of all scales of a test. At that scale sides are rounded up to multiples of 64.
    """
    height, width = frame_size
    base = _rounded_up(smallest * short_side)
    ratio = min(max(height, width) / min(height, width), LONGEST)
    short, long = (int(side * scale / smallest) for side in (base, _rounded_up(base * ratio)))
    return (long, short) if width < height else (short, long)


def to_input(frame_size: Size, size: Size) -> NDArray[np.float64]:
    """The (2,3) transform from frame px to input px, which centres the frame and makes it as large as possible.

    As in the official code, the short side sets the size, which may cut off less than a pixel of the long side.
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
