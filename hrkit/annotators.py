"""Drawing on frames: constructed with a style, called with `(frame, poses)`; the frame given is never changed."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from hrkit.structures import Poses, Skeleton

Frame = NDArray[np.uint8]
Color = tuple[int, int, int]

LEFT: Color = (255, 160, 40)
RIGHT: Color = (60, 110, 255)
MIDDLE: Color = (90, 220, 120)
"""BGR. The person's left, right, and what is neither."""

_SHIFT = 4
"""OpenCV draws at sixteenths of a pixel when given fixed-point numbers."""

_FARTHEST = 2**26
"""Fixed-point numbers beyond this overflow in OpenCV's line clipping."""


def _fixed(points: NDArray[Any]) -> NDArray[np.int32]:
    return np.clip(np.round(points * 2**_SHIFT), -_FARTHEST, _FARTHEST).astype(np.int32)


def _side(*names: str) -> Color:
    if all(name.startswith("left") for name in names):
        return LEFT
    return RIGHT if all(name.startswith("right") for name in names) else MIDDLE


def _line_width(poses: Poses, scale: float) -> NDArray[np.int64]:
    """(N,) px: a person's line grows with its size."""
    return np.clip(np.round(np.sqrt(poses.detections.areas) / 70 * scale), 1, 100).astype(np.int64)


@frozen
class SkeletonAnnotator:
    """Limbs coloured by side, joints as dots; what scores under `threshold` is left out."""

    threshold: float = 0.2
    line_scale: float = field(default=1.0)

    def __call__(self, frame: Frame, poses: Poses) -> Frame:
        """A copy of the (H,W,3) BGR frame with every person drawn on it."""
        canvas = frame.copy()
        skeleton = poses.skeleton
        edges, colors = skeleton.edge_indices, _edge_colors(skeleton)
        widths = _line_width(poses, self.line_scale)
        for points, scores, width in zip(poses.keypoints, poses.keypoint_scores, widths.tolist(), strict=True):
            seen = (scores >= self.threshold) & np.isfinite(points).all(1)
            fixed = _fixed(np.where(seen[:, None], points, 0)).tolist()
            for (a, b), color in zip(edges.tolist(), colors, strict=True):
                if seen[a] and seen[b]:
                    cv2.line(canvas, fixed[a], fixed[b], color, width, cv2.LINE_AA, _SHIFT)
            for k in np.flatnonzero(seen).tolist():
                color, radius = _side(skeleton.keypoint_names[k]), (width + 1) * 2 ** (_SHIFT - 1)
                cv2.circle(canvas, fixed[k], radius + 2**_SHIFT, (255, 255, 255), -1, cv2.LINE_AA, _SHIFT)
                cv2.circle(canvas, fixed[k], radius, color, -1, cv2.LINE_AA, _SHIFT)
        return canvas


@frozen
class BoxAnnotator:
    """The box of each person, with its score, and its id where it has one."""

    color: Color = MIDDLE
    labels: bool = True

    def __call__(self, frame: Frame, poses: Poses) -> Frame:
        """A copy of the (H,W,3) BGR frame with a box around every person."""
        canvas = frame.copy()
        for i, (x1, y1, x2, y2) in enumerate(poses.detections.xyxy):
            top_left, bottom_right = _fixed(np.array([[x1, y1], [x2, y2]])).tolist()
            cv2.rectangle(canvas, top_left, bottom_right, self.color, 1, cv2.LINE_AA, _SHIFT)
            if self.labels:
                name = "" if poses.track_ids is None else f"#{poses.track_ids[i]} "
                text = f"{name}{poses.detections.scores[i]:.2f}"
                at = (int(max(0, x1)) + 2, int(max(12, y1 - 3)))
                cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 3, cv2.LINE_AA)
                cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, self.color, 1, cv2.LINE_AA)
        return canvas


def _edge_colors(skeleton: Skeleton) -> list[Color]:
    return [_side(a, b) for a, b in skeleton.edges]
