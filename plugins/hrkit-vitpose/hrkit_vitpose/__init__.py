"""ViTPose and the detectors of Hugging Face transformers for hrkit.

Importing this package does not load transformers; building a network does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl, lazy

if TYPE_CHECKING:
    from torch import nn

    from hrkit.detectors.base import Detector
    from hrkit.heads.codecs import Codec
    from hrkit.weights import WeightsEntry


@hookimpl
def register_backbones() -> Mapping[str, Callable[..., nn.Module]]:
    """`vitpose_s`, `_b`, `_l`, `_h`, `vitpose_plus_*` with experts, and any ViTPose of the Hub as `hf/owner/name`."""
    plain, plus = "hrkit_vitpose.backbone:vitpose", "hrkit_vitpose.backbone:vitpose_plus"
    return {
        **{f"vitpose_{size}": lazy(plain, size) for size in "sb"},
        **{f"vitpose_plus_{size}": lazy(plus, size) for size in "sb"},
        # l and h have up to 0.9 G parameters: found by name, and not built by those who try whatever is registered
        "vitpose_*": lazy(plain),
        "vitpose_plus_*": lazy(plus),
        "hf/*": lazy("hrkit_vitpose.backbone:from_hub"),
    }


@hookimpl
def register_heads() -> Mapping[str, Callable[..., nn.Module]]:
    """`vitpose_classic` and `vitpose_simple`."""
    heads = "hrkit_vitpose.heads:"
    return {"vitpose_classic": lazy(f"{heads}ClassicHead"), "vitpose_simple": lazy(f"{heads}SimpleHead")}


@hookimpl
def register_decoders() -> Mapping[str, Callable[..., Codec]]:
    """`vitpose`, which decodes as transformers does."""
    return {"vitpose": lazy("hrkit_vitpose.codec:VitPoseCodec")}


@hookimpl
def register_detectors() -> Mapping[str, Callable[..., Detector]]:
    """Any detector of transformers on the Hub, as `hf/owner/name`."""
    return {"hf/*": lazy("hrkit_vitpose.detector:from_hub")}


@hookimpl
def register_weights() -> Sequence[WeightsEntry]:
    """MMPose's ViTPose files, those of the Hub under names of sizes, and whatever `hf/owner/name` stands for."""
    from hrkit.weights import read_entries

    return read_entries(Path(__file__).with_name("published.tsv"), licence="Apache-2.0")
