"""Heads (features -> heatmaps) and codecs (heatmaps <-> keypoints)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from hrkit.heads import codecs
from hrkit.hookspecs import hookimpl


@hookimpl
def register_heads() -> Mapping[str, Callable[..., nn.Module]]:
    from hrkit.heads.fpn import FPNHead
    from hrkit.heads.heatmap import DeconvHead, HeatmapHead
    from hrkit.synthetic import SyntheticHead

    return {"heatmap": HeatmapHead, "deconv": DeconvHead, "fpn": FPNHead, "synthetic": SyntheticHead}


@hookimpl
def register_decoders() -> Mapping[str, Callable[..., codecs.Codec]]:
    return {"msra": codecs.MSRACodec, "dark": codecs.DarkCodec, "udp": codecs.UDPCodec}
