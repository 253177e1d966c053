"""RTMPose, RTMW and RTMDet for hrkit: poses of bodies, hands, faces and animals in real time on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
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
        **{f"rtmw_{size}": lazy(_TRUNK, size, "rtmw") for size in "mlx"},
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
    """What MMPose and MMDetection published, from `published.tsv`.

    Names are `<model>-<dataset>-<height>x<width>[-<variant>]`. `aic` was trained on AI Challenger and COCO, `dw` by
    distillation (DWPose), and `udp` names the codec. `body8` stands for eight body datasets, `cocktail14`, `face6` and
    `hand5` for as many datasets of whole bodies, faces and hands. The figures are those of the model zoos: AP of whole
    bodies is on COCO-WholeBody, that of detectors is of boxes, and NME is a share of the face's size.
    """
    from hrkit.weights.catalogue import read_entries

    return read_entries(Path(__file__).with_name("published.tsv"), licence="Apache-2.0")
