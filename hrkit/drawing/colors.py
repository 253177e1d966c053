"""The colours of drawings, BGR: visible on dark and light pictures, and distinct for colour-blind readers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrkit.structures import Skeleton

Color = tuple[int, int, int]

LEFT: Color = (255, 160, 40)
RIGHT: Color = (20, 130, 255)
MIDDLE: Color = (225, 225, 225)
"""Blue and orange, which are distinct in all common kinds of colour vision; light grey for neither side."""

FACE: Color = (190, 240, 160)
LEFT_HAND: Color = (255, 215, 120)
RIGHT_HAND: Color = (100, 225, 255)
"""Of whole bodies; hands are lighter than the arm of their side."""

INK: Color = (24, 24, 24)
PAPER: Color = (250, 250, 250)

UNKNOWN: Color = (150, 150, 150)
"""For a person without an id."""

PEOPLE: tuple[Color, ...] = (
    *((255, 165, 60), (45, 210, 255), (105, 75, 240), (225, 240, 90), (15, 105, 210)),
    *((135, 240, 165), (165, 105, 195), (255, 210, 30), (165, 150, 255), (120, 165, 0)),
    *((75, 195, 195), (255, 120, 105), (90, 150, 210), (210, 90, 210), (210, 150, 195)),
    *((150, 180, 255), (0, 150, 225), (195, 240, 0), (60, 165, 0), (60, 75, 240)),
)
"""Each is as far as possible from those before it (Glasbey et al., Colour Displays for Categorical Images, 2007) among
colours of middle lightness and chroma. The distance is that in CIELAB with and without red-green blindness (Machado et
al., A Physiologically-based Model for Simulation of Color Vision Deficiency, 2009)."""


def person_colors(ids: ArrayLike) -> NDArray[np.uint8]:
    """(N,3) BGR for (N,) ids: the same colour for the same id, repeated after `len(PEOPLE)`; grey for ids below 0."""
    numbers = np.asarray(ids, np.int64)
    colors = np.array(PEOPLE, np.uint8)[numbers % len(PEOPLE)]
    return np.where(numbers[:, None] < 0, np.array(UNKNOWN, np.uint8), colors)


def joint_sides(skeleton: Skeleton) -> NDArray[np.int64]:
    """(K,) 1 for the left joint of a flip pair, -1 for the right one, 0 for joints without a pair."""
    sides = {left: 1 for left, _ in skeleton.flip_pairs} | {right: -1 for _, right in skeleton.flip_pairs}
    return np.array([sides.get(name, 0) for name in skeleton.keypoint_names], np.int64)


def joint_parts(skeleton: Skeleton) -> NDArray[np.int64]:
    """(K,) 1 for joints of the face beyond eyes, ears and nose, 2 for those of the hands, 0 for others; by name."""
    words = {"face": 1, "hand": 2, "thumb": 2, "finger": 2}
    return np.array([max((words[w] for w in words if w in name), default=0) for name in skeleton.keypoint_names])


def side_colors(sides: NDArray[np.int64], parts: NDArray[np.int64] | int = 0) -> NDArray[np.uint8]:
    """(...,3) BGR for the values of `joint_sides` and `joint_parts`."""
    palette = [[MIDDLE, LEFT, RIGHT], [FACE] * 3, [MIDDLE, LEFT_HAND, RIGHT_HAND]]
    return np.array(palette, np.uint8)[parts, sides]  # -1 is the last


def text_color(ground: Color) -> Color:
    """A readable text colour: dark on light, light on dark (luma of ITU-R BT.601)."""
    return INK if np.dot(ground, (0.114, 0.587, 0.299)) > 120 else PAPER
