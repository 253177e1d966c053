"""Backbones: image (N,3,H,W) -> list of features, finest first. Each is imported when it is first built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl, lazy

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def register_backbones() -> Mapping[str, Callable[..., nn.Module]]:
    """hrkit's own backbones."""
    return {
        "hrnet_w32": lazy("hrkit.backbones.hrnet:hrnet", "32"),
        "hrnet_w48": lazy("hrkit.backbones.hrnet:hrnet", "48"),
        "hrnet_w*": lazy("hrkit.backbones.hrnet:hrnet"),
        "hrnetv2_w18": lazy("hrkit.backbones.hrnet:hrnetv2", "18"),
        "hrnetv2_w*": lazy("hrkit.backbones.hrnet:hrnetv2"),
        **{f"pose_resnet_{d}": lazy("hrkit.backbones.resnet:ResNet", d) for d in (18, 34, 50, 101, 152)},
        "timm/*": lazy("hrkit.backbones.timm_backbone:TimmBackbone"),
        "synthetic": lazy("hrkit.synthetic:SyntheticBackbone"),
    }
