"""HigherHRNet for hrkit: finds all people in a picture at once, without a person detector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl, lazy

if TYPE_CHECKING:
    from torch import nn

    from hrkit.weights.catalogue import WeightsEntry


@hookimpl
def register_backbones() -> Mapping[str, Callable[..., nn.Module]]:
    """The published `higher_hrnet_w32` and `higher_hrnet_w48`, and any other width."""
    build = "hrkit_higherhrnet.network:higher_backbone"
    return {
        "higher_hrnet_w32": lazy(build, "32"),
        "higher_hrnet_w48": lazy(build, "48"),
        "higher_hrnet_w*": lazy(build),
    }


@hookimpl
def register_heads() -> Mapping[str, Callable[..., nn.Module]]:
    """The head `higher`."""
    return {"higher": lazy("hrkit_higherhrnet.network:HigherHead")}


@hookimpl
def register_weights() -> Sequence[WeightsEntry]:
    """The weights of the authors and of MMPose."""
    from hrkit_higherhrnet.weights import published_entries

    return published_entries()
