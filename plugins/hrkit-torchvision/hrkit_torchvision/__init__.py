"""torchvision's detectors for hrkit, under the names of torchvision's builders.

Importing this package does not load torchvision; building a detector does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl, lazy

if TYPE_CHECKING:
    from hrkit.weights.catalogue import WeightsEntry
    from hrkit_torchvision.detector import TorchvisionDetector

_URL = "https://download.pytorch.org/models/{}.pth"

# builder, input size ("-": frames keep their shape), box AP on COCO val2017, file name without .pth, which ends in the
# first 8 digits of its sha256. A copy of torchvision's *_Weights.COCO_V1, as listing weights must not load torchvision
_ROWS = """
fasterrcnn_resnet50_fpn               -       .370 fasterrcnn_resnet50_fpn_coco-258fb6c6
fasterrcnn_resnet50_fpn_v2            -       .467 fasterrcnn_resnet50_fpn_v2_coco-dd69338a
fasterrcnn_mobilenet_v3_large_fpn     -       .328 fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7
fasterrcnn_mobilenet_v3_large_320_fpn -       .228 fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9
retinanet_resnet50_fpn                -       .364 retinanet_resnet50_fpn_coco-eeacb38b
retinanet_resnet50_fpn_v2             -       .415 retinanet_resnet50_fpn_v2_coco-5905b1c5
fcos_resnet50_fpn                     -       .392 fcos_resnet50_fpn_coco-99b0c9b7
ssdlite320_mobilenet_v3_large         320x320  .213 ssdlite320_mobilenet_v3_large_coco-a79551df
ssd300_vgg16                          300x300  .251 ssd300_vgg16_coco-b556d3b4
"""

NAMES = tuple(row.split()[0] for row in _ROWS.strip().splitlines())
"""The detectors, which have the names of torchvision's builders."""


@hookimpl
def register_detectors() -> Mapping[str, Callable[..., TorchvisionDetector]]:
    """torchvision's detectors; see `hrkit_torchvision.detector.build` for their options."""
    return {name: lazy("hrkit_torchvision.detector:build", name) for name in NAMES}


@hookimpl
def register_weights() -> Sequence[WeightsEntry]:
    """torchvision's weights, trained on COCO: one entry per detector."""
    return [_entry(*row.split()) for row in _ROWS.strip().splitlines()]


def _entry(model: str, input_size: str, box_ap: str, file: str) -> WeightsEntry:
    from hrkit.weights.catalogue import WeightsEntry

    return WeightsEntry(
        f"{model}-coco",
        model,
        kind="detector",
        url=_URL.format(file),
        checksum=f"sha256:{file[-8:]}",
        input_size=None if input_size == "-" else tuple(map(int, input_size.split("x"))),
        metrics={"box AP": float(box_ap)},
        licence="BSD-3-Clause",
        source="torchvision",
        default=True,
    )
