"""What `Poses` does with its picture: people drawn, shown, saved and cut out."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageShow
from numpy.typing import ArrayLike

from hrkit.drawing.annotators import Drawing
from hrkit.errors import HrkitError
from hrkit.files import FilePath
from hrkit.images import ImageSource, as_frame, write_image
from hrkit.structures import Frame, Poses


def frame_of(poses: Poses, image: ImageSource | None = None) -> Frame:
    """`image`, or else the picture that the poses were found in. Raises `HrkitError` if they know none."""
    given = poses.image if image is None else image
    if given is None:
        raise HrkitError("these poses do not know their picture; pass it, as in poses.plot(frame)")
    return as_frame(given)


def plot(poses: Poses, image: ImageSource | None = None, **style: Any) -> Frame:  # Any: the fields of `Drawing`
    """The picture with its people, (H,W,3) BGR."""
    return Drawing(**style)(frame_of(poses, image), poses)


def show(poses: Poses, image: ImageSource | None = None, **style: Any) -> None:
    """Shows the picture with its people in the system's viewer, or in a notebook."""
    if not PIL.ImageShow.show(PIL.Image.fromarray(plot(poses, image, **style)[:, :, ::-1]), "hrkit"):
        raise HrkitError("no program here shows pictures; poses.save('drawn.jpg') writes one")


def save(poses: Poses, path: FilePath, image: ImageSource | None = None, **style: Any) -> None:
    """Writes the picture with its people. Raises as `write_image`."""
    write_image(path, plot(poses, image, **style))


def cut_out(frame: Frame, boxes: ArrayLike, margin: float = 0.0) -> list[Frame]:
    """A copy of the part of a (H,W,3) frame inside each box (N,4) xyxy, which grows by `margin` of its sides.

    Boxes outside the frame, or NaN, give an empty picture.
    """
    height, width = frame.shape[:2]
    sides = np.asarray(boxes, np.float64).reshape(-1, 4)
    grown = (sides[:, 2:] - sides[:, :2]) * margin
    outer = np.concatenate([np.floor(sides[:, :2] - grown), np.ceil(sides[:, 2:] + grown)], axis=1)
    edges = np.clip(np.nan_to_num(outer), 0, [width, height, width, height]).astype(int)
    return [frame[top:bottom, left:right].copy() for left, top, right, bottom in edges.tolist()]


def crops(poses: Poses, image: ImageSource | None = None, margin: float = 0.0) -> list[Frame]:
    """The picture inside the box of each person."""
    return cut_out(frame_of(poses, image), poses.detections.xyxy, margin)
