"""The ResNet under SimpleBaseline's PoseResNet; its three deconvolutions are the head `deconv`.

Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, ECCV 2018. Parameter names are torchvision's,
which are the official ones.
"""

from __future__ import annotations

import torch
from torch import nn

from hrkit.backbones.base import initialise
from hrkit.backbones.blocks import BasicBlock, Bottleneck, residual_layer
from hrkit.pose_spec import IMAGENET_MEAN, IMAGENET_STD

LAYERS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
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
    mean, std, channel_order = IMAGENET_MEAN, IMAGENET_STD, "rgb"
    official_channel_order = "bgr"
    """The order that the official pose_resnet files were trained with (COLOR_RGB is false in their configs)."""
    strides = (4, 8, 16, 32)

    def __init__(self, depth: int) -> None:
        super().__init__()
        block, counts = LAYERS[depth]
        self.channels = tuple(planes * block.expansion for planes in (64, 128, 256, 512))
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = residual_layer(block, 64, 64, counts[0])
        self.layer2 = residual_layer(block, self.channels[0], 128, counts[1], 2)
        self.layer3 = residual_layer(block, self.channels[1], 256, counts[2], 2)
        self.layer4 = residual_layer(block, self.channels[2], 512, counts[3], 2)
        initialise(self)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(N,3,H,W), sides divisible by 32 -> features at strides 4, 8, 16 and 32."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return features
