"""Plots of curves, drawn with OpenCV."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from attrs import frozen
from numpy.typing import ArrayLike, NDArray

from hrkit.structures import Frame

COLORS = ((180, 90, 20), (40, 80, 220), (60, 150, 50), (150, 60, 150), (60, 60, 60))  # BGR, in the order of curves
HEIGHT, WIDTH = 360, 480  # of a plot, px
_SHARP = 2  # plots are drawn this much larger, then reduced, which makes text and lines smooth


@frozen(eq=False)
class Curve:
    """A curve of a plot through (P,) points."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    dots: bool = False
    """Whether to mark the points."""


def plot(
    title: str,
    x_label: str,
    curves: Sequence[Curve],
    *,
    x_range: tuple[float, float] = (0.0, 1.0),
    y_range: tuple[float, float] = (0.0, 1.0),
    x_ticks: int = 6,
) -> Frame:
    """(`HEIGHT`,`WIDTH`,3) BGR: curves on white, with a grid and, for several curves, a legend.

    The x axis has `x_ticks` numbers, including both ends. Curves are clipped to the ranges.
    """
    canvas = np.full((HEIGHT * _SHARP, WIDTH * _SHARP, 3), 255, np.uint8)
    left, right, top, bottom = (side * _SHARP for side in (48, WIDTH - 16, 32, HEIGHT - 44))

    def place(x: ArrayLike, y: ArrayLike) -> NDArray[np.int32]:
        along = (np.asarray(x, np.float64) - x_range[0]) / (x_range[1] - x_range[0])
        up = (np.asarray(y, np.float64) - y_range[0]) / (y_range[1] - y_range[0])
        across = np.stack([left + along * (right - left), bottom - up * (bottom - top)], axis=-1)
        return np.round(across).astype(np.int32)

    for x in np.linspace(*x_range, x_ticks):
        start, end = place([x, x], y_range).tolist()
        cv2.line(canvas, start, end, (225, 225, 225), 1, cv2.LINE_AA)
        _text(canvas, f"{x:.2f}", (start[0], bottom + 14 * _SHARP), "middle")
    for y in np.linspace(*y_range, 6):
        start, end = place(x_range, [y, y]).tolist()
        cv2.line(canvas, start, end, (225, 225, 225), 1, cv2.LINE_AA)
        _text(canvas, f"{y:.2f}", (left - 6 * _SHARP, start[1] + 4 * _SHARP), "right")
    inside = canvas[top : bottom + 1, left : right + 1]  # clips the curves
    for number, curve in enumerate(curves):
        color = COLORS[number % len(COLORS)]
        points = place(curve.x, curve.y) - np.array([left, top], np.int32)
        cv2.polylines(inside, [points], False, color, 2 * _SHARP, cv2.LINE_AA)
        for point in points.tolist() if curve.dots else ():
            cv2.circle(inside, point, 3 * _SHARP, color, -1, cv2.LINE_AA)
    cv2.rectangle(canvas, (left, top), (right, bottom), (90, 90, 90), _SHARP)
    if len(curves) > 1:
        _legend(canvas, curves, left + 12 * _SHARP, bottom - 10 * _SHARP)
    _text(canvas, title, (left, top - 12 * _SHARP), "left", 0.5)
    _text(canvas, x_label, ((left + right) // 2, (HEIGHT - 10) * _SHARP), "middle")
    return cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _legend(canvas: Frame, curves: Sequence[Curve], left: int, bottom: int) -> None:
    far = (left + 160 * _SHARP, bottom + 6 * _SHARP)
    near = (left - 6 * _SHARP, bottom - (len(curves) - 1) * 16 * _SHARP - 14 * _SHARP)
    cv2.rectangle(canvas, near, far, (255, 255, 255), -1)
    cv2.rectangle(canvas, near, far, (200, 200, 200), 1)
    for number, curve in enumerate(curves):
        y = bottom - (len(curves) - 1 - number) * 16 * _SHARP
        color = COLORS[number % len(COLORS)]
        cv2.line(canvas, (left, y - 4 * _SHARP), (left + 18 * _SHARP, y - 4 * _SHARP), color, 2 * _SHARP, cv2.LINE_AA)
        _text(canvas, curve.name, (left + 24 * _SHARP, y), "left")


def _text(canvas: Frame, text: str, at: tuple[int, int], side: str, scale: float = 0.38) -> None:
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale * _SHARP, 1)
    x = at[0] - {"left": 0, "middle": width // 2, "right": width}[side]
    cv2.putText(canvas, text, (x, at[1]), cv2.FONT_HERSHEY_SIMPLEX, scale * _SHARP, (40, 40, 40), _SHARP, cv2.LINE_AA)
