"""Decoding as transformers does it; `udp` decodes as MMPose and the authors of ViTPose do."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from hrkit.heads.codecs import UDPCodec, neighbours, newton_step

BLUR_SIGMA, BLUR_RADIUS = 0.8, 5


class VitPoseCodec(UDPCodec):
    """`udp` with the blur of `VitPoseImageProcessor`: narrower, mirrored at the borders, not scaled to the peak."""

    def refine(self, heatmaps: Tensor, points: Tensor) -> Tensor:
        """One Newton step on one-cell differences of the logs, also from the border."""
        rows, columns = (_blur_matrix(size).to(heatmaps.device) for size in heatmaps.shape[2:])
        logs = (rows @ heatmaps @ columns.T).clamp(0.001, 50).log()
        return points - newton_step(neighbours(logs, points))


@functools.cache
@torch.inference_mode(False)  # a tensor cached from inference mode could not be used outside it
def _blur_matrix(size: int) -> Tensor:
    """(size,size); row i holds the taps about cell i. Beyond a border the cells before it come again: b a | a b c."""
    taps = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1)
    weights = torch.exp(-(taps.double() ** 2) / (2 * BLUR_SIGMA**2))
    cells = (torch.arange(size)[:, None] + taps) % (2 * size)
    mirrored = torch.minimum(cells, 2 * size - 1 - cells)
    empty = torch.zeros(size, size, dtype=torch.float64)
    return empty.scatter_add_(1, mirrored, (weights / weights.sum()).expand(size, -1)).float()
