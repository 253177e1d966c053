"""Annotators: built with a style, called with `(frame, poses)`. They return a new frame, drawn on.

A frame is any picture that `hrkit.images.as_frame` takes.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, get_args

import cv2
import numpy as np
from attrs import define, field, frozen
from numpy.typing import ArrayLike, NDArray

from hrkit import geometry
from hrkit.drawing.colors import INK, MIDDLE, Color, joint_parts, joint_sides, person_colors, side_colors, text_color
from hrkit.errors import HrkitError, ImageError
from hrkit.images import ImageSource, as_frame, check_frame
from hrkit.pose_spec import MARGIN
from hrkit.structures import Frame, Poses, Size, Skeleton

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

ColorBy = Literal["side", "person"]
"""Colour by the person's left and right, or one colour per track id (per row if there are no ids)."""

LEVELS = 8  # number of opacities
FAINTEST = 0.2  # opacity at the threshold
FINE = 0.4  # width of hands and faces in a whole body, relative to other strokes
_SHIFT = 4  # bits of OpenCV's fixed-point numbers, which place drawings at sixteenths of a pixel
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def _known_coloring(instance: object, attribute: object, value: str) -> None:
    if value not in get_args(ColorBy):
        raise HrkitError(f"color_by must be one of {', '.join(get_args(ColorBy))}, not {value!r}")


@frozen
class SkeletonAnnotator:
    """Draws limbs and joints with a thin outline, thicker on larger people. Hands and faces are finer than bodies.

    Joints that score below `threshold` are left out. Joints that score `sure` or more are opaque, and those in between
    get fainter with the score. A limb takes the lower score of its two joints. Joints that are not finite, or farther
    from the frame than its size, are left out.
    """

    threshold: float = 0.2
    line_scale: float = 1.0
    color_by: ColorBy = field(default="side", validator=_known_coloring)
    sure: float = 0.6
    outline: Color | None = INK
    """BGR; None draws no outline."""

    def __call__(self, frame: ImageSource, poses: Poses) -> Frame:
        """A new (H,W,3) BGR frame with each person drawn on it."""
        canvas = as_frame(frame).copy()
        self.draw(canvas, poses)
        return canvas

    def draw(self, canvas: Frame, poses: Poses) -> None:
        """Draws each person on the (H,W,3) BGR frame itself. Raises `ImageError` if that cannot be."""
        _check_canvas(canvas)
        strokes, sides, parts = _strokes(poses.skeleton)
        levels = self._levels(canvas, poses)
        points = np.where(levels[..., None] > 0, poses.keypoints, 0)[:, strokes]
        levels = levels[:, strokes].min(2)
        widths = self._widths(canvas, poses, points, levels)
        colors = _person_colors(poses)[:, None].repeat(len(strokes), 1)
        if 0 in parts:  # hands and face of a whole body
            widths = np.where(parts > 0, np.maximum(np.round(FINE * widths), 1), widths).astype(np.int64)
        if self.color_by == "side":
            colors = np.broadcast_to(side_colors(sides, parts), colors.shape)
        rim = _unit(canvas)
        layers = [(*_outlines(points, widths), colors)]
        if self.outline is not None:
            layers.insert(0, (*_outlines(points, widths + 2 * rim), np.full_like(colors, self.outline)))
        reach = widths[..., None] + rim + 2
        lows, highs = np.floor(points.min(2)) - reach, np.ceil(points.max(2)) + reach
        for person, own in enumerate(levels):
            for level in sorted(set(own.tolist()) - {0}):  # the opaque over the faint
                rows = np.flatnonzero(own == level)
                low, region = _region(canvas, lows[person, rows].min(0), highs[person, rows].max(0))
                if region.size:
                    shapes = [[shape[person, rows] for shape in layer] for layer in layers]
                    _draw_strokes(region, low, shapes, level / LEVELS)

    def _levels(self, frame: Frame, poses: Poses) -> Ints:
        """(N,K) opacities from 1 to `LEVELS`; 0 for joints that are not drawn."""
        scores = poses.keypoint_scores
        span = max(self.sure - self.threshold, 1e-6)
        share = (np.clip(scores, self.threshold, self.threshold + span) - self.threshold) / span  # scores may overflow
        levels = np.ceil((FAINTEST + (1 - FAINTEST) * np.nan_to_num(share)) * LEVELS).astype(np.int64)
        size = max(frame.shape[:2])
        near = (np.abs(poses.keypoints - np.array([frame.shape[1], frame.shape[0]]) / 2) <= 1.5 * size).all(2)
        return np.where((scores >= self.threshold) & near, levels, 0)

    def _widths(self, frame: Frame, poses: Poses, points: Floats, levels: Ints) -> Ints:
        """(N,S) px, limbs first, then joints. Short limbs and their joints are thin so that they do not hide a face."""
        edges = poses.skeleton.edge_indices
        short = min(frame.shape[:2])
        size = np.sqrt(geometry.xyxy_to_xywh(poses.detections.xyxy)[:, 2:].prod(1))
        thick = np.clip(size / 60, max(1, short / 500), max(1, short / 80)) * self.line_scale
        full = np.repeat(thick[:, None], points.shape[1], axis=1)
        lengths = np.linalg.norm(points[:, :, 0] - points[:, :, 1], axis=2)
        limbs = np.where(levels > 0, np.clip(lengths / 6, 0.4 * full, full), full)[:, : len(edges)]
        joints = full[:, len(edges) :]
        for end in (0, 1):
            np.minimum.at(joints.T, edges[:, end], limbs.T)
        return np.clip(np.round(np.concatenate([limbs, 1.8 * joints], axis=1)), 1, 1000).astype(np.int64)


@functools.lru_cache(32)
def _strokes(skeleton: Skeleton) -> tuple[Ints, Ints, Ints]:
    """(S,2) the joints of each stroke, limbs first, its side (S,), 0 from left to right, and its part (S,)."""
    joints = np.arange(len(skeleton))
    strokes = np.concatenate([skeleton.edge_indices, np.stack([joints, joints], axis=1)])  # a joint has no length
    return strokes, np.sign(joint_sides(skeleton)[strokes].sum(1)), joint_parts(skeleton)[strokes].min(1)


def _draw_strokes(region: Frame, low: Ints, layers: list[list[NDArray[Any]]], opacity: float) -> None:
    """Draws layers, `_outlines` and colors, as one shape with one opacity; `low` is the corner of the region."""
    canvas = region if opacity >= 1 else region.copy()
    for corners, radii, colors in layers:
        shapes = corners - (low << _SHIFT).astype(np.int32)
        for shape, radius, color in zip(shapes, radii.tolist(), colors.tolist(), strict=True):
            if radius:
                cv2.circle(canvas, shape[0].tolist(), radius, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)
            else:
                cv2.fillConvexPoly(canvas, shape, color, cv2.LINE_AA, _SHIFT)
    if canvas is not region:
        cv2.addWeighted(canvas, opacity, region, 1 - opacity, 0, dst=region)


def _region(canvas: NDArray[np.uint8], low: Floats, high: Floats) -> tuple[Ints, NDArray[np.uint8]]:
    """The part of a (H,W) or (H,W,3) canvas between two corners, px: its upper left corner and its pixels."""
    (left, top), (right, bottom) = corners = np.clip([low, high], 0, canvas.shape[1::-1]).astype(np.int64)
    return corners[0], canvas[top:bottom, left:right]


def _outlines(points: Floats, widths: Ints) -> tuple[NDArray[np.int32], Ints]:
    """Corners (N,S,4,2) of strokes (N,S,2,2) and the radii (N,S) of those of length 0, which are dots; fixed-point px.

    The ends of limbs are square, since the wider joints cover them.
    """
    starts, ends = (points[:, :, end] * 2.0**_SHIFT for end in (0, 1))
    along = ends - starts
    lengths = np.linalg.norm(along, axis=2)
    half = widths * 2.0 ** (_SHIFT - 1)
    across = along[..., ::-1] * [-1, 1] * (half / np.maximum(lengths, 1e-9))[..., None]
    corners = np.stack([starts + across, ends + across, ends - across, starts - across], axis=2)
    radii = np.where(lengths > 0, 0, half).round().astype(np.int64)
    return np.round(corners).astype(np.int32), radii


@frozen
class BoxAnnotator:
    """Draws the box of each person, in light grey or the person's colour, with a label: `#id score`."""

    color_by: ColorBy = field(default="side", validator=_known_coloring)
    labels: bool = True

    def __call__(self, frame: ImageSource, poses: Poses) -> Frame:
        """A new (H,W,3) BGR frame with the box of each person drawn on it."""
        canvas = as_frame(frame).copy()
        self.draw(canvas, poses)
        return canvas

    def draw(self, canvas: Frame, poses: Poses) -> None:
        """Draws the box of each person on the (H,W,3) BGR frame itself. Raises `ImageError` if that cannot be."""
        _check_canvas(canvas)
        height, width = canvas.shape[:2]
        unit = _unit(canvas)
        boxes = poses.detections.xyxy
        shown = np.flatnonzero((boxes[:, 2:] > 0).all(1) & (boxes[:, :2] < [width, height]).all(1))
        limit = 4 * unit  # large numbers overflow
        corners = np.clip(np.round(boxes[shown]), -limit, np.tile([width, height], 2) + limit).astype(np.int64)
        corners[:, 2:] = np.maximum(corners[:, :2], corners[:, 2:] - 1)  # right and bottom are exclusive
        colors = _person_colors(poses)[shown].tolist() if self.color_by == "person" else [MIDDLE] * len(shown)
        for x1, y1, x2, y2 in corners.tolist():
            cv2.rectangle(canvas, (x1 - unit, y1 - unit), (x2 + unit, y2 + unit), INK, unit)
        for (x1, y1, x2, y2), color in zip(corners.tolist(), colors, strict=True):
            cv2.rectangle(canvas, (x1, y1), (x2, y2), color, unit)
        if self.labels:
            scores, ids = poses.scores, poses.track_ids
            texts = [_label(scores[row], -1 if ids is None else ids[row]) for row in shown.tolist()]
            sizes = np.array([_text_size(text, canvas)[:2] for text in texts], np.int64).reshape(-1, 2)
            places = place_labels(boxes[shown], sizes, (height, width))
            for text, place, color in zip(texts, places.tolist(), colors, strict=True):
                _draw_text(canvas, text, place, color)


def place_labels(boxes: ArrayLike, sizes: ArrayLike, frame_size: Size) -> Ints:
    """Places a label of `sizes` (N,2), width and height, at each box (N,4) xyxy, so that they do not overlap; frame px.

    Returns the upper left corners (N,2). Row by row, a label goes above its box if that is free, else inside, below or
    beside it, else to the nearest free place, and overlaps only if there is none. Labels stay inside the frame of
    `frame_size` (height, width) unless they are larger.
    """
    rectangles = np.asarray(sizes, np.int64).reshape(-1, 2)
    last = np.maximum(np.array([frame_size[1], frame_size[0]]) - rectangles, 0)  # (N,2) largest corners
    wishes = np.clip(_wishes(np.asarray(boxes, np.float64).reshape(-1, 4), rectangles), 0, last[:, None])
    wishes = np.round(wishes).astype(np.int64)
    placed = np.zeros((len(rectangles), 2), np.int64)
    for i, size in enumerate(rectangles):
        others, ends = placed[:i], placed[:i] + rectangles[:i]
        overlap = _overlaps(wishes[i], size, others, ends)
        if overlap.all():
            # a label in a free place can slide left and up until it touches others, so only such places are tried
            xs, ys = (np.unique(np.append(ends[:, axis], 0)) for axis in (0, 1))
            corners = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
            corners = corners[(corners <= last[i]).all(1)]
            corners = corners[np.argsort(np.abs(corners - wishes[i, 0]).sum(1), kind="stable")]
            free = corners[~_overlaps(corners, size, others, ends)]
            placed[i] = free[0] if len(free) else wishes[i, 0]
        else:
            placed[i] = wishes[i, overlap.argmin()]
    return placed


def _wishes(boxes: NDArray[np.float64], sizes: Ints) -> NDArray[np.float64]:
    """(N,C,2) upper left corners for labels (N,2), best first."""
    (x1, y1, x2, y2), (width, height) = boxes.T, sizes.T
    above, low, left, right = y1 - height, y2 - height, x1 - width, x2 - width
    inside_or_out = [(x, y) for y in (above, y1, y2, low) for x in (x1, right)]
    beside = [(x, y) for y in (y1, low) for x in (x2, left)]
    return np.array([*inside_or_out, *beside]).transpose(2, 0, 1)


def _overlaps(corners: Ints, size: Ints, others: Ints, ends: Ints) -> NDArray[np.bool_]:
    """(C,) whether a rectangle of `size` at each corner (C,2) overlaps one from `others` (P,2) to `ends` (P,2)."""
    meets = np.logical_and(corners[:, None] < ends, others < corners[:, None] + size)
    return np.any(np.all(meets, axis=2), axis=1)


@frozen
class HeatmapAnnotator:
    """Draws the highest heatmap at each place in colour; higher values are more opaque, up to `alpha`."""

    alpha: float = 0.8
    joint: str | None = None
    """The name of the only joint to show; None shows all."""
    udp: bool = False
    """Whether the heatmaps come from the `udp` codec."""
    margin: float = MARGIN
    """How much larger the network's crops are than boxes."""

    def __call__(self, frame: ImageSource, poses: Poses) -> Frame:
        """A new (H,W,3) BGR frame with the heatmaps of each person, clipped to 0..1, over their crop.

        Raises `HrkitError` for poses without heatmaps and for a joint that is not in the skeleton.
        """
        if poses.heatmaps is None:
            raise HrkitError("these poses hold no heatmaps; call pipeline.predict(frame, return_heatmaps=True)")
        names = poses.skeleton.keypoint_names
        if self.joint is not None and self.joint not in names:
            raise HrkitError(f"no joint {self.joint!r} in {poses.skeleton.name}; it has {', '.join(names)}")
        joints = slice(None) if self.joint is None else [names.index(self.joint)]
        canvas = as_frame(frame).copy()
        highest = np.zeros(canvas.shape[:2], np.uint8)
        boxes = geometry.xyxy_to_xywh(poses.detections.xyxy)
        rows = np.flatnonzero((boxes[:, 2:] > 0).all(1))
        maps = np.nan_to_num(poses.heatmaps[rows][:, joints].max(1, initial=0))
        maps = np.round(np.clip(maps, 0, 1) * 255).astype(np.uint8)
        for values, to_frame in zip(maps, self._to_frame(boxes[rows], maps.shape[1:]), strict=True):
            _spread(highest, values, to_frame)
        left, top, width, height = cv2.boundingRect(highest)
        if width:
            window = slice(top, top + height), slice(left, left + width)
            values, region = highest[window], canvas[window]
            shares = np.minimum(np.arange(256, dtype=np.float32) / 160, 1) * np.float32(self.alpha)
            share = cv2.LUT(values, shares)
            region[:] = cv2.blendLinear(region, cv2.applyColorMap(values, cv2.COLORMAP_INFERNO), 1 - share, share)
        return canvas

    def _to_frame(self, boxes: NDArray[np.float64], heatmap_size: tuple[int, ...]) -> NDArray[np.float64]:
        """(N,2,3) heatmap cells -> frame px, for (N,4) boxes xywh."""
        h, w = heatmap_size
        height, width = 4 * h, 4 * w
        to_crop = np.diag([(width - 1) / (w - 1), (height - 1) / (h - 1)] if self.udp else [4.0, 4.0])
        cut = geometry.crop_transform(boxes, (height, width), margin=self.margin, udp=self.udp)
        to_frame = geometry.invert_affine(cut)
        return np.concatenate([to_frame[..., :2] @ to_crop, to_frame[..., 2:]], axis=-1)


def _spread(highest: NDArray[np.uint8], values: NDArray[np.uint8], to_frame: NDArray[np.float64]) -> None:
    """Raises `highest` (H,W) to `values` (h,w), mapped onto it by (2,3), which only scales and shifts."""
    low, high = geometry.apply_affine(to_frame, [[-1, -1], [values.shape[1], values.shape[0]]])
    corner, region = _region(highest, np.floor(low), np.ceil(high) + 1)
    if region.size:
        to_region = to_frame - np.array([[0, 0, corner[0]], [0, 0, corner[1]]])
        np.maximum(region, cv2.warpAffine(values, to_region, region.shape[::-1], flags=cv2.INTER_LINEAR), out=region)


@define
class Drawing:
    """What is drawn on a frame. The fields may change from one frame to the next."""

    color_by: ColorBy = "side"
    boxes: bool = True
    heatmaps: bool = False
    udp: bool = False
    """Whether the heatmaps come from the `udp` codec."""
    margin: float = MARGIN
    """How much larger the network's crops are than boxes."""

    def __call__(self, frame: ImageSource, poses: Poses) -> Frame:
        """A new (H,W,3) BGR frame with its people."""
        heat = self.heatmaps and poses.heatmaps is not None
        canvas = HeatmapAnnotator(udp=self.udp, margin=self.margin)(frame, poses) if heat else as_frame(frame).copy()
        SkeletonAnnotator(color_by=self.color_by).draw(canvas, poses)
        if self.boxes:
            BoxAnnotator(color_by=self.color_by).draw(canvas, poses)
        return canvas


def background(frame: ImageSource, color: Color = INK) -> Frame:
    """A plain (H,W,3) BGR background of the frame's size, to draw skeletons alone; `PAPER` makes a light one."""
    return np.full_like(as_frame(frame), color)


def draw_status(frame: ImageSource, text: str) -> Frame:
    """A new (H,W,3) BGR frame with a line of text in its upper left corner."""
    canvas = as_frame(frame).copy()
    _draw_text(canvas, text, (0, 0), INK)
    return canvas


def _check_canvas(canvas: Frame) -> None:
    check_frame("the canvas", canvas)
    if not (canvas.flags.writeable and canvas.flags.c_contiguous):
        raise ImageError("the canvas is read-only or has gaps in memory; draw on a copy: canvas.copy()")


def _unit(frame: Frame) -> int:
    """Width in px of the thinnest line that is visible in the whole frame."""
    return max(1, round(min(frame.shape[:2]) / 720))


def _person_colors(poses: Poses) -> NDArray[np.uint8]:
    return person_colors(np.arange(len(poses)) if poses.track_ids is None else poses.track_ids)


def _label(score: float, track_id: int) -> str:
    return f"{score:.2f}" if track_id < 0 else f"#{track_id} {score:.2f}"


def _text_size(text: str, frame: Frame) -> tuple[int, int, int]:
    """Width and height, px, of a line of text on its background, and the height of its baseline above the bottom."""
    unit = _unit(frame)
    (width, height), below = cv2.getTextSize(text, _FONT, _font_scale(frame), unit)
    return width + 6 * unit, height + below + 4 * unit, below + 2 * unit


def _draw_text(canvas: Frame, text: str, corner: tuple[int, int], ground: Color) -> None:
    """Draws a line of text on a background whose upper left corner is `corner`."""
    (x, y), (width, height, baseline), unit = corner, _text_size(text, canvas), _unit(canvas)
    cv2.rectangle(canvas, corner, (x + width - 1, y + height - 1), ground, -1)
    at = (x + 3 * unit, y + height - baseline)
    cv2.putText(canvas, text, at, _FONT, _font_scale(canvas), text_color(ground), unit, cv2.LINE_AA)


def _font_scale(frame: Frame) -> float:
    return max(0.36, min(frame.shape[:2]) / 1600)
