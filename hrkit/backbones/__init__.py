"""Backbones: image (N,3,H,W) -> list of features, finest first. Each is imported when it is first built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hrkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import nn


def _hrnet(width: str = "32", **options: Any) -> nn.Module:
    from hrkit.backbones.hrnet import hrnet

    return hrnet(width, **options)


def _pose_resnet(depth: int) -> Callable[..., nn.Module]:
    def build(**options: Any) -> nn.Module:
        from hrkit.backbones.pose_resnet import ResNet

        return ResNet(depth, **options)

    return build


def _timm(name: str, **options: Any) -> nn.Module:
    from hrkit.backbones.timm_backbone import TimmBackbone

    return TimmBackbone(name, **options)


def _synthetic(**options: Any) -> nn.Module:
    from hrkit.synthetic import SyntheticBackbone

    return SyntheticBackbone(**options)


@hookimpl
def register_backbones() -> Mapping[str, Callable[..., nn.Module]]:
    return {
        "hrnet_w32": lambda **options: _hrnet("32", **options),
        "hrnet_w48": lambda **options: _hrnet("48", **options),
        "hrnet_w*": _hrnet,
        **{f"pose_resnet_{depth}": _pose_resnet(depth) for depth in (18, 34, 50, 101, 152)},
        "timm/*": _timm,
        "synthetic": _synthetic,
    }
