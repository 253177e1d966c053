"""Residual blocks, and the ResNet under SimpleBaseline's PoseResNet; its three deconvolutions are the head `deconv`.

He et al., Deep Residual Learning, CVPR 2016; Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, ECCV
2018. Parameter names are torchvision's, which are the official ones.
"""

from __future__ import annotations

import torch
from torch import nn

from hrkit.backbones.base import initialise
from hrkit.pose_spec import IMAGENET_MEAN, IMAGENET_STD


def conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Convolution with same padding, batch norm and, if asked, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), *([nn.ReLU(inplace=True)] if relu else []))


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    same = stride == 1 and in_channels == out_channels
    return None if same else conv_bn(in_channels, out_channels, 1, stride, relu=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions: (N,C,H,W) -> (N,planes,H/stride,W/stride)."""

    expansion = 1

    def __init__(self, in_channels: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1: nn.Conv2d = nn.Conv2d(in_channels, planes, 3, stride, 1, bias=False)
        self.bn1: nn.BatchNorm2d = nn.BatchNorm2d(planes)
        self.conv2: nn.Conv2d = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2: nn.BatchNorm2d = nn.BatchNorm2d(planes)
        self.relu: nn.ReLU = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = _shortcut(in_channels, planes, stride)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        residual = features if self.downsample is None else self.downsample(features)
        out = self.relu(self.bn1(self.conv1(features)))
        return self.relu(self.bn2(self.conv2(out)) + residual)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions: (N,C,H,W) -> (N,4*planes,H/stride,W/stride)."""

    expansion = 4

    def __init__(self, in_channels: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1: nn.Conv2d = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1: nn.BatchNorm2d = nn.BatchNorm2d(planes)
        self.conv2: nn.Conv2d = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2: nn.BatchNorm2d = nn.BatchNorm2d(planes)
        self.conv3: nn.Conv2d = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3: nn.BatchNorm2d = nn.BatchNorm2d(planes * 4)
        self.relu: nn.ReLU = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = _shortcut(in_channels, planes * 4, stride)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        residual = features if self.downsample is None else self.downsample(features)
        out = self.relu(self.bn1(self.conv1(features)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + residual)


Block = type[BasicBlock] | type[Bottleneck]


def residual_layer(block: Block, in_channels: int, planes: int, count: int, stride: int = 1) -> nn.Sequential:
    """`count` blocks in a row; the first carries the stride."""
    out_channels = planes * block.expansion
    first = block(in_channels, planes, stride)
    return nn.Sequential(first, *(block(out_channels, planes) for _ in range(count - 1)))


LAYERS: dict[int, tuple[Block, tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
"""Blocks of each layer by depth (He et al. 2016, table 1)."""


class ResNet(nn.Module):
    """ResNet of depth 18, 34, 50, 101 or 152 without its classifier."""

    default_head = "deconv"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channel_order: str = "rgb"
    official_channel_order = "bgr"
    """The order that the official pose_resnet files were trained with (COLOR_RGB is false in their configs)."""
    strides: tuple[int, ...] = (4, 8, 16, 32)

    def __init__(self, depth: int) -> None:
        super().__init__()
        block, counts = LAYERS[depth]
        self.channels: tuple[int, ...] = tuple(planes * block.expansion for planes in (64, 128, 256, 512))
        self.conv1: nn.Conv2d = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1: nn.BatchNorm2d = nn.BatchNorm2d(64)
        self.relu: nn.ReLU = nn.ReLU(inplace=True)
        self.maxpool: nn.MaxPool2d = nn.MaxPool2d(3, 2, 1)
        self.layer1: nn.Sequential = residual_layer(block, 64, 64, counts[0])
        self.layer2: nn.Sequential = residual_layer(block, self.channels[0], 128, counts[1], 2)
        self.layer3: nn.Sequential = residual_layer(block, self.channels[1], 256, counts[2], 2)
        self.layer4: nn.Sequential = residual_layer(block, self.channels[2], 512, counts[3], 2)
        initialise(self)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(N,3,H,W), sides divisible by 32 -> features at strides 4, 8, 16 and 32."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return features
