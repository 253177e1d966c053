"""HRNet: branches of falling resolution that run in parallel and exchange features.

Sun et al., Deep High-Resolution Representation Learning for Human Pose Estimation, CVPR 2019
(github.com/leoxiaobin/deep-high-resolution-net.pytorch). Parameter names are the official ones.
"""

from __future__ import annotations

import torch
from torch import nn

from hrkit.backbones.base import initialise
from hrkit.backbones.resnet import BasicBlock, Bottleneck, conv_bn, residual_layer
from hrkit.errors import HrkitError
from hrkit.pose_spec import IMAGENET_MEAN, IMAGENET_STD


def _downsample(in_channels: int, out_channels: int, steps: int) -> nn.Sequential:
    """`steps` strided convolutions; all but the last keep the channels and end in ReLU."""
    keep = [conv_bn(in_channels, in_channels, 3, 2) for _ in range(steps - 1)]
    return nn.Sequential(*keep, conv_bn(in_channels, out_channels, 3, 2, relu=False))


def _upsample(in_channels: int, out_channels: int, steps: int) -> nn.Sequential:
    return nn.Sequential(
        *conv_bn(in_channels, out_channels, 1, relu=False), nn.Upsample(scale_factor=2**steps, mode="nearest")
    )


class ExchangeModule(nn.Module):
    """Four residual blocks on every branch, then each output sums all branches at its own resolution."""

    def __init__(self, widths: list[int], num_outputs: int) -> None:
        super().__init__()
        self.branches: nn.ModuleList = nn.ModuleList(residual_layer(BasicBlock, width, width, 4) for width in widths)
        self.fuse_layers: nn.ModuleList = nn.ModuleList(
            nn.ModuleList(self._path(widths, source, target) for source in range(len(widths)))
            for target in range(num_outputs)
        )
        self.relu: nn.ReLU = nn.ReLU(inplace=True)

    @staticmethod
    def _path(widths: list[int], source: int, target: int) -> nn.Module:
        if source == target:
            return nn.Identity()
        make = _upsample if source > target else _downsample
        return make(widths[source], widths[target], abs(source - target))

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """One tensor per branch -> one tensor per output."""
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        outputs = []
        for paths in self.fuse_layers:
            first, *others = (path(x) for path, x in zip(paths, features, strict=True))  # type: ignore[call-overload]
            outputs.append(self.relu(sum(others, start=first)))
        return outputs


class Stage(nn.Sequential):
    """Exchange modules in a row, from a list of branches to a list of branches."""

    def __init__(self, widths: list[int], num_modules: int, num_outputs: int) -> None:
        last = num_modules - 1
        super().__init__(
            *(ExchangeModule(widths, num_outputs if i == last else len(widths)) for i in range(num_modules))
        )


class Transition(nn.ModuleList):
    """Keeps the branches (or adapts the stem of `stem_width` channels) and adds one at half the resolution."""

    def __init__(self, widths: list[int], stem_width: int | None = None) -> None:
        *old, new = widths
        kept = [nn.Identity() for _ in old] if stem_width is None else [conv_bn(stem_width, old[0], 3)]
        super().__init__([*kept, nn.Sequential(conv_bn(stem_width or old[-1], new, 3, 2))])

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """The new branch grows from the coarsest one."""
        return [layer(x) for layer, x in zip(self, [*features, features[-1]], strict=True)]


class HRNet(nn.Module):
    """The HRNet trunk; the branches have `width`, 2, 4 and 8 times `width` channels at strides 4, 8, 16 and 32.

    Gives only the finest branch, as the official pose network does, or all four with `multi_scale`.
    """

    default_head = "heatmap"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channel_order: str = "rgb"
    input_multiple = 32

    def __init__(self, width: int = 32, multi_scale: bool = False) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(4)]
        num_outputs = 4 if multi_scale else 1
        self.channels: tuple[int, ...] = tuple(widths[:num_outputs])
        self.strides: tuple[int, ...] = (4, 8, 16, 32)[:num_outputs]
        self.conv1: nn.Conv2d = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1: nn.BatchNorm2d = nn.BatchNorm2d(64)
        self.conv2: nn.Conv2d = nn.Conv2d(64, 64, 3, 2, 1, bias=False)
        self.bn2: nn.BatchNorm2d = nn.BatchNorm2d(64)
        self.relu: nn.ReLU = nn.ReLU(inplace=True)
        self.layer1: nn.Sequential = residual_layer(Bottleneck, 64, 64, 4)
        self.transition1: Transition = Transition(widths[:2], stem_width=256)
        self.stage2: Stage = Stage(widths[:2], num_modules=1, num_outputs=2)
        self.transition2: Transition = Transition(widths[:3])
        self.stage3: Stage = Stage(widths[:3], num_modules=4, num_outputs=3)
        self.transition3: Transition = Transition(widths)
        self.stage4: Stage = Stage(widths, num_modules=3, num_outputs=num_outputs)
        initialise(self)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(N,3,H,W), sides divisible by 32 -> [(N,width,H/4,W/4), ...]."""
        stem = self.relu(self.bn1(self.conv1(images)))
        stem = self.layer1(self.relu(self.bn2(self.conv2(stem))))
        features = self.stage2(self.transition1([stem]))
        features = self.stage3(self.transition2(features))
        return self.stage4(self.transition3(features))


def hrnet(width: str | int, **options: object) -> HRNet:
    """`HRNet` of any width, as in `hrnet_w32`; raises `HrkitError` if the width is not a positive number."""
    if not str(width).isdecimal() or int(width) < 1:
        raise HrkitError(f"hrnet_w{width}: the width must be a positive number, as in hrnet_w32")
    return HRNet(int(width), **options)  # type: ignore[arg-type]


def hrnetv2(width: str | int) -> HRNet:
    """`HRNet` with all four branches, which the head `concat` reads, enlarged bilinearly; raises as `hrnet`."""
    trunk = hrnet(width, multi_scale=True)
    trunk.default_head = "concat"
    for layer in trunk.modules():
        if isinstance(layer, nn.Upsample):
            layer.mode, layer.align_corners = "bilinear", False
    return trunk
