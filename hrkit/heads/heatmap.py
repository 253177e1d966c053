"""The official heads: one convolution (HRNet), or three deconvolutions before it (SimpleBaseline)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

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
        self.final_layer = nn.Conv2d(channels[0], num_joints, 1)
        _initialise(self)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """[(N,C,h,w), ...] -> (N,K,h,w)."""
        return self.final_layer(features[0])


class DeconvHead(nn.Module):
    """Deconvolutions (4x4, stride 2, batch norm, ReLU) from the coarsest features up to stride 4, then 1x1."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int], num_joints: int, width: int = 256) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_channels, stride = channels[-1], strides[-1]
        while stride > 4:
            deconvolution = nn.ConvTranspose2d(in_channels, width, 4, 2, 1, bias=False)
            layers += [deconvolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            in_channels, stride = width, stride // 2
        if stride != 4:
            raise HrkitError(f"head 'deconv' doubles up to stride 4; from {strides[-1]} it cannot")
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(in_channels, num_joints, 1)
        _initialise(self)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """[..., (N,C,H/32,W/32)] -> (N,K,H/4,W/4)."""
        return self.final_layer(self.deconv_layers(features[-1]))
