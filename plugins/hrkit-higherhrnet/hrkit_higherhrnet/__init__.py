"""HigherHRNet for hrkit: everybody in a picture at once, without a person detector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hrkit import hookimpl

if TYPE_CHECKING:
    from torch import nn

    from hrkit.weights.catalogue import WeightsEntry


@hookimpl
def register_backbones() -> Mapping[str, Callable[..., nn.Module]]:
    """`higher_hrnet_w32` and `higher_hrnet_w48`, the published ones, and any other width."""
    return {
        "higher_hrnet_w32": lambda **options: _backbone("32", **options),
        "higher_hrnet_w48": lambda **options: _backbone("48", **options),
        "higher_hrnet_w*": _backbone,
    }


@hookimpl
def register_heads() -> Mapping[str, Callable[..., nn.Module]]:
    """`higher`."""
    return {"higher": _head}


@hookimpl
def register_weights() -> Sequence[WeightsEntry]:
    """The authors' own weights and MMPose's."""
    from hrkit_higherhrnet.weights import published_entries

    return published_entries()


def _backbone(width: str, **options: Any) -> nn.Module:
    from hrkit_higherhrnet.network import higher_backbone

    return higher_backbone(width, **options)


def _head(**options: Any) -> nn.Module:
    from hrkit_higherhrnet.network import HigherHead

    return HigherHead(**options)
