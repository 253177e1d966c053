"""Heatmap codecs: keypoints in crop px <-> heatmaps, both directions in one object.

Shapes: N people, K joints, heatmaps (h, w). All three codecs put a Gaussian of deviation `sigma` (heatmap px) at each
joint. They differ in how they round its centre and in how they read it back:

- `msra`: rounded to a cell, read by a quarter-cell shift (official HRNet code, lib/core/inference.py and
  lib/dataset/JointsDataset.py).
- `dark`: not rounded, read by a Taylor expansion of the blurred log-heatmap (Zhang et al., Distribution-Aware
  Coordinate Representation for Human Pose Estimation, CVPR 2020).
- `udp`: not rounded, on crops where W-1 px become w-1 cells, read by the same expansion on one-cell differences
  (Huang et al., The Devil Is in the Details, CVPR 2020).

Windows, borders and blur of `dark` and `udp` follow MMPose (mmpose/codecs), so that its weights decode as published.
Each codec decodes what it encodes to within half a cell per coordinate; `dark` and `udp` do so at least 4 cells from a
border, since their blur sees zeros beyond it.
"""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrkit import registry
from hrkit.errors import HrkitError, PluginError
from hrkit.heads.base import Codec as Codec
from hrkit.ops.tensors import ArrayOrTensor, as_tensor, like
from hrkit.structures import Size


class HeatmapCodec(Codec):
    """Keypoints as heatmaps (N,K,h,w); NumPy arrays or tensors, and the same kind back."""

    flip_shift = True
    """Whether the flip test moves the mirrored heatmaps by one cell."""

    def encode(self, keypoints: ArrayOrTensor, visible: ArrayOrTensor) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """(N,K,2) crop px and (N,K) visibility -> (N,K,h,w) float32 heatmaps and (N,K) weights.

        A joint whose Gaussian lies wholly outside, or whose position is NaN, gets weight 0 and an empty heatmap.
        """
        points = as_tensor(keypoints, torch.float32) / self.cell(keypoints)
        weights = as_tensor(visible, torch.float32).to(points.device)
        radius, middle = 3 * self.sigma, self.window_center(points)
        size = middle.new_tensor(self.heatmap_size[::-1])
        inside = ((middle - radius < size) & (middle + radius + 1 >= 0)).all(-1)  # False for NaN
        weights = weights.clamp(0, 1) * inside
        cells = [torch.arange(side, dtype=torch.float32, device=points.device) for side in self.heatmap_size[::-1]]
        along_x, along_y = (self.profile(cells[i], points[..., i, None], middle[..., i, None]) for i in (0, 1))
        heatmaps = torch.where((weights > 0)[..., None, None], along_y[..., :, None] * along_x[..., None, :], 0.0)
        return like(heatmaps, keypoints), like(weights, keypoints)

    def decode(self, outputs: ArrayOrTensor) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """(N,K,h,w) -> (N,K,2) crop px and (N,K) scores, the value of each peak.

        Where no cell is above 0, the position is that of cell (0, 0). A cell that is NaN counts as 0. Raises
        `HrkitError` for heatmaps of another size.
        """
        maps = as_tensor(outputs, torch.float32).nan_to_num(nan=0.0)
        if maps.ndim != 4 or maps.shape[2:] != self.heatmap_size:
            raise HrkitError(f"heatmaps have shape {tuple(maps.shape)}, wanted (N, K, *{self.heatmap_size})")
        points, scores = peaks(maps)
        points = torch.where((scores > 0)[..., None], self.refine(maps, points), 0.0)
        cell = self.cell(outputs) / points.new_tensor(self.decoded_scale)
        return like((points * cell).float(), outputs), like(scores, outputs)

    def mirrored(self, outputs: ArrayOrTensor, flip_indices: NDArray[np.int64]) -> ArrayOrTensor:
        """Heatmaps (N,K,h,w) of mirrored crops: columns reversed, left and right joints swapped.

        With `flip_shift` they move one cell to the right, as in the official code for crops whose mirror image is off
        by a cell (SHIFT_HEATMAP in lib/core/function.py); UDP crops need no shift.
        """
        maps = as_tensor(outputs)
        maps = maps.flip(3)[:, torch.as_tensor(flip_indices, device=maps.device)]
        if self.flip_shift:
            maps = torch.cat([maps[..., :1], maps[..., :-1]], dim=3)
        return like(maps, outputs)

    def cell(self, given: ArrayOrTensor) -> Tensor:
        """Crop px per heatmap cell, (x, y), on the device of `given`."""
        (height, width), (h, w) = self.input_size, self.heatmap_size
        shrink = 1 if self.udp else 0
        device = given.device if torch.is_tensor(given) else None
        return torch.tensor([(width - shrink) / (w - shrink), (height - shrink) / (h - shrink)], device=device)

    def window_center(self, points: Tensor) -> Tensor:
        """(N,K,2) centres of the windows in which Gaussians are drawn, in cells: the nearest cell to each point."""
        return (points + 0.5).trunc()

    @abc.abstractmethod
    def profile(self, steps: Tensor, center: Tensor, middle: Tensor) -> Tensor:
        """Values (N,K,length) of each Gaussian at the cells `steps` along one axis; heatmaps are their products.

        `center` (N,K,1) is the joint and `middle` (N,K,1) the centre of its window, both in cells.
        """

    @abc.abstractmethod
    def refine(self, heatmaps: Tensor, points: Tensor) -> Tensor:
        """Peaks (N,K,2) of heatmaps (N,K,h,w), in whole cells -> their positions to a fraction of a cell."""

    def gaussian(self, distance: Tensor) -> Tensor:
        """The Gaussian of deviation `sigma` at a distance in cells."""
        return torch.exp(-(distance**2) / (2 * self.sigma**2))

    def within(self, steps: Tensor, middle: Tensor) -> Tensor:
        """Whether cells lie within three deviations of the centre of a window."""
        return (steps - middle).abs() <= 3 * self.sigma


class MSRACodec(HeatmapCodec):
    """Centres rounded to a cell; quarter-cell shift towards the higher neighbour."""

    def profile(self, steps: Tensor, center: Tensor, middle: Tensor) -> Tensor:
        """The Gaussian about the nearest cell."""
        return self.gaussian(steps - middle) * self.within(steps, middle)

    def refine(self, heatmaps: Tensor, points: Tensor) -> Tensor:
        """A quarter of a cell towards the higher neighbour along each axis."""
        at = neighbours(heatmaps, points)
        slope = torch.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], dim=-1)
        return points + 0.25 * slope.sign() * _inside(points, self.heatmap_size, 2)[..., None]


class DarkCodec(HeatmapCodec):
    """Exact centres; second-order Taylor expansion of the blurred log-heatmap about its peak.

    `kernel` is the number of taps of the blur, as in training; by default 11 up to sigma 2, and 17 above.
    """

    def __init__(self, *, input_size: Size, heatmap_size: Size, sigma: float, kernel: int | None = None) -> None:
        super().__init__(input_size=input_size, heatmap_size=heatmap_size, sigma=sigma)
        self.kernel: int = kernel or (11 if sigma <= 2 else 17)
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise HrkitError(f"the kernel of dark must be an odd number, not {kernel}")

    def window_center(self, points: Tensor) -> Tensor:
        """The joints themselves: the Gaussian is not cut off."""
        return points

    def profile(self, steps: Tensor, center: Tensor, middle: Tensor) -> Tensor:
        """The Gaussian about the joint."""
        return self.gaussian(steps - center)

    def refine(self, heatmaps: Tensor, points: Tensor) -> Tensor:
        """One Newton step on two-cell differences."""
        at = _log_blurred(heatmaps, points, self.kernel, reach=2, low=1e-10)
        gradient = torch.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], dim=-1) / 2
        xx = (at(2, 0) - 2 * at(0, 0) + at(-2, 0)) / 4
        yy = (at(0, 2) - 2 * at(0, 0) + at(0, -2)) / 4
        xy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
        inside = _inside(points, self.heatmap_size, 2, far=3)
        return points - torch.where(inside[..., None], _solve(xx, xy, yy, gradient), 0.0)


class UDPCodec(HeatmapCodec):
    """Exact centres in a window about the nearest cell; Taylor expansion on one-cell differences."""

    udp = True
    flip_shift = False

    @property
    def decoded_scale(self) -> tuple[float, float]:
        """MMPose decodes the last cell to W, not W-1, and so does hrkit; the map to the frame takes it back."""
        height, width = self.input_size
        return (width - 1) / width, (height - 1) / height

    def profile(self, steps: Tensor, center: Tensor, middle: Tensor) -> Tensor:
        """The Gaussian about the joint, cut off by its window."""
        return self.gaussian(steps - center) * self.within(steps, middle)

    def refine(self, heatmaps: Tensor, points: Tensor) -> Tensor:
        """One Newton step on one-cell differences."""
        step = newton_step(_log_blurred(heatmaps, points, 11, reach=1, low=1e-3, high=50.0))
        height, width = self.heatmap_size
        last = points.new_tensor([width - 1, height - 1])
        # on a border one neighbour is missing, and the step would lead away from it
        return points - torch.where((points > 0) & (points < last), step, 0.0)


def create_codec(
    name: str,
    *,
    input_size: Size,
    heatmap_size: Size,
    sigma: float | tuple[float, float],
    **options: Any,  # Any: the codec's own
) -> Codec:
    """The registered codec `name`; sizes are (height, width), `sigma` in heatmap px. `options` are the codec's own.

    Raises `UnknownNameError` with the choices, or `PluginError` if a plugin builds something else than a `Codec`.
    """
    codec = registry.decoders.build(name, input_size=input_size, heatmap_size=heatmap_size, sigma=sigma, **options)
    if not isinstance(codec, Codec):
        raise PluginError(f"decoder {name!r} builds {type(codec).__name__}, which is not a subclass of Codec")
    return codec


def peaks(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """(N,K,h,w) -> (N,K,2) float x, y of the highest cell (the first of equals) and its value (N,K)."""
    width = heatmaps.shape[3]
    scores, indices = heatmaps.flatten(2).max(2)
    return torch.stack([indices % width, indices.div(width, rounding_mode="floor")], dim=-1).float(), scores


def _log_blurred(
    heatmaps: Tensor, points: Tensor, kernel: int, *, reach: int, low: float, high: float = math.inf
) -> Callable[[int, int], Tensor]:
    """A function `at(dx, dy)`: (N,K) logs of the blurred maps dx, dy cells from each point, up to `reach` cells.

    Each map of (N,K,h,w) is smoothed by a Gaussian of `kernel` taps, with zeros outside, scaled to keep its peak value
    and clamped to `low` and `high`; beyond a border the value of the border counts. `points` are the peaks, (N,K,2) in
    heatmap px. Only the patches around them are computed.
    """
    x, y = points.long().unbind(-1)
    width = heatmaps.shape[3]
    rows, columns = (_blur_matrix(size, kernel).to(_precise(heatmaps[:0])) for size in heatmaps.shape[2:])
    patch_rows, row_taps = _patch_taps(rows, y, kernel, reach)
    patch_columns, column_taps = _patch_taps(columns, x, kernel, reach)
    cells = patch_rows[..., :, None] * width + patch_columns[..., None, :]
    patches = _precise(heatmaps.flatten(2).gather(2, cells.flatten(2)).view(cells.shape))
    smooth = row_taps @ patches @ column_taps.mT
    # The scale is a constant in the log, so derivatives do not see it unless a clamp binds. It is at least 1, and no
    # blurred cell ends above the peak, so where no clamp can bind the maximum of the whole map is not needed.
    peak = patches.amax((2, 3))
    binds = (peak > 0) & ((smooth.amin((2, 3)) < low) | (peak > high))
    whole = (rows @ _precise(heatmaps[binds]) @ columns).amax((1, 2))
    scale = torch.ones_like(peak)
    scale[binds] = peak[binds] / whole.clamp(min=torch.finfo(whole.dtype).tiny)
    logs = (smooth * scale[..., None, None]).clamp(low, high).log()
    return lambda dx, dy: logs[..., reach + dy, reach + dx]


def _patch_taps(matrix: Tensor, at: Tensor, kernel: int, reach: int) -> tuple[Tensor, Tensor]:
    """Along one axis: the cells (N,K,P) that blurring up to `reach` around `at` (N,K) reads, and their taps.

    Taps are (N,K,2*reach+1,P). `matrix` is the axis's `_blur_matrix`.
    """
    size = len(matrix)
    length = min(2 * reach + kernel, size)
    first = (at - reach - kernel // 2).clamp(0, size - length)
    cells = first[..., None] + torch.arange(length, device=at.device)
    blurred = (at[..., None] + torch.arange(-reach, reach + 1, device=at.device)).clamp(0, size - 1)
    return cells, matrix[blurred[..., :, None], cells[..., None, :]]


@functools.cache
@torch.inference_mode(False)  # a tensor cached from inference mode could not be used outside it
def _blur_matrix(size: int, kernel: int) -> Tensor:
    """A symmetric (size,size) matrix whose row i holds the taps about cell i, by OpenCV's rule for that kernel."""
    sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    distance = (torch.arange(size)[:, None] - torch.arange(size)).double()
    normal = torch.exp(-((torch.arange(kernel).double() - kernel // 2) ** 2) / (2 * sigma**2)).sum()
    return torch.exp(-(distance**2) / (2 * sigma**2)) / normal * (distance.abs() <= kernel // 2)


def _precise(heatmaps: Tensor) -> Tensor:
    """In float64 if the device has it: the Hessian of a flat peak is a small difference of large numbers."""
    return heatmaps if heatmaps.device.type == "mps" else heatmaps.double()


def neighbours(maps: Tensor, points: Tensor) -> Callable[[int, int], Tensor]:
    """A function `at(dx, dy)`: (N,K) values dx, dy cells from each point, clamped to the border."""
    height, width = maps.shape[2:]
    x, y = points.long().unbind(-1)

    def at(dx: int, dy: int) -> Tensor:
        cells = (y + dy).clamp(0, height - 1) * width + (x + dx).clamp(0, width - 1)
        return maps.flatten(2).gather(2, cells[..., None])[..., 0]

    return at


def newton_step(at: Callable[[int, int], Tensor]) -> Tensor:
    """(N,K,2) x, y in cells: inverse Hessian times gradient, from one-cell differences of `at(dx, dy)`, (N,K) logs.

    A peak less this step is where the logs are highest.
    """
    gradient = torch.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], dim=-1) / 2
    middle = at(0, 0)
    xx = at(1, 0) - 2 * middle + at(-1, 0)
    yy = at(0, 1) - 2 * middle + at(0, -1)
    xy = (at(1, 1) - at(1, 0) - at(0, 1) + 2 * middle - at(-1, 0) - at(0, -1) + at(-1, -1)) / 2
    eps = torch.finfo(torch.float32).eps
    return _solve(xx + eps, xy, yy + eps, gradient)


def _inside(points: Tensor, heatmap_size: Size, near: int, far: int | None = None) -> Tensor:
    """(N,K) whether a cell is at least `near` cells from the first and `far` (default `near`) from the end."""
    height, width = heatmap_size
    last = points.new_tensor([width, height]) - (near if far is None else far)
    return ((points >= near) & (points <= last)).all(-1)


def _solve(xx: Tensor, xy: Tensor, yy: Tensor, gradient: Tensor) -> Tensor:
    """(N,K,2) Newton steps: the inverse Hessian times the gradient, and 0 where the Hessian is singular."""
    determinant = xx * yy - xy * xy
    singular = determinant == 0
    gx, gy = gradient.unbind(-1)
    step = torch.stack([yy * gx - xy * gy, xx * gy - xy * gx], dim=-1)
    step = step / torch.where(singular, 1.0, determinant)[..., None]
    return torch.where(singular[..., None], 0.0, step)
