"""Which convention boxes follow, from how they answer to changes of the picture.

Nobody knows what an unknown detector should find in a frame. But when the picture moves or doubles in size, its boxes
must move and grow with it, and boxes of another convention do so in another way: of x, y, width and height only the
first two move. A convention is reported only if boxes do exactly what it predicts, so a poor or untrained detector is
not (metamorphic testing: Chen et al., Metamorphic Testing: A New Approach for Generating Next Test Cases, 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hrkit.geometry import xywh_to_xyxy, xyxy_to_xywh
from hrkit.structures import Detections, Frame, Size

Boxes = NDArray[np.float64]
Turn = Callable[[Boxes, Size], Boxes]

STRONG = 0.6
"""Boxes with at least this share of the best score are compared; weaker ones come and go."""
MOST_BOXES = 5
FITS = 0.2
"""How far boxes may be from what a convention predicts, as a share of the distance between it and the right one."""
TELLING = 0.1
"""Share of the frame's shorter side. Conventions that predict boxes nearer than that cannot be told apart."""


@frozen(eq=False)
class Change:
    """One picture in two frames: a point p of the first is at `scale` p + `shift` in the second."""

    before: Frame
    after: Frame
    scale: float = 1.0
    shift: tuple[int, int] = (0, 0)
    """(x, y), frame px."""

    def move(self, xyxy: Boxes) -> Boxes:
        """(N,4) boxes of the first frame -> the same in the second."""
        return xyxy * self.scale + np.tile(self.shift, 2)


def changes(frame: Frame) -> list[Change]:
    """The frame doubled in size; put in the corner of a larger frame; and moved from there to the opposite corner."""
    height, width = frame.shape[:2]
    right, down = width // 4, height // 16  # unequal, so that x is not taken for y
    corner, opposite = (_placed(frame, left, top, right, down) for left, top in ((0, 0), (right, down)))
    return [
        Change(frame, np.ascontiguousarray(frame.repeat(2, axis=0).repeat(2, axis=1)), scale=2.0),
        Change(frame, corner),
        Change(corner, opposite, shift=(right, down)),
    ]


def _placed(frame: Frame, left: int, top: int, right: int, down: int) -> Frame:
    """The frame at (left, top) of a frame larger by (right, down), whose rest repeats the frame's border."""
    return cv2.copyMakeBorder(frame, top, down - top, left, right - left, cv2.BORDER_REPLICATE).astype(np.uint8)


def _way(said: Turn, meant: Turn) -> Callable[[Boxes, Change], Boxes]:
    """`said` turns boxes, xyxy frame px, into the convention; `meant` turns them back."""

    def predict(boxes: Boxes, change: Change) -> Boxes:
        before, after = change.before.shape[:2], change.after.shape[:2]
        return said(change.move(meant(boxes, before)), after)

    return predict


def _swapped(boxes: Boxes, size: Size) -> Boxes:
    return boxes[:, [1, 0, 3, 2]]


def _from_the_right(boxes: Boxes, size: Size) -> Boxes:
    return boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [size[1], 0, size[1], 0]


def _border(size: Size) -> Boxes:
    """(4,): the border of a square letterbox left of the frame and above it, frame px."""
    height, width = size
    return np.tile([max(size) - width, max(size) - height], 2) / 2


CONVENTIONS: Mapping[str, Callable[[Boxes, Change], Boxes | None]] = {
    # x, y of the corner or of the centre: both move alike
    "x, y, width, height": _way(lambda b, _: xyxy_to_xywh(b), lambda b, _: xywh_to_xyxy(b)),
    "y1, x1, y2, x2": _way(_swapped, _swapped),
    "x counted from the right, as of a mirrored frame": _way(_from_the_right, _from_the_right),
    "px of a letterbox whose border was not taken off": _way(
        lambda b, s: b + _border(s), lambda b, s: b - _border(s)
    ),
    # the size of the input is unknown, but does not grow with the frame
    "px of the network's input, or shares of its side": lambda b, change: b if change.scale != 1 else None,
}
"""Ways of giving boxes that are not hrkit's: boxes as given before a change -> as they would be given after it; None if
that cannot be known."""


def strong(found: Detections) -> Boxes | None:
    """The (N,4) boxes that should be found again; None if there are none, or too many."""
    boxes = found.xyxy[found.scores >= STRONG * found.scores.max(initial=0)].astype(np.float64)
    return boxes if 1 <= len(boxes) <= MOST_BOXES else None


def other_convention(observed: Sequence[tuple[Change, Boxes, Boxes]]) -> str | None:
    """The name of the convention that all boxes follow, if it is not hrkit's.

    `observed` are changes of one picture, and the (N,4) boxes found before and after each.
    """
    for name, predict in CONVENTIONS.items():
        judged = []
        for change, before, after in observed:
            predicted = predict(before, change)
            if predicted is None:
                continue
            apart = np.abs(predicted - change.move(before)).max(axis=1)
            if (apart >= TELLING * min(change.before.shape[:2])).all():
                judged.append(bool((np.abs(after - predicted).max(axis=1) <= FITS * apart).all()))
        if judged and all(judged):
            return name
    return None
