"""RTMPose, RTMW and RTMDet for hrkit: poses of bodies, hands, faces and animals in real time on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl, lazy

if TYPE_CHECKING:
    from torch import nn

    from hrkit.detectors.base import Detector
    from hrkit.heads.base import Codec
    from hrkit.weights import WeightsEntry

_TRUNK = "hrkit_rtm.cspnext:cspnext"


@hookimpl
def register_backbones() -> Mapping[str, Callable[..., nn.Module]]:
    """One trunk in five sizes, by the name of the network that its usual head makes of it."""
    return {
        **{f"rtmpose_{size}": lazy(_TRUNK, size, "rtmcc") for size in "tsmlx"},
        **{f"cspnext_{size}": lazy(_TRUNK, size, "deconv") for size in "tsmlx"},
        **{f"rtmw_{size}": lazy("hrkit_rtm.cspnext:rtmw", size) for size in "mlx"},
    }


@hookimpl
def register_heads() -> Mapping[str, Callable[..., nn.Module]]:
    """`rtmcc` of RTMPose, and `rtmw`."""
    return {"rtmcc": lazy("hrkit_rtm.heads:RTMCCHead"), "rtmw": lazy("hrkit_rtm.heads:RTMWHead")}


@hookimpl
def register_decoders() -> Mapping[str, Callable[..., Codec]]:
    """`simcc`."""
    return {"simcc": lazy("hrkit_rtm.simcc:SimccCodec")}


@hookimpl
def register_detectors() -> Mapping[str, Callable[..., Detector]]:
    """`rtmdet_nano` to `rtmdet_x`."""
    return {f"rtmdet_{size}": lazy("hrkit_rtm.detector:rtmdet", size) for size in ("nano", "tiny", *"smlx")}


@hookimpl
def register_weights() -> Sequence[WeightsEntry]:
    """What MMPose and MMDetection published, from `published.tsv`."""
    from hrkit_rtm.weights import published_entries

    return published_entries()
