"""The heads of RTMPose and RTMW: each joint as two distributions, one along x and one along y.

Jiang et al., RTMPose: Real-Time Multi-Person Pose Estimation based on MMPose (arXiv:2303.07399) and RTMW
(arXiv:2407.08634). Hua et al., Transformer Quality in Linear Time, ICML 2022, has the gated attention unit. Parameter
names are MMPose's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hrkit.pose_model import PoseModel
from hrkit.structures import Size
from hrkit_rtm.layers import ConvBN
from hrkit_rtm.simcc import BINS_PER_PX, official_sigma

if TYPE_CHECKING:
    from hrkit.training.config import TrainConfig
    from hrkit.training.objective import Objective

WIDTH = 256
"""Features of a joint."""
KEYS = 128
"""Features by which joints attend to each other."""


class ScaleNorm(nn.Module):
    """(...,D) divided by its norm and multiplied by one learned number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = width**-0.5
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """(...,D) -> (...,D)."""
        return x / (x.norm(dim=-1, keepdim=True) * self.scale).clamp(min=1e-5) * self.g


class Scale(nn.Module):
    """One learned factor per feature."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(...,D) -> (...,D)."""
        return x * self.scale


class GatedAttention(nn.Module):
    """A gated attention unit: joints exchange what they know."""

    def __init__(self, width: int = WIDTH, keys: int = KEYS) -> None:
        super().__init__()
        self.split = (2 * width, 2 * width, keys)
        self.gamma, self.beta = nn.Parameter(torch.rand(2, keys)), nn.Parameter(torch.rand(2, keys))
        self.ln = ScaleNorm(width)
        self.uv = nn.Linear(width, sum(self.split), bias=False)
        self.o = nn.Linear(2 * width, width, bias=False)
        self.res_scale = Scale(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N,K,D) -> (N,K,D)."""
        gate, value, base = F.silu(self.uv(self.ln(x))).split(self.split, dim=-1)
        query, key = (base * self.gamma[i] + self.beta[i] for i in (0, 1))
        attention = F.relu(query @ key.transpose(1, 2) / KEYS**0.5).square()
        return self.res_scale(x) + self.o(gate * (attention @ value))


class SimccModel(PoseModel):
    """(N,3,H,W) normalised crops -> distributions (N,K,2W) and (N,K,2H)."""

    def objective(self, config: TrainConfig, teacher: PoseModel | None = None) -> Objective:
        """The divergence of labelled and predicted distributions."""
        from hrkit_rtm.objective import SimccObjective

        return SimccObjective(config, self, teacher)


class SimccHead(nn.Module):
    """What both heads share: a layer per axis, whose size depends on the input's."""

    pose_model = SimccModel
    output_names = ("simcc_x", "simcc_y")

    def __init__(self) -> None:
        super().__init__()
        self.gau = GatedAttention()

    def output_spec(self, input_size: Size) -> dict[str, Any]:
        """The codec that reads the output, and the deviation of its targets for inputs of (height, width)."""
        return {"codec": "simcc", "sigma": official_sigma(input_size)}

    def _set_bins(self, input_size: Size) -> None:
        height, width = input_size
        self.cls_x = nn.Linear(WIDTH, width * BINS_PER_PX, bias=False)
        self.cls_y = nn.Linear(WIDTH, height * BINS_PER_PX, bias=False)
        for part in self.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                nn.init.normal_(part.weight, std=0.001 if isinstance(part, nn.Conv2d) else 0.01)

    def distributions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N,K,D) features of joints -> (N,K,2W) and (N,K,2H)."""
        x = self.gau(x)
        return self.cls_x(x), self.cls_y(x)


def _mlp(cells: int, width: int) -> nn.Sequential:
    return nn.Sequential(ScaleNorm(cells), nn.Linear(cells, width, bias=False))


class RTMCCHead(SimccHead):
    """The head of RTMPose, on the coarsest features."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int], num_joints: int) -> None:
        super().__init__()
        self.stride = strides[-1]
        self.final_layer = nn.Conv2d(channels[-1], num_joints, 7, padding=3)
        self.set_input_size((256, 192))

    def set_input_size(self, size: Size) -> None:
        """Makes new layers for inputs of (height, width)."""
        self.mlp = _mlp((size[0] // self.stride) * (size[1] // self.stride), WIDTH)
        self._set_bins(size)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """[..., (N,C,h,w)] -> (N,K,2W) and (N,K,2H)."""
        return self.distributions(self.mlp(self.final_layer(features[-1]).flatten(2)))


class RTMWHead(SimccHead):
    """The head of RTMW, on the two coarsest features, each twice as fine as the next."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int], num_joints: int) -> None:
        super().__init__()
        self.stride = strides[-1]
        fine, coarse = channels[-2:]
        self.enlarge = nn.PixelShuffle(2)
        self.conv_dec = ConvBN(coarse // 4, coarse // 4, 7, activation=nn.ReLU)
        self.final_layer = ConvBN(coarse, num_joints, 7, activation=nn.ReLU)
        self.final_layer2 = ConvBN(coarse // 4 + fine, num_joints, 7, activation=nn.ReLU)
        self.set_input_size((256, 192))

    def set_input_size(self, size: Size) -> None:
        """Makes new layers for inputs of (height, width)."""
        cells = (size[0] // self.stride) * (size[1] // self.stride)
        self.mlp, self.mlp2 = _mlp(cells, WIDTH // 2), _mlp(4 * cells, WIDTH // 2)
        self._set_bins(size)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """[..., (N,C/2,2h,2w), (N,C,h,w)] -> (N,K,2W) and (N,K,2H)."""
        fine, coarse = features[-2:]
        from_coarse = self.mlp(self.final_layer(coarse).flatten(2))
        both = torch.cat([self.conv_dec(self.enlarge(coarse)), fine], 1)
        from_fine = self.mlp2(self.final_layer2(both).flatten(2))
        return self.distributions(torch.cat([from_coarse, from_fine], 2))
