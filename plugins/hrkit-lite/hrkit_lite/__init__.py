"""Small weights for hrkit that work offline: detector `lite_person`, pose networks `lite` and `lite_plus`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl, lazy

if TYPE_CHECKING:
    from torch import nn

    from hrkit.detectors.base import Detector
    from hrkit.weights import WeightsEntry

FOLDER = Path(__file__).parent
MARGIN = 1.1  # of the crops; 1.25 as in training costs these networks a point of AP on detected boxes
SMALL_MARGIN = 1.05  # of small crops, in which each px counts
THUNDER = "MoveNet SinglePose Thunder v4 (Google)"


@hookimpl
def register_detectors() -> Mapping[str, Callable[..., Detector]]:
    """`lite_person`."""
    return {"lite_person": lazy("hrkit_lite.person_detector:lite_person")}


@hookimpl
def register_backbones() -> Mapping[str, Callable[..., nn.Module]]:
    """`lite`, and `lite_plus`, which is wider."""
    backbone = "hrkit_lite.pose_network:LiteBackbone"
    return {"lite": lazy(backbone), "lite_plus": lazy(backbone, width=1.75)}


@hookimpl
def register_heads() -> Mapping[str, Callable[..., nn.Module]]:
    """`lite`."""
    return {"lite": lazy("hrkit_lite.pose_network:LiteHead")}


@hookimpl
def register_weights() -> Sequence[WeightsEntry]:
    """What lies in this package; the model cards are in the README."""
    from hrkit.weights import WeightsEntry

    pose = functools.partial(
        WeightsEntry,
        kind="pose",
        head="lite",
        codec="dark",
        sigma=2.0,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        channel_order="rgb",
        licence="Apache-2.0",
    )
    return [
        WeightsEntry(
            name="lite_person",
            model="lite_person",
            kind="detector",
            file=FOLDER / "lite_person.safetensors",
            checksum="sha256:b31677557142e9d0497750df5850d5bfe8a6a6a61c69787de1cb85062145966d",
            licence="Apache-2.0",
            source="trained further from NanoDet-g (RangiLyu)",
            default=True,
        ),
        pose(
            name="lite-coco-192x160",
            model="lite",
            backbone_options={"width": 1.75},
            file=FOLDER / "lite_plus_pose.safetensors",
            input_size=(192, 160),
            margin=SMALL_MARGIN,
            metrics={"AP (own split)": 0.543},
            source=f"fine-tuned from {THUNDER}",
            default=True,
        ),
        pose(
            name="lite-coco-256x192",
            model="lite",
            file=FOLDER / "lite_pose.safetensors",
            input_size=(256, 192),
            margin=MARGIN,
            metrics={"AP (own split)": 0.498},
            source="fine-tuned from MoveNet SinglePose Lightning v4 (Google)",
        ),
        pose(
            name="lite_plus-coco-256x192",
            model="lite_plus",
            file=FOLDER / "lite_plus_pose.safetensors",
            input_size=(256, 192),
            margin=MARGIN,
            metrics={"AP (own split)": 0.581},
            source=f"fine-tuned from {THUNDER}",
            default=True,
        ),
    ]
