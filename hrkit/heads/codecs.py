"""Codecs: keypoints in crop px <-> heatmaps, both directions in one object.

Shapes: N people, K joints, heatmaps (h, w). All three codecs put a Gaussian of deviation `sigma` (heatmap px) at each
joint; they differ in how the centre is rounded, and in how it is read back:

- `msra`: rounded to a cell, read by a quarter-cell shift (official HRNet code, lib/core/inference.py and
  lib/dataset/JointsDataset.py).
- `dark`: not rounded, read by a Taylor expansion of the blurred log-heatmap (Zhang et al., Distribution-Aware
  Coordinate Representation for Human Pose Estimation, CVPR 2020).
- `udp`: not rounded, on crops where W-1 px become w-1 cells, read by the same expansion on one-cell differences
  (Huang et al., The Devil Is in the Details, CVPR 2020).

Windows, borders and blur of `dark` and `udp` follow MMPose (mmpose/codecs), so that its weights decode as published.
What one codec encodes it decodes to within half a cell a coordinate; `dark` and `udp` do so 4 cells and more from a
border, since their blur sees zeros beyond it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch

from hrkit import registry
from hrkit.arrays import ArrayOrTensor, as_tensor, like
from hrkit.errors import HrkitError, PluginError
from hrkit.structures import Size


class Codec:
    """`encode` and `decode` between crop px and heatmaps; numpy arrays or tensors, and the same kind back."""

    udp = False
    """Whether crops are cut with `crop_transform(..., udp=True)`."""
    flip_shift = True
    """Whether the flip test moves the mirrored heatmaps by one cell."""

    def __init__(self, *, input_size: Size, heatmap_size: Size, sigma: float) -> None:
        if not sigma > 0:
            raise HrkitError(f"sigma must be above 0, not {sigma}")
        self.input_size = (int(input_size[0]), int(input_size[1]))
        self.heatmap_size = (int(heatmap_size[0]), int(heatmap_size[1]))
        self.sigma = sigma

    @property
    def decoded_scale(self) -> tuple[float, float]:
        """Crop px of one unit of what `decode` gives, (x, y): 1 but for `udp`."""
        return 1.0, 1.0

    def encode(self, keypoints: ArrayOrTensor, visible: ArrayOrTensor) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """(N,K,2) crop px and (N,K) visibility -> (N,K,h,w) float32 heatmaps and (N,K) weights.

        Visibility is 0 for no label, and 1 or, as COCO also has it, 2 for one.
        A joint whose Gaussian lies wholly outside, or is nowhere (NaN), gets weight 0 and an empty heatmap.
        """
        points = as_tensor(keypoints, torch.float32) / self._cell(keypoints)
        weights = as_tensor(visible, torch.float32).to(points.device)
        height, width = self.heatmap_size
        radius = 3 * self.sigma
        middle = self._window_center(points)
        size = middle.new_tensor([width, height])
        inside = ((middle - radius < size) & (middle + radius + 1 >= 0)).all(-1)  # which NaN is not
        weights = weights.clamp(0, 1) * inside
        steps_x = torch.arange(width, dtype=torch.float32, device=points.device)
        steps_y = torch.arange(height, dtype=torch.float32, device=points.device)
        along_x, along_y = (
            self._gaussian(steps, points[..., axis, None], middle[..., axis, None])
            for axis, steps in enumerate((steps_x, steps_y))
        )
        heatmaps = torch.where((weights > 0)[..., None, None], along_y[..., :, None] * along_x[..., None, :], 0.0)
        return like(heatmaps, keypoints), like(weights, keypoints)

    def decode(self, heatmaps: ArrayOrTensor) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """(N,K,h,w) -> (N,K,2) crop px and (N,K) scores, the value of each peak as it is.

        Where nothing is above 0, the position is that of cell (0, 0). A cell that is NaN counts as 0. Raises
        `HrkitError` for heatmaps of another size.
        """
        maps = as_tensor(heatmaps, torch.float32).nan_to_num(nan=0.0)
        if maps.ndim != 4 or maps.shape[2:] != self.heatmap_size:
            raise HrkitError(f"heatmaps have shape {tuple(maps.shape)}, wanted (N, K, *{self.heatmap_size})")
        points, scores = peaks(maps)
        points = torch.where((scores > 0)[..., None], self._refine(maps, points), 0.0)
        cell = self._cell(heatmaps) / points.new_tensor(self.decoded_scale)
        return like((points * cell).float(), heatmaps), like(scores, heatmaps)

    def _cell(self, given: Any) -> torch.Tensor:
        """Crop px of one heatmap cell, (x, y)."""
        (height, width), (h, w) = self.input_size, self.heatmap_size
        shrink = 1 if self.udp else 0
        device = given.device if torch.is_tensor(given) else None
        return torch.tensor([(width - shrink) / (w - shrink), (height - shrink) / (h - shrink)], device=device)

    def _window_center(self, points: torch.Tensor) -> torch.Tensor:
        return (points + 0.5).trunc()

    def _gaussian(self, steps: torch.Tensor, center: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
        """(N,K,length): the Gaussian along one axis; it is separable, and so are its windows."""
        raise NotImplementedError

    def _refine(self, heatmaps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _normal(self, distance: torch.Tensor) -> torch.Tensor:
        return torch.exp(-(distance**2) / (2 * self.sigma**2))

    def _within(self, steps: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
        return (steps - middle).abs() <= 3 * self.sigma


class MSRACodec(Codec):
    """Centres rounded to a cell; quarter-cell shift towards the higher neighbour."""

    def _gaussian(self, steps: torch.Tensor, center: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
        return self._normal(steps - middle) * self._within(steps, middle)

    def _refine(self, heatmaps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        at = _Neighbours(heatmaps, points)
        slope = torch.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], dim=-1)
        return points + 0.25 * slope.sign() * _inside(points, self.heatmap_size, 2)[..., None]


class DarkCodec(Codec):
    """Centres as they are; second-order Taylor expansion of the blurred log-heatmap about its peak."""

    def _window_center(self, points: torch.Tensor) -> torch.Tensor:
        return points

    def _gaussian(self, steps: torch.Tensor, center: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
        return self._normal(steps - center)

    def _refine(self, heatmaps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        kernel = 11 if self.sigma <= 2 else 17  # as trained: 11 at sigma 2, 17 at sigma 3
        at = _log_blurred(heatmaps, points, kernel, reach=2, low=1e-10)
        gradient = torch.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], dim=-1) / 2
        xx = (at(2, 0) - 2 * at(0, 0) + at(-2, 0)) / 4
        yy = (at(0, 2) - 2 * at(0, 0) + at(0, -2)) / 4
        xy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
        inside = _inside(points, self.heatmap_size, 2, far=3)
        return points - torch.where(inside[..., None], _solve(xx, xy, yy, gradient), 0.0)


class UDPCodec(Codec):
    """Centres as they are, in a window about the nearest cell; Taylor expansion on one-cell differences."""

    udp = True
    flip_shift = False

    @property
    def decoded_scale(self) -> tuple[float, float]:
        """MMPose decodes the last cell to W, not W-1; so do we, and whoever goes on to the frame takes it back."""
        height, width = self.input_size
        return (width - 1) / width, (height - 1) / height

    def _gaussian(self, steps: torch.Tensor, center: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
        return self._normal(steps - center) * self._within(steps, middle)

    def _refine(self, heatmaps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        at = _log_blurred(heatmaps, points, 11, reach=1, low=1e-3, high=50.0)
        gradient = torch.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], dim=-1) / 2
        middle = at(0, 0)
        xx = at(1, 0) - 2 * middle + at(-1, 0)
        yy = at(0, 1) - 2 * middle + at(0, -1)
        xy = (at(1, 1) - at(1, 0) - at(0, 1) + 2 * middle - at(-1, 0) - at(0, -1) + at(-1, -1)) / 2
        eps = torch.finfo(torch.float32).eps
        step = _solve(xx + eps, xy, yy + eps, gradient)
        height, width = self.heatmap_size
        last = points.new_tensor([width - 1, height - 1])
        # on a border one neighbour is missing, and the step would lead away from it
        return points - torch.where((points > 0) & (points < last), step, 0.0)


def create_codec(name: str, *, input_size: Size, heatmap_size: Size, sigma: float) -> Codec:
    """The registered codec `name`; sizes are (height, width), `sigma` in heatmap px.

    Raises `UnknownNameError` with the choices, `PluginError` if what a plugin builds is no `Codec`.
    """
    codec = registry.decoders.build(name, input_size=input_size, heatmap_size=heatmap_size, sigma=sigma)
    if not isinstance(codec, Codec):
        raise PluginError(f"decoder {name!r} builds {type(codec).__name__}, which is no subclass of Codec")
    return codec


def peaks(heatmaps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N,K,h,w) -> (N,K,2) float x, y of the highest cell (the first of equals) and its value (N,K)."""
    width = heatmaps.shape[3]
    scores, indices = heatmaps.flatten(2).max(2)
    return torch.stack([indices % width, indices.div(width, rounding_mode="floor")], dim=-1).float(), scores


def _log_blurred(
    heatmaps: torch.Tensor, points: torch.Tensor, kernel: int, *, reach: int, low: float, high: float = math.inf
) -> Callable[[int, int], torch.Tensor]:
    """`at(dx, dy)`: (N,K) the log of the blurred map dx, dy cells from each point, up to `reach`.

    Each map of (N,K,h,w) is smoothed by a Gaussian of `kernel` taps, zero outside, scaled to keep its peak value and
    clamped to `low` and `high`; beyond a border is the value of the border. `points` are its peaks, (N,K,2) in
    heatmap px. Only the patches which that needs are computed.
    """
    x, y = points.long().unbind(-1)
    width = heatmaps.shape[3]
    rows, columns = (_blur_matrix(size, kernel).to(_precise(heatmaps[:0])) for size in heatmaps.shape[2:])
    patch_rows, row_taps = _patch_taps(rows, y, kernel, reach)
    patch_columns, column_taps = _patch_taps(columns, x, kernel, reach)
    cells = patch_rows[..., :, None] * width + patch_columns[..., None, :]
    patches = _precise(heatmaps.flatten(2).gather(2, cells.flatten(2)).view(cells.shape))
    smooth = row_taps @ patches @ column_taps.mT
    # The scale is a constant in the log, which no derivative sees unless a clamp binds. It is 1 or more, and no blurred
    # cell ends above the peak, so where none can bind the maximum of the whole map need not be known.
    peak = patches.amax((2, 3))
    binds = (peak > 0) & ((smooth.amin((2, 3)) < low) | (peak > high))
    whole = (rows @ _precise(heatmaps[binds]) @ columns).amax((1, 2))
    scale = torch.ones_like(peak)
    scale[binds] = peak[binds] / whole.clamp(min=torch.finfo(whole.dtype).tiny)
    logs = (smooth * scale[..., None, None]).clamp(low, high).log()
    return lambda dx, dy: logs[..., reach + dy, reach + dx]


def _patch_taps(matrix: torch.Tensor, at: torch.Tensor, kernel: int, reach: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Along one axis: (N,K,P) the cells that the blur up to `reach` from cell `at` (N,K) sees, (N,K,2*reach+1,P) taps.

    `matrix` is the axis's `_blur_matrix`; what is blurred beyond a border is the border.
    """
    size = len(matrix)
    length = min(2 * reach + kernel, size)
    first = (at - reach - kernel // 2).clamp(0, size - length)
    cells = first[..., None] + torch.arange(length, device=at.device)
    blurred = (at[..., None] + torch.arange(-reach, reach + 1, device=at.device)).clamp(0, size - 1)
    return cells, matrix[blurred[..., :, None], cells[..., None, :]]


@functools.cache
@torch.inference_mode(False)  # or what is kept from a first call in that mode could never be used outside it
def _blur_matrix(size: int, kernel: int) -> torch.Tensor:
    """(size,size) symmetric: row i holds the taps about cell i, of a deviation by OpenCV's rule for that kernel."""
    sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    distance = (torch.arange(size)[:, None] - torch.arange(size)).double()
    normal = torch.exp(-((torch.arange(kernel).double() - kernel // 2) ** 2) / (2 * sigma**2)).sum()
    return torch.exp(-(distance**2) / (2 * sigma**2)) / normal * (distance.abs() <= kernel // 2)


def _precise(heatmaps: torch.Tensor) -> torch.Tensor:
    """In float64 where the device has it: a flat peak's Hessian is a small difference of large numbers."""
    return heatmaps if heatmaps.device.type == "mps" else heatmaps.double()


class _Neighbours:
    """`at(dx, dy)`: (N,K) the value dx, dy cells from each point; at a border that of the border."""

    def __init__(self, maps: torch.Tensor, points: torch.Tensor) -> None:
        self._flat = maps.flatten(2)
        self._height, self._width = maps.shape[2:]
        self._x, self._y = points.long().unbind(-1)

    def __call__(self, dx: int, dy: int) -> torch.Tensor:
        x = (self._x + dx).clamp(0, self._width - 1)
        y = (self._y + dy).clamp(0, self._height - 1)
        return self._flat.gather(2, (y * self._width + x)[..., None])[..., 0]


def _inside(points: torch.Tensor, heatmap_size: Size, near: int, far: int | None = None) -> torch.Tensor:
    """(N,K) whether a cell is at least `near` cells from the first and `far` (or as many) from behind the last."""
    height, width = heatmap_size
    last = points.new_tensor([width, height]) - (near if far is None else far)
    return ((points >= near) & (points <= last)).all(-1)


def _solve(xx: torch.Tensor, xy: torch.Tensor, yy: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """(N,K,2) the Newton step: inverse Hessian times gradient; 0 where the Hessian has no inverse."""
    determinant = xx * yy - xy * xy
    singular = determinant == 0
    gx, gy = gradient.unbind(-1)
    step = torch.stack([yy * gx - xy * gy, xx * gy - xy * gx], dim=-1)
    step = step / torch.where(singular, 1.0, determinant)[..., None]
    return torch.where(singular[..., None], 0.0, step)
