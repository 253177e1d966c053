"""RTMDet, an anchor-free detector with one stage (Lyu et al., arXiv:2212.07784), by MMDetection's names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor, nn

from hrkit_rtm.cspnext import SIZES, CSPNeXt
from hrkit_rtm.layers import conv3x3
from hrkit_rtm.neck import CSPNeXtPAFPN

STRIDES = (8, 16, 32)
"""Input px per cell of each level, finest first."""
PRIOR = -4.6
"""Logit of a class in every cell before training: one in a hundred."""


@frozen
class Variant:
    """What distinguishes one size of RTMDet from another."""

    deepen: float
    widen: float
    blocks: int
    """Of each layer in the neck."""
    depthwise: bool = False
    shared: bool = True
    """Whether the convolutions of the head are the same at all levels."""
    exponential: bool = False
    """Whether the head gives the logarithms of distances (`exp_on_reg`)."""
    input_size: int = 640


VARIANTS = {
    "nano": Variant(0.33, 0.25, 1, depthwise=True, shared=False, input_size=320),
    "tiny": Variant(*SIZES["t"], 1),
    "s": Variant(*SIZES["s"], 1),
    "m": Variant(*SIZES["m"], 2, exponential=True),
    "l": Variant(*SIZES["l"], 3, exponential=True),
    "x": Variant(*SIZES["x"], 4, exponential=True),
}
"""By name."""


def _branches(width: int, variant: Variant) -> nn.ModuleList:
    """Two convolutions for each level; if they are shared, each level has norms of its own."""
    levels = [[conv3x3(width, width, depthwise=variant.depthwise) for _ in range(2)] for _ in STRIDES]
    if variant.shared:
        for level in levels[1:]:
            for own, common in zip(level, levels[0], strict=True):
                own.conv = common.conv
    return nn.ModuleList(nn.Sequential(*level) for level in levels)


def _classifier(width: int, num_classes: int) -> nn.Conv2d:
    conv = nn.Conv2d(width, num_classes, 1)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.constant_(conv.bias, PRIOR)  # type: ignore[arg-type]  # it has one
    return conv


class RTMDetHead(nn.Module):
    """For each level two convolutions for classes and two for boxes, each followed by a 1x1 convolution."""

    def __init__(self, width: int, num_classes: int, variant: Variant) -> None:
        super().__init__()
        self.exponential = variant.exponential
        self.cls_convs, self.reg_convs = _branches(width, variant), _branches(width, variant)
        self.rtm_cls = nn.ModuleList(_classifier(width, num_classes) for _ in STRIDES)
        self.rtm_reg = nn.ModuleList(nn.Conv2d(width, 4, 1) for _ in STRIDES)

    def forward(self, features: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """[(N,C,h,w), ...] -> class logits (N,classes,h,w) and distances (N,4,h,w) for each level.

        Distances are those from a cell's corner to left, top, right and bottom of a box, in input px.
        """
        levels = zip(features, self.cls_convs, self.reg_convs, self.rtm_cls, self.rtm_reg, STRIDES, strict=True)
        outputs = []
        for x, cls_conv, reg_conv, rtm_cls, rtm_reg, stride in levels:
            distances = rtm_reg(reg_conv(x))
            distances = distances.exp() if self.exponential else distances
            outputs.append((rtm_cls(cls_conv(x)), distances * stride))
        return outputs


class RTMDetNetwork(nn.Module):
    """(N,3,H,W) -> (N,A,classes+4) for A cells: level after level, finest first, row by row.

    Columns are the logit of each class, then the distances in input px to left, top, right and bottom of a box. H and W
    are multiples of 32.
    """

    def __init__(self, variant: Variant, num_classes: int = 1) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = CSPNeXt(variant.deepen, variant.widen, depthwise=variant.depthwise)
        channels = self.backbone.channels[1:]
        self.neck = CSPNeXtPAFPN(channels, channels[0], variant.blocks, depthwise=variant.depthwise)
        self.bbox_head = RTMDetHead(channels[0], num_classes, variant)

    def levels(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """As `RTMDetHead` gives them."""
        return self.bbox_head(self.neck(self.backbone(images)[1:]))

    def forward(self, images: Tensor) -> Tensor:
        """(N,3,H,W) -> (N,A,classes+4)."""
        rows = [torch.cat(level, 1).flatten(2) for level in self.levels(images)]
        return torch.cat(rows, 2).transpose(1, 2)


def corners(height: int, width: int, device: torch.device) -> Tensor:
    """(A,2) x, y of the cells for an input of this size, px; a cell counts as its upper left corner."""
    places = []
    for stride in STRIDES:
        y, x = (torch.arange(side // stride, device=device, dtype=torch.float32) * stride for side in (height, width))
        places.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1))
    return torch.cat(places)
