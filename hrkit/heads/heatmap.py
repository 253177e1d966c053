"""Heads that give heatmaps: those of HRNet, HRNetV2 and SimpleBaseline, and a light one for several strides.

The light one is a feature pyramid (Lin et al., Feature Pyramid Networks, CVPR 2017) with depthwise-separable smoothing
(Sandler et al., MobileNetV2, 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from hrkit.errors import HrkitError


def _initialise(head: nn.Module) -> None:
    for layer in head.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, std=0.001)  # as the official code
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class HeatmapHead(nn.Module):
    """A 1x1 convolution on the finest features, which must have stride 4."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int], num_joints: int) -> None:
        super().__init__()
        if strides[0] != 4:
            raise HrkitError(f"head 'heatmap' needs features of stride 4, got {tuple(strides)}; take head='fpn'")
        self.final_layer: nn.Conv2d = nn.Conv2d(channels[0], num_joints, 1)
        _initialise(self)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """[(N,C,h,w), ...] -> (N,K,h,w)."""
        return self.final_layer(features[0])


class ConcatHead(nn.Module):
    """HRNetV2's: all features at the size of the finest, concatenated, through a 1x1, batch norm, ReLU and a 1x1.

    Sun et al., High-Resolution Representations for Labeling Pixels and Regions, 2019; layers as in MMPose.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], num_joints: int) -> None:
        super().__init__()
        if strides[0] != 4:
            raise HrkitError(f"head 'concat' needs features of stride 4, got {tuple(strides)}; take head='fpn'")
        width = sum(channels)
        layers = nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.conv_layers: nn.Sequential = nn.Sequential(*layers)
        self.final_layer: nn.Conv2d = nn.Conv2d(width, num_joints, 1)
        _initialise(self)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """[(N,C_i,H/s_i,W/s_i), ...] -> (N,K,H/4,W/4)."""
        finest, *others = features
        resized = [
            functional.interpolate(x, size=finest.shape[2:], mode="bilinear", align_corners=False) for x in others
        ]
        return self.final_layer(self.conv_layers(torch.cat([finest, *resized], dim=1)))


class DeconvHead(nn.Module):
    """Deconvolutions (4x4, stride 2, batch norm, ReLU) from the coarsest features up to `output_stride`, then 1x1."""

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_joints: int,
        width: int = 256,
        output_stride: int = 4,
    ) -> None:
        super().__init__()
        self.output_stride = output_stride
        layers: list[nn.Module] = []
        in_channels, stride = channels[-1], strides[-1]
        while stride > output_stride:
            deconvolution = nn.ConvTranspose2d(in_channels, width, 4, 2, 1, bias=False)
            layers += [deconvolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            in_channels, stride = width, stride // 2
        if stride != output_stride:
            raise HrkitError(f"head 'deconv' doubles up to stride {output_stride}; from {strides[-1]} it cannot")
        self.deconv_layers: nn.Sequential = nn.Sequential(*layers)
        self.final_layer: nn.Conv2d = nn.Conv2d(in_channels, num_joints, 1)
        _initialise(self)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """[..., (N,C,H/s,W/s)] -> (N,K,H/4,W/4), or another stride than 4."""
        return self.final_layer(self.deconv_layers(features[-1]))


def _separable(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


class FPNHead(nn.Module):
    """Top down from the coarsest features to stride 4: upsample, add, smooth; then a 1x1 convolution."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int], num_joints: int, width: int = 128) -> None:
        super().__init__()
        if strides[0] & (strides[0] - 1):
            raise HrkitError(f"head 'fpn' doubles up to stride 4; from {strides[0]} it cannot")
        # if several outputs share a stride (plain transformers), the last has the largest receptive field
        self._levels = [i for i, stride in enumerate(strides) if stride not in strides[i + 1 :]]
        self._missing_doublings = max(0, strides[0] // 4 - 1).bit_length()
        self.lateral: nn.ModuleList = nn.ModuleList(nn.Conv2d(channels[i], width, 1) for i in self._levels)
        count = len(self._levels) + self._missing_doublings
        self.smooth: nn.ModuleList = nn.ModuleList(_separable(width) for _ in range(count))
        self.final_layer: nn.Conv2d = nn.Conv2d(width, num_joints, 1)
        nn.init.normal_(self.final_layer.weight, std=0.001)
        nn.init.zeros_(self.final_layer.bias)  # type: ignore[arg-type]

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """[(N,C_i,H/s_i,W/s_i), ...] -> (N,K,H/4,W/4)."""
        laterals = [layer(features[i]) for layer, i in zip(self.lateral, self._levels, strict=True)]
        smooth = iter(self.smooth)
        x = next(smooth)(laterals[-1])
        for lateral in reversed(laterals[:-1]):
            x = functional.interpolate(x, size=lateral.shape[2:], mode="bilinear", align_corners=False)
            x = next(smooth)(x + lateral)
        for layer in smooth:
            x = layer(functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        return self.final_layer(x)
