"""Residual blocks (He et al., Deep Residual Learning, CVPR 2016), with torchvision's parameter names."""

from __future__ import annotations

import torch
from torch import nn


def conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Convolution with same padding, batch norm and, if asked, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), *([nn.ReLU(inplace=True)] if relu else []))


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    same = stride == 1 and in_channels == out_channels
    return None if same else conv_bn(in_channels, out_channels, 1, stride, relu=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, in_channels: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, planes, stride)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N,C,H,W) -> (N,planes,H/stride,W/stride)."""
        residual = features if self.downsample is None else self.downsample(features)
        out = self.relu(self.bn1(self.conv1(features)))
        return self.relu(self.bn2(self.conv2(out)) + residual)


class Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride) and 1x1 convolutions; four times as many channels out."""

    expansion = 4

    def __init__(self, in_channels: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, planes * 4, stride)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N,C,H,W) -> (N,4*planes,H/stride,W/stride)."""
        residual = features if self.downsample is None else self.downsample(features)
        out = self.relu(self.bn1(self.conv1(features)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + residual)


def residual_layer(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, planes: int, count: int, stride: int = 1
) -> nn.Sequential:
    """`count` blocks in a row; the first carries the stride."""
    out_channels = planes * block.expansion
    first = block(in_channels, planes, stride)
    return nn.Sequential(first, *(block(out_channels, planes) for _ in range(count - 1)))
