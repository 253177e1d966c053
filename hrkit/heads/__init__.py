"""Heads (features -> heatmaps) and codecs (heatmaps <-> keypoints). Each is imported when it is first built."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hrkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import nn

    from hrkit.heads.codecs import Codec


def _later(module: str, name: str) -> Callable[..., Any]:
    """The class `name`, imported when it is called."""
    return lambda **options: getattr(importlib.import_module(module), name)(**options)


@hookimpl
def register_heads() -> Mapping[str, Callable[..., nn.Module]]:
    """hrkit's own heads."""
    return {
        "heatmap": _later("hrkit.heads.heatmap", "HeatmapHead"),
        "deconv": _later("hrkit.heads.heatmap", "DeconvHead"),
        "fpn": _later("hrkit.heads.fpn", "FPNHead"),
        "synthetic": _later("hrkit.synthetic", "SyntheticHead"),
    }


@hookimpl
def register_decoders() -> Mapping[str, Callable[..., Codec]]:
    """hrkit's own codecs."""
    return {
        "msra": _later("hrkit.heads.codecs", "MSRACodec"),
        "dark": _later("hrkit.heads.codecs", "DarkCodec"),
        "udp": _later("hrkit.heads.codecs", "UDPCodec"),
    }
