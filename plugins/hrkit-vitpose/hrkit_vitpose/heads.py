"""The two heads of ViTPose. Their heatmaps are for `udp`."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hrkit.heads.heatmap import DeconvHead
from hrkit.structures import Size


class ClassicHead(DeconvHead):
    """Deconvolutions with batch norm and ReLU from the tokens up to stride 4, then a 1x1 convolution."""

    def output_spec(self, input_size: Size) -> dict[str, str]:
        """What a network with this head records, unless its weights say something else."""
        return {"codec": "udp"}


class SimpleHead(nn.Module):
    """ReLU and bilinear enlargement of the tokens to stride 4, then a 3x3 convolution."""

    output_spec = ClassicHead.output_spec

    def __init__(self, channels: Sequence[int], strides: Sequence[int], num_joints: int) -> None:
        super().__init__()
        self.scale = strides[-1] / 4
        self.final_layer = nn.Conv2d(channels[-1], num_joints, 3, padding=1)
        nn.init.normal_(self.final_layer.weight, std=0.001)
        nn.init.zeros_(self.final_layer.bias)  # type: ignore[arg-type]

    def forward(self, features: list[Tensor]) -> Tensor:
        """[..., (N,C,h,w)] -> (N,K,H/4,W/4)."""
        x = F.interpolate(F.relu(features[-1]), scale_factor=self.scale, mode="bilinear", align_corners=False)
        return self.final_layer(x)
