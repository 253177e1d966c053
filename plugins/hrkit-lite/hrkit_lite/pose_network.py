"""The network of MoveNet: MobileNetV2, a feature pyramid, a heatmap head.

Sandler et al., MobileNetV2 (CVPR 2018); Lin et al., Feature Pyramid Networks (CVPR 2017); MoveNet SinglePose, Google,
Apache-2.0 (https://www.kaggle.com/models/google/movenet). Batch norm is part of the convolutions, as MoveNet was
published. Width 1.0 has the shapes of MoveNet Lightning, 1.75 those of Thunder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hrkit.errors import HrkitError

STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
"""Channels at width 1, blocks, stride of the first: Table 2 of the MobileNetV2 paper."""
EXPANSION = 6
LAST_CHANNELS = 1280
PYRAMID = {4: 24, 8: 32, 16: 64, 32: 64}
"""Channels of the pyramid at each stride."""
HIDDEN_CHANNELS = 96


class SameConv2d(nn.Conv2d):
    """A 3x3 convolution of stride 2 that pads like TensorFlow's SAME: what is odd goes to the bottom and right."""

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,C',ceil(H/2),ceil(W/2))."""
        height, width = x.shape[-2:]
        return super().forward(F.pad(x, (width % 2, 1, height % 2, 1)))


class Block(nn.Module):
    """Inverted residual: expand (not where `expansion` is 1), depthwise, project; added to the input where it fits."""

    def __init__(self, channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = nn.Conv2d(channels, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _conv3x3(inner, inner, stride, groups=inner)
        self.project = nn.Conv2d(inner, out_channels, 1)
        self.expands, self.adds = expansion > 1, stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,C',H/stride,W/stride)."""
        inner = F.relu6(self.expand(x), inplace=True) if self.expands else x
        projected = self.project(F.relu6(self.depthwise(inner), inplace=True))
        return x + projected if self.adds else projected


class LiteBackbone(nn.Module):
    """MobileNetV2 without its classifier. `width` multiplies all channels but the last.

    Input: RGB, pixel / 127.5 - 1.
    """

    strides: tuple[int, ...] = (4, 8, 16, 32)
    default_head = "lite"
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)
    channel_order = "rgb"

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        if not width > 0:
            raise HrkitError(f"width={width}; it must be above 0")
        channels = _scaled(32, width)
        self.stem = _conv3x3(3, channels, 2)
        blocks: list[nn.Module] = []
        ends = []
        for stage, (base, repeats, first_stride) in enumerate(STAGES):
            for repeat in range(repeats):
                stride, expansion = first_stride if repeat == 0 else 1, EXPANSION if stage else 1
                blocks.append(Block(channels, _scaled(base, width), stride, expansion))
                channels = _scaled(base, width)
            ends.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Conv2d(channels, LAST_CHANNELS, 1)
        # the last block before each next halving of the grid; the features of stride 32 come from `last`
        self.taken = {ends[1], ends[2], ends[3]}
        self.channels: tuple[int, ...] = (*(_scaled(STAGES[stage][0], width) for stage in (1, 2, 3)), LAST_CHANNELS)
        _initialise(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N,3,H,W) -> (N,C_i,H/s_i,W/s_i) for each stride, finest first; sides that do not divide are rounded up."""
        x, features = F.relu6(self.stem(images), inplace=True), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taken:
                features.append(x)
        return [*features, F.relu6(self.last(x), inplace=True)]


class Smooth(nn.Module):
    """Depthwise 3x3, then 1x1 and ReLU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = _depthwise(channels)
        self.pointwise = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,H,W) -> (N,C',H,W)."""
        return F.relu(self.pointwise(self.depthwise(x)), inplace=True)


class KeypointLogits(nn.Module):
    """Depthwise 3x3, 1x1 and ReLU, 1x1."""

    def __init__(self, channels: int, num_joints: int) -> None:
        super().__init__()
        self.depthwise = _depthwise(channels)
        self.hidden = nn.Conv2d(channels, HIDDEN_CHANNELS, 1)
        self.out = nn.Conv2d(HIDDEN_CHANNELS, num_joints, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,h,w) -> (N,K,h,w)."""
        return self.out(F.relu(self.hidden(self.depthwise(x)), inplace=True))


class LiteHead(nn.Module):
    """A feature pyramid down to stride 4, and heatmaps from 0 to 1.

    Raises `HrkitError` for a backbone whose strides are not 4, 8, 16, 32 (or the first of them).
    """

    def __init__(self, *, channels: Sequence[int], strides: Sequence[int], num_joints: int) -> None:
        super().__init__()
        if not strides or tuple(strides) != tuple(PYRAMID)[: len(strides)]:
            wanted = ", ".join(map(str, PYRAMID))
            raise HrkitError(f"the head 'lite' takes features of strides {wanted}, not {', '.join(map(str, strides))}")
        self.strides = tuple(strides)
        for stride, count in zip(strides, channels, strict=True):
            self.add_module(f"lateral{stride}", nn.Conv2d(count, PYRAMID[stride], 1))
        for stride in strides[:-1]:
            self.add_module(f"smooth{stride}", Smooth(PYRAMID[stride], PYRAMID[max(stride // 2, 4)]))
        self.keypoints = KeypointLogits(PYRAMID[4], num_joints)
        _initialise(self)

    def logits(self, features: Sequence[Tensor]) -> Tensor:
        """(N,C_i,H/s_i,W/s_i), finest first -> (N,K,H/4,W/4), any real numbers."""
        *finer, x = (self.get_submodule(f"lateral{s}")(f) for s, f in zip(self.strides, features, strict=True))
        for stride, lateral in zip(self.strides[-2::-1], reversed(finer), strict=True):
            x = F.interpolate(x, size=lateral.shape[-2:], mode="bilinear", align_corners=False)
            x = self.get_submodule(f"smooth{stride}")(x + lateral)
        return self.keypoints(x)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(N,C_i,H/s_i,W/s_i), finest first -> heatmaps (N,K,H/4,W/4), 0 to 1."""
        return self.logits(features).sigmoid()


def _conv3x3(channels: int, out_channels: int, stride: int, groups: int = 1) -> nn.Conv2d:
    if stride == 2:
        return SameConv2d(channels, out_channels, 3, 2, groups=groups)
    return nn.Conv2d(channels, out_channels, 3, stride, 1, groups=groups)


def _depthwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)


def _scaled(channels: int, width: float) -> int:
    """Rounded to a multiple of 8 that is no more than a tenth below, as MobileNets do."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded


def _initialise(module: nn.Module) -> None:
    """Keeps the variance from layer to layer, which no batch norm does here (He et al., ICCV 2015)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
