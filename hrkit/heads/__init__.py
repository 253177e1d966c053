"""Heads (features -> heatmaps) and codecs (heatmaps <-> keypoints). Each is imported when it is first built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl, lazy

if TYPE_CHECKING:
    from torch import nn

    from hrkit.heads.codecs import Codec


@hookimpl
def register_heads() -> Mapping[str, Callable[..., nn.Module]]:
    """hrkit's own heads."""
    return {
        "heatmap": lazy("hrkit.heads.heatmap:HeatmapHead"),
        "concat": lazy("hrkit.heads.heatmap:ConcatHead"),
        "deconv": lazy("hrkit.heads.heatmap:DeconvHead"),
        "deconv_stride8": lazy("hrkit.heads.heatmap:DeconvHead", output_stride=8),
        "fpn": lazy("hrkit.heads.heatmap:FPNHead"),
        "synthetic": lazy("hrkit.synthetic:SyntheticHead"),
    }


@hookimpl
def register_decoders() -> Mapping[str, Callable[..., Codec]]:
    """hrkit's own codecs."""
    return {
        "msra": lazy("hrkit.heads.codecs:MSRACodec"),
        "dark": lazy("hrkit.heads.codecs:DarkCodec"),
        "udp": lazy("hrkit.heads.codecs:UDPCodec"),
    }
