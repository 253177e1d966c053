"""The contract of backbones, and their initialisation."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn


class Backbone(Protocol):
    """A `torch.nn.Module` that turns (N,3,H,W) into a list of (N,C_i,H/s_i,W/s_i), finest first."""

    channels: tuple[int, ...]
    """C_i of each output."""
    strides: tuple[int, ...]
    """s_i of each output; H and W must be divisible by the largest."""
    default_head: str
    """Registry name of the head that usually goes with it."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Input is (pixel / 255 - mean) / std, in the order of `channel_order`."""
    channel_order: str
    """"rgb" or "bgr"."""

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(N,3,H,W) -> features, finest first."""
        ...


def initialise(module: nn.Module) -> None:
    """The official initialisation: convolutions normal with deviation 0.001, biases 0, batch norm identity.

    As in lib/models/pose_hrnet.py of the official HRNet code. ImageNet weights, if used, replace those of the trunk.
    """
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(part.weight, std=0.001)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
