"""CSPNeXt, the trunk of RTMPose and RTMDet, in five sizes; with a neck it is the trunk of RTMW.

Lyu et al., RTMDet: An Empirical Study of Designing Real-Time Object Detectors (arXiv:2212.07784). Parameter names are
those of MMPose's and MMDetection's files.
"""

from __future__ import annotations

from torch import Tensor, nn

from hrkit.pose_spec import IMAGENET_MEAN, IMAGENET_STD
from hrkit_rtm.layers import ConvBN, CSPLayer, PoolingPyramid, conv3x3
from hrkit_rtm.neck import CSPNeXtPAFPN

SIZES = {"t": (0.167, 0.375), "s": (0.33, 0.5), "m": (0.67, 0.75), "l": (1.0, 1.0), "x": (1.33, 1.25)}
"""Factors on the number of blocks and on the channels of CSPNeXt-L, by size."""

_STAGES = ((64, 128, 3), (128, 256, 6), (256, 512, 6), (512, 1024, 3))
"""Input channels, output channels and blocks of the stages of CSPNeXt-L. The last pools instead of adding."""


class CSPNeXt(nn.Module):
    """(N,3,H,W), sides divisible by 32 -> features at strides 4, 8, 16 and 32.

    `deepen` and `widen` are factors on the blocks and channels of CSPNeXt-L; `default_head` is the name of the head
    that usually goes with it.
    """

    mean, std, channel_order = IMAGENET_MEAN, IMAGENET_STD, "rgb"
    channels: tuple[int, ...]
    strides: tuple[int, ...] = (4, 8, 16, 32)

    def __init__(self, deepen: float, widen: float, *, depthwise: bool = False, default_head: str = "deconv") -> None:
        super().__init__()
        self.default_head = default_head
        self.channels = tuple(int(channels * widen) for _, channels, _ in _STAGES)
        first = int(64 * widen)
        half = first // 2
        self.stem = nn.Sequential(ConvBN(3, half, 3, 2), ConvBN(half, half, 3), ConvBN(half, first, 3))
        stages = []
        for entering, leaving, count in _STAGES:
            before, channels, last = int(entering * widen), int(leaving * widen), leaving == _STAGES[-1][1]
            blocks = max(1, round(count * deepen))
            layer = CSPLayer(channels, channels, blocks, add=not last, attention=True, depthwise=depthwise)
            pyramid = [PoolingPyramid(channels)] if last else []
            stages.append(nn.Sequential(conv3x3(before, channels, 2, depthwise=depthwise), *pyramid, layer))
        self.stage1, self.stage2, self.stage3, self.stage4 = stages

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features, finest first."""
        features, x = [], self.stem(images)
        for stage in (self.stage1, self.stage2, self.stage3, self.stage4):
            x = stage(x)
            features.append(x)
        return features


class RTMWTrunk(CSPNeXt):
    """(N,3,H,W), sides divisible by 32 -> features at strides 16 and 32, joined by a neck."""

    strides = (16, 32)

    def __init__(self, deepen: float, widen: float) -> None:
        super().__init__(deepen, widen, default_head="rtmw")
        self.neck = CSPNeXtPAFPN(self.channels[1:], None, blocks=2)
        self.channels = self.channels[2:]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features, finest first."""
        return self.neck(super().forward(images)[1:])

    def renamed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """MMPose's files name the neck beside the backbone."""
        return {f"backbone.{name}" if name.startswith("neck.") else name: tensor for name, tensor in state.items()}


def cspnext(size: str, default_head: str) -> CSPNeXt:
    """The trunk of one of `SIZES`; with the head `rtmw` that of RTMW."""
    return RTMWTrunk(*SIZES[size]) if default_head == "rtmw" else CSPNeXt(*SIZES[size], default_head=default_head)
