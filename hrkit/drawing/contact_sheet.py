"""Contact sheets: many crops with their joints side by side."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrkit.drawing.annotators import SkeletonAnnotator
from hrkit.structures import Detections, Frame, Poses, Skeleton

CAPTION_HEIGHT = 18  # of the line above each tile, px
GAP = 4  # space between tiles, px
BACKGROUND = 32  # grey level around the tiles


def contact_sheet(tiles: Sequence[Frame], columns: int) -> Frame:
    """(H,W,3) BGR: tiles (h_i,w_i,3) of similar size in rows of `columns`. Without tiles it is one grey cell."""
    height = max((tile.shape[0] for tile in tiles), default=CAPTION_HEIGHT) + GAP
    width = max((tile.shape[1] for tile in tiles), default=CAPTION_HEIGHT) + GAP
    columns = max(1, min(columns, len(tiles)))
    rows = max(1, -(-len(tiles) // columns))
    sheet = np.full((rows * height + GAP, columns * width + GAP, 3), BACKGROUND, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = GAP + place // columns * height, GAP + place % columns * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def captioned(tile: Frame, text: str) -> Frame:
    """The (h,w,3) BGR tile with a line of text above it."""
    strip = np.full((CAPTION_HEIGHT, tile.shape[1], 3), BACKGROUND, np.uint8)
    cv2.putText(strip, text, (3, CAPTION_HEIGHT - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([strip, tile])


def draw_joints(crop: Frame, keypoints: ArrayLike, shown: ArrayLike, skeleton: Skeleton) -> Frame:
    """A copy of a (H,W,3) BGR crop with the skeleton of one person: keypoints (K,2), crop px, with `shown` (K,) > 0."""
    height, width = crop.shape[:2]
    seen = (np.asarray(shown) > 0)[None].astype(np.float32)
    # sets the width of the lines
    box = Detections.from_boxes([[0, 0, width * 0.7, height * 0.7]])
    return SkeletonAnnotator(threshold=0.5)(crop, Poses(np.asarray(keypoints)[None, :, :2], seen, box, skeleton))


def draw_truth(crop: Frame, keypoints: ArrayLike, visible: ArrayLike, skeleton: Skeleton) -> Frame:
    """A copy of a (H,W,3) BGR crop with one person's annotated joints (K,2), crop px, as thin white lines and rings."""
    canvas = crop.copy()
    points = np.clip(np.round(np.asarray(keypoints, np.float64)[:, :2] * 16), -(2**26), 2**26).astype(np.int32).tolist()
    seen = (np.asarray(visible) > 0).tolist()
    for color, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):  # a dark rim shows on any picture
        for a, b in skeleton.edge_indices.tolist():
            if seen[a] and seen[b]:
                cv2.line(canvas, points[a], points[b], color, width, cv2.LINE_AA, 4)
        for point, there in zip(points, seen, strict=True):
            if there:
                cv2.circle(canvas, point, 4 * 16, color, width, cv2.LINE_AA, 4)
    return canvas


def heatmap_overlay(crop: Frame, heatmaps: NDArray[np.float32], to_crop: NDArray[np.float64]) -> Frame:
    """A dimmed copy of a (H,W,3) BGR crop with the highest of the heatmaps (K,h,w) at each place, clipped to 0..1.

    `to_crop` (2,3) maps heatmap px to crop px.
    """
    height, width = crop.shape[:2]
    highest = np.clip(heatmaps.max(0), 0, 1).astype(np.float32)
    spread = cv2.warpAffine(highest, to_crop, (width, height), flags=cv2.INTER_LINEAR)
    colors = cv2.applyColorMap(np.round(spread * 255).astype(np.uint8), cv2.COLORMAP_INFERNO).astype(np.float32)
    share = spread[..., None]
    return np.round(crop * 0.6 * (1 - share) + colors * share).astype(np.uint8)
