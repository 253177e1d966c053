"""Painted people, and a detector and a pose network that see them exactly.

For tests and first steps. `Pipeline.from_names("synthetic", "synthetic", weights=None)` runs the whole pipeline without
weights and finds keypoints within a fraction of a pixel. This holds for the decoders `msra` and `dark` and without the
flip test: painted people have no mirror image, and heatmap px i lies at crop px 4 i, unlike with `udp`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import ArrayLike, NDArray
from torch import nn

from hrkit.structures import Detections

BODY_GREY = 60
"""Grey level of a painted body; too dark to be taken for a joint."""


def joint_colors(num_joints: int) -> NDArray[np.uint8]:
    """(K,3) BGR, evenly spaced saturated hues."""
    hues = np.arange(num_joints) * 180 / num_joints
    hsv = np.stack([hues, np.full(num_joints, 255), np.full(num_joints, 255)], axis=1).astype(np.uint8)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2BGR)[0]


def paint_people(frame_size: tuple[int, int], keypoints: ArrayLike, radius: float = 3.0) -> NDArray[np.uint8]:
    """A black (H,W,3) BGR frame with people (N,K,2), frame px: grey hulls with a coloured disc at each joint."""
    people = np.asarray(keypoints, np.float64)
    frame = np.zeros((*frame_size, 3), np.uint8)
    bits = 4  # of the fixed-point numbers with which OpenCV draws at fractions of a pixel
    fixed = np.round(people * 2**bits).astype(np.int32)
    for person in fixed:
        hull = cv2.convexHull(person.reshape(-1, 1, 2))
        cv2.fillConvexPoly(frame, hull, (BODY_GREY,) * 3, shift=bits)
        for point, color in zip(person, joint_colors(people.shape[1]).tolist(), strict=True):
            cv2.circle(frame, point.tolist(), round(radius * 2**bits), color, -1, cv2.LINE_8, bits)
    return frame


class SyntheticDetector:
    """Detects each connected area that is not black as a person with score 1."""

    def __init__(
        self,
        *,
        weights: object = None,
        threshold: float | None = None,
        nms_threshold: float | None = None,
        min_area: int = 9,
    ) -> None:
        self.min_area = min_area

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """One `Detections` per frame, the largest person first."""
        return [self._detect(image) for image in images]

    def _detect(self, image: NDArray[np.uint8]) -> Detections:
        mask = (image.max(axis=2) > BODY_GREY // 3).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        boxes = np.asarray(stats)[1:]  # the first area is the background
        boxes = boxes[boxes[:, cv2.CC_STAT_AREA] >= self.min_area]
        boxes = boxes[np.argsort(-boxes[:, cv2.CC_STAT_AREA], kind="stable")]
        xyxy = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]], axis=1)
        return Detections(xyxy, np.ones(len(boxes)), np.zeros(len(boxes)))


class SyntheticBackbone(nn.Module):
    """Passes the crop on."""

    channels: tuple[int, ...] = (3,)
    strides: tuple[int, ...] = (1,)
    default_head = "synthetic"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channel_order: str = "bgr"
    input_multiple = 4

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(N,3,H,W) -> [(N,3,H,W)]."""
        return [images]


class SyntheticHead(nn.Module):
    """Heatmaps of the similarity to the colour of each joint, blurred with a deviation of `sigma` heatmap px."""

    colors: torch.Tensor
    taps: torch.Tensor

    def __init__(self, channels: Sequence[int], strides: Sequence[int], num_joints: int, sigma: float = 2.0) -> None:
        super().__init__()
        colors = torch.from_numpy(joint_colors(num_joints)).float() / 255
        self.register_buffer("colors", colors, persistent=False)
        taps = torch.arange(-12 * int(sigma), 12 * int(sigma) + 1)
        self.register_buffer("taps", torch.exp(-(taps**2) / (2 * (4 * sigma) ** 2)), persistent=False)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """[(N,3,H,W)] -> (N,K,H/4,W/4) with a peak of 1, or all 0 if the joint is not in the crop."""
        distance = (features[0][:, None] - self.colors[None, :, :, None, None]).square().sum(2)
        response = torch.exp(-distance / (2 * 0.1**2)) * (distance < 0.03)  # neighbouring hues are 0.07 apart
        maps = response.flatten(0, 1)[:, None]
        around = len(self.taps) // 2
        maps = F.conv2d(maps, self.taps.view(1, 1, 1, -1), stride=(1, 4), padding=(0, around))
        maps = F.conv2d(maps, self.taps.view(1, 1, -1, 1), stride=(4, 1), padding=(around, 0))
        maps = maps.unflatten(0, response.shape[:2])[:, :, 0]  # heatmap px i lies at crop px 4 i
        peak = maps.amax((2, 3), keepdim=True)
        return torch.where(peak > 1, maps / peak.clamp(min=1e-6), 0.0)
