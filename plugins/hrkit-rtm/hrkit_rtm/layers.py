"""Layers that CSPNeXt, its neck and the heads on it share, by MMPose's and MMDetection's names.

Lyu et al., RTMDet: An Empirical Study of Designing Real-Time Object Detectors (arXiv:2212.07784).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvBN(nn.Module):
    """Convolution with same padding, batch norm and SiLU, or another activation."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.activate = activation(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,C',H/stride,W/stride)."""
        return self.activate(self.bn(self.conv(x)))


class SeparableConv(nn.Module):
    """A depthwise convolution and a pointwise one, each a `ConvBN`."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise_conv = ConvBN(in_channels, in_channels, kernel, stride, groups=in_channels)
        self.pointwise_conv = ConvBN(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,C',H/stride,W/stride)."""
        return self.pointwise_conv(self.depthwise_conv(x))


def conv3x3(in_channels: int, channels: int, stride: int = 1, *, depthwise: bool = False) -> nn.Module:
    """A 3x3 `ConvBN`, or a `SeparableConv`."""
    return (SeparableConv if depthwise else ConvBN)(in_channels, channels, 3, stride)


class Block(nn.Module):
    """A 3x3 convolution and a separable 5x5 one; with `add` the input is added."""

    def __init__(self, channels: int, *, add: bool, depthwise: bool = False) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels, depthwise=depthwise)
        self.conv2 = SeparableConv(channels, channels, 5)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,C,H,W)."""
        out = self.conv2(self.conv1(x))
        return out + x if self.add else out


class ChannelAttention(nn.Module):
    """Each channel is scaled by a factor from 0 to 1 that depends on the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(channels, channels, 1)
        self.activate = nn.Hardsigmoid(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,C,H,W)."""
        return x * self.activate(self.fc(self.pool(x)))


class CSPLayer(nn.Module):
    """Half the channels go through `blocks`, half around them; then both are joined."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        blocks: int,
        *,
        add: bool = False,
        attention: bool = False,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        half = channels // 2
        self.main_conv, self.short_conv = ConvBN(in_channels, half), ConvBN(in_channels, half)
        self.final_conv = ConvBN(2 * half, channels)
        self.blocks = nn.Sequential(*(Block(half, add=add, depthwise=depthwise) for _ in range(blocks)))
        self.attention = ChannelAttention(2 * half) if attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,C',H,W)."""
        both = torch.cat([self.blocks(self.main_conv(x)), self.short_conv(x)], 1)
        return self.final_conv(self.attention(both))


class PoolingPyramid(nn.Module):
    """Maxima over 5x5, 9x9 and 13x13 cells beside the features themselves."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(channels, channels // 2)
        self.poolings = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in (5, 9, 13))
        self.conv2 = ConvBN(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,C,H,W)."""
        x = self.conv1(x)
        return self.conv2(torch.cat([x, *(pool(x) for pool in self.poolings)], 1))
