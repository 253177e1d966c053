"""NanoDet-g for one class: a small anchor-free detector without depthwise convolutions.

RangiLyu, NanoDet (https://github.com/RangiLyu/nanodet, Apache-2.0), config `nanodet-g.yml`. Its backbone is CSPNet
(Wang et al., CVPRW 2020), its neck a path aggregation network (Liu et al., CVPR 2018), and its head that of Generalized
Focal Loss (Li et al., NeurIPS 2020): each cell says how likely it shows a person, and gives a distribution over the
distance to each side of the box. Batch norm is part of the convolutions.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

STRIDES = (8, 16, 32)
"""Input px per cell of each level, finest first. The sides of an input are multiples of the last."""
BINS = 11
"""A distance is the mean of a distribution over 0, 1, ... 10 strides."""
CHANNELS = 128
"""Of the neck and the head."""
OUTPUTS = 1 + 4 * BINS
"""Per cell: the logit of a person, then the logits of left, top, right and bottom."""

_STAGES = ((32, 1, 1), (64, 2, 2), (128, 2, 2), (256, 3, 2))
"""Channels, residuals, stride of the first convolution; a stage gives twice its channels."""


class Residual(nn.Module):
    """Two 3x3 convolutions to half the channels each, one after the other, concatenated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = _conv3x3(channels, channels // 2)
        self.middle = _conv3x3(channels // 2, channels // 2)
        self.activation = _leaky_relu()

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,C,H,W)."""
        entered = self.activation(self.enter(x))
        return torch.cat([self.activation(self.middle(entered)), entered], 1)


class Stage(nn.Module):
    """A convolution, residuals and another convolution; the first and the last are concatenated."""

    def __init__(self, channels: int, residuals: int, stride: int) -> None:
        super().__init__()
        self.enter = _conv3x3(channels, channels, stride)
        self.residuals = nn.ModuleList(Residual(channels) for _ in range(residuals))
        self.leave = _conv3x3(channels, channels)
        self.activation = _leaky_relu()

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,2C,H/stride,W/stride)."""
        entered = x = self.activation(self.enter(x))
        for residual in self.residuals:
            x = residual(x)
        return torch.cat([self.activation(self.leave(x)), entered], 1)


class PersonNetwork(nn.Module):
    """(N,3,H,W) -> (N,A,45) for A cells: level after level, finest first, row by row.

    H and W are multiples of 32. The input is BGR, normalised by `MEAN` and `STD` of `person_detector`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv3x3(3, 32, 2)
        self.activation = _leaky_relu()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleList(Stage(*numbers) for numbers in _STAGES)
        self.lateral = nn.ModuleList(nn.Conv2d(2 * channels, CHANNELS, 1) for channels, _, _ in _STAGES[1:])
        self.head = nn.ModuleList(_conv3x3(CHANNELS, CHANNELS) for _ in STRIDES)
        self.out = nn.ModuleList(nn.Conv2d(CHANNELS, OUTPUTS, 1) for _ in STRIDES)

    def forward(self, images: Tensor) -> Tensor:
        """(N,3,H,W) -> (N,A,45)."""
        return torch.cat([level.flatten(2).transpose(1, 2) for level in self.levels(images)], 1)

    def levels(self, images: Tensor) -> list[Tensor]:
        """(N,3,H,W) -> (N,45,H/s,W/s) for each stride s, finest first."""
        x = self.pool(self.activation(self.stem(images)))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        fine, middle, coarse = (lateral(f) for lateral, f in zip(self.lateral, features[1:], strict=True))
        middle = middle + _doubled(coarse)
        fine = fine + _doubled(middle)
        middle = middle + F.avg_pool2d(fine, 2)
        coarse = coarse + F.avg_pool2d(middle, 2)
        necks = (fine, middle, coarse)
        return [out(self.activation(head(x))) for head, out, x in zip(self.head, self.out, necks, strict=True)]


@functools.lru_cache(64)
@torch.inference_mode(False)  # a tensor cached from inference mode could not be used in training
def cell_centers(size: tuple[int, int], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Centres (A,2) as x, y in input px, and strides (A,), of the cells for an input of `size` (height, width)."""
    centers, strides = [], []
    for stride in STRIDES:
        rows, columns = (torch.arange(side // stride, device=device) for side in size)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centers.append((torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride - 0.5)
        strides.append(torch.full((len(centers[-1]),), float(stride), device=device))
    return torch.cat(centers), torch.cat(strides)


def decode_boxes(distances: Tensor, centers: Tensor, strides: Tensor) -> Tensor:
    """Logits (...,44), centres (...,2) and strides (...) -> boxes (...,4): left, top, right, bottom in input px."""
    bins = torch.arange(BINS, dtype=distances.dtype, device=distances.device)
    sides = (distances.unflatten(-1, (4, BINS)).softmax(-1) @ bins) * strides[..., None]
    return torch.cat([centers - sides[..., :2], centers + sides[..., 2:]], -1)


def _conv3x3(channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, stride, 1)


def _leaky_relu() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.1)


def _doubled(x: Tensor) -> Tensor:
    """(N,C,h,w) -> (N,C,2h,2w)."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
