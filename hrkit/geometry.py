"""Boxes, affine maps, crops and the letterbox.

The pixel convention: points are (x, y), and the *centre* of the upper left pixel is (0, 0), as in OpenCV and in the
official HRNet code. Sizes are (height, width). Boxes are float x1, y1, x2, y2 in frame px, right and bottom exclusive
(width = x2 - x1), unless the name says `xywh`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrkit.errors import BoxError, ImageError
from hrkit.pose_spec import MARGIN
from hrkit.structures import Size

MAX_SIDE = 32766
"""Longest side of a picture that OpenCV can warp, px."""


def xyxy_to_xywh(xyxy: ArrayLike) -> NDArray[np.float64]:
    """(...,4) x1, y1, x2, y2 -> x1, y1, width, height."""
    boxes = np.asarray(xyxy, np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def xywh_to_xyxy(xywh: ArrayLike) -> NDArray[np.float64]:
    """(...,4) x1, y1, width, height -> x1, y1, x2, y2."""
    boxes = np.asarray(xywh, np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def clip_boxes(xyxy: NDArray[Any], frame_size: Size) -> NDArray[Any]:  # Any: numbers of any kind
    """(N,4) boxes clipped to a frame of `frame_size`. A box outside the frame loses its area."""
    height, width = frame_size
    return np.clip(xyxy, 0, np.array([width, height, width, height], xyxy.dtype))


def crop_transform(
    box_xywh: ArrayLike, input_size: Size, rotation: float = 0.0, margin: float = MARGIN, udp: bool = False
) -> NDArray[np.float64]:
    """The affine map of the official crop: (2,3) float64, frame px -> crop px, for a (4,) box; (N,2,3) for (N,4) boxes.

    The box grows about its centre to the aspect ratio of `input_size`, then by `margin`, and is scaled to the crop.
    `rotation` (degrees) turns the person clockwise about the centre of the box. Without `udp` the centre is mapped to
    (W/2, H/2) and the width to W, as in the official HRNet code (lib/utils/transforms.py). With `udp` they are mapped
    to ((W-1)/2, (H-1)/2) and W-1, which makes flips exact (Huang et al., The Devil Is in the Details, CVPR 2020).

    Raises `BoxError` for a box without area.
    """
    boxes = np.asarray(box_xywh, np.float64)
    if (boxes[..., 2:] <= 0).any():
        raise BoxError("a box without area cannot be cropped; width and height must be above 0")
    height, width = input_size
    center = boxes[..., :2] + boxes[..., 2:] / 2
    grown_width = np.maximum(boxes[..., 2], boxes[..., 3] * width / height) * margin
    shrink = 1 if udp else 0
    # one scale for both axes, except with UDP, where (W-1)/w and (H-1)/h differ slightly
    scale = np.stack([(width - shrink) / grown_width, (height - shrink) / (grown_width * height / width)], axis=-1)
    angle = np.deg2rad(rotation)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    linear = scale[..., :, None] * turn
    target = np.array([width - shrink, height - shrink]) / 2
    offset = target - np.einsum("...ij,...j->...i", linear, center)
    return np.concatenate([linear, offset[..., None]], axis=-1)


def invert_affine(transform: ArrayLike) -> NDArray[np.float64]:
    """The inverse of (...,2,3) affine maps."""
    transform = np.asarray(transform, np.float64)
    linear = np.linalg.inv(transform[..., :2])
    offset = -np.einsum("...ij,...j->...i", linear, transform[..., 2])
    return np.concatenate([linear, offset[..., None]], axis=-1)


def apply_affine(transform: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """(...,K,2) points mapped by (...,2,3) affine maps."""
    transform = np.asarray(transform, np.float64)
    linear, offset = transform[..., :2], transform[..., None, :, 2]
    return np.asarray(points, np.float64) @ np.swapaxes(linear, -1, -2) + offset


def warp_crops(frame: NDArray[np.uint8], transforms: NDArray[np.float64], input_size: Size) -> NDArray[np.uint8]:
    """(N,H,W,3) crops of a (H,W,3) frame by (N,2,3) maps (frame px -> crop px): bilinear, black outside the frame."""
    if max(frame.shape[:2]) > MAX_SIDE:
        raise ImageError(f"picture of {frame.shape[1]}x{frame.shape[0]} is too large: sides of at most {MAX_SIDE} px")
    height, width = input_size
    crops = np.empty((len(transforms), height, width, 3), np.uint8)
    for crop, transform in zip(crops, transforms, strict=True):
        cv2.warpAffine(frame, transform, (width, height), dst=crop, flags=cv2.INTER_LINEAR)
    return crops


def letterbox_transform(frame_size: Size, input_size: Size) -> tuple[float, float, float, float]:
    """The place of a frame in a letterbox, as in Darknet (src/image.c, letterbox_image).

    Returns scale_x, scale_y, left, top: letterbox px = frame px * scale + (left, top).
    """
    (height, width), (box_height, box_width) = frame_size, input_size
    if box_width * height <= box_height * width:
        new_width, new_height = box_width, max(1, height * box_width // width)
    else:
        new_width, new_height = max(1, width * box_height // height), box_height
    left, top = (box_width - new_width) // 2, (box_height - new_height) // 2
    return new_width / width, new_height / height, left, top


def resized_size(frame_size: Size, longest: int) -> Size:
    """The (height, width) of a frame whose longer side is brought to `longest` px; no side is under 1 px."""
    scale = longest / max(frame_size)
    height, width = (max(1, int(side * scale + 0.5)) for side in frame_size)
    return height, width


def letterbox(frame: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Resizes a (H,W,3) frame into the middle of `out` (H',W',3): bilinear, same aspect ratio, grey 128 around it."""
    input_size = (out.shape[0], out.shape[1])
    scale_x, scale_y, left, top = letterbox_transform((frame.shape[0], frame.shape[1]), input_size)
    width, height = round(scale_x * frame.shape[1]), round(scale_y * frame.shape[0])
    out[...] = 128
    out[top : top + height, left : left + width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
