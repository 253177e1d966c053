"""The network: HRNet's trunk, and a head with two resolutions on its finest branch.

Cheng et al., HigherHRNet: Scale-Aware Representation Learning for Bottom-Up Human Pose Estimation, CVPR 2020
(github.com/HRNet/HigherHRNet-Human-Pose-Estimation, MIT). Parameter names are the official ones.

Shapes: K joints; (h,w) is a quarter of the input, (2h,2w) half of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from hrkit.backbones.base import initialise
from hrkit.backbones.hrnet import HRNet
from hrkit.backbones.resnet import BasicBlock
from hrkit.errors import HrkitError
from hrkit_higherhrnet.model import HigherModel
from hrkit_higherhrnet.outputs import packed

REFINEMENTS = 4
"""Number of residual blocks after the transposed convolution."""


class HigherBackbone(HRNet):
    """HRNet's trunk, set up for whole pictures."""

    default_head = "higher"
    default_input_size = (512, 512)
    default_sigma = 2.0
    input_multiple = 64


def higher_backbone(width: str) -> HigherBackbone:
    """The trunk of a width, as in `higher_hrnet_w32`. Raises `HrkitError` if the width is not a positive number."""
    if not width.isdecimal() or int(width) < 1:
        raise HrkitError(f"higher_hrnet_w{width}: the width must be a positive number, as in higher_hrnet_w32")
    return HigherBackbone(int(width))


class HigherHead(nn.Module):
    """Heatmaps and tags at a quarter of the input, and heatmaps at half of it.

    `channels` and `strides` are those of the trunk; only its finest features are used. Raises `HrkitError` if their
    stride is not 4.
    """

    pose_model = HigherModel

    def __init__(self, channels: Sequence[int], strides: Sequence[int], num_joints: int) -> None:
        super().__init__()
        if strides[0] != 4:
            raise HrkitError(f"head 'higher' needs features of stride 4; these have {strides[0]}")
        width = channels[0]
        self.num_joints = num_joints
        self.final_layers = nn.ModuleList(
            [nn.Conv2d(width, 2 * num_joints, kernel_size=1), nn.Conv2d(width, num_joints, kernel_size=1)]
        )
        doubled = nn.Sequential(
            nn.ConvTranspose2d(width + 2 * num_joints, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        refined = (nn.Sequential(BasicBlock(width, width)) for _ in range(REFINEMENTS))
        self.deconv_layers = nn.ModuleList([nn.Sequential(doubled, *refined)])
        initialise(self)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """[(N,C,h,w), ...] -> (N,6K,h,w), both outputs in one tensor, which `outputs.unpacked` splits."""
        finest = features[0]
        low = self.final_layers[0](finest)
        high = self.final_layers[1](self.deconv_layers[0](torch.cat([finest, low], dim=1)))
        return packed(low, high)
