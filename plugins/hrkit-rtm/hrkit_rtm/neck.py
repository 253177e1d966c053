"""The neck of RTMDet and RTMW: features meet from coarse to fine, then from fine to coarse.

A path aggregation network (Liu et al., CVPR 2018) of CSPNeXt's layers, by MMDetection's names.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hrkit_rtm.layers import ConvBN, CSPLayer, conv3x3


class CSPNeXtPAFPN(nn.Module):
    """Features of several strides, finest first -> as many, joined, each with `out_channels`.

    With `out_channels` None they keep their channels, and the finest is left out, as in RTMW.
    """

    def __init__(
        self, channels: Sequence[int], out_channels: int | None, blocks: int, *, depthwise: bool = False
    ) -> None:
        super().__init__()

        def joined(wide: int, narrow: int) -> CSPLayer:
            return CSPLayer(wide, narrow, blocks, depthwise=depthwise)

        steps = list(itertools.pairwise(channels))  # (finer, coarser)
        self.reduce_layers = nn.ModuleList(ConvBN(coarser, finer) for finer, coarser in reversed(steps))
        self.top_down_blocks = nn.ModuleList(joined(2 * finer, finer) for finer, _ in reversed(steps))
        self.downsamples = nn.ModuleList(conv3x3(finer, finer, 2, depthwise=depthwise) for finer, _ in steps)
        self.bottom_up_blocks = nn.ModuleList(joined(2 * finer, coarser) for finer, coarser in steps)
        self.out_convs: nn.ModuleList | None = None
        if out_channels is not None:
            self.out_convs = nn.ModuleList(conv3x3(count, out_channels, depthwise=depthwise) for count in channels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """[(N,C_i,h_i,w_i), ...], finest first -> the same, joined."""
        x, *finer = reversed(features)
        waiting = []
        for reduce, join, level in zip(self.reduce_layers, self.top_down_blocks, finer, strict=True):
            x = reduce(x)
            waiting.append(x)
            x = join(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), level], 1))
        outputs = [x]
        for down, join, level in zip(self.downsamples, self.bottom_up_blocks, reversed(waiting), strict=True):
            x = join(torch.cat([down(x), level], 1))
            outputs.append(x)
        if self.out_convs is None:
            return outputs[1:]
        return [conv(level) for conv, level in zip(self.out_convs, outputs, strict=True)]
