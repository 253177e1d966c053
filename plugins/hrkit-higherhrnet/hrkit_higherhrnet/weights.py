"""The published weights of the authors and of MMPose, as tables."""

from __future__ import annotations

from typing import Any

import attrs

from hrkit.weights.catalogue import WeightsEntry, register_weights

_GOOGLE_DRIVE = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"
_MMPOSE = "https://download.openmmlab.com/mmpose/bottom_up/{}.pth"

# width, short side; AP, AP50, AP75, APM, APL on COCO val2017 at a single scale with flip test; file id
_OFFICIAL = """
32 512 .671 .862 .730 .615 .761 1V9Iz0ZYy9m8VeaspfKECDW0NKlGsYmO1
32 640 .685 .871 .747 .643 .753 1uEcQlm1rjV-JRgVbaP79Y5sMLqUX2ciD
48 640 .699 .872 .761 .654 .764 10j9Wx_I2H6qaw-prAdlJ44fLryDtA-ah
"""

# width, short side; AP, AP50, AP75, AR, AR50; file name, which contains the first 8 digits of its sha256
_MMPOSE_ROWS = """
32 512 .677 .870 .738 .723 .890 higher_hrnet32_coco_512x512-8ae85183_20200713
32 640 .686 .871 .747 .733 .898 higher_hrnet32_coco_640x640-a22fe938_20200712
48 512 .686 .873 .741 .731 .892 higher_hrnet48_coco_512x512-60fedcbc_20200712
"""

_DEFAULTS = {("32", "512"), ("48", "512")}
"""Default entries. They are MMPose's, as only their checksums are known."""


def published_entries() -> list[WeightsEntry]:
    """All entries. For the authors' files no checksum is published."""
    return [
        *map(_mmpose, _MMPOSE_ROWS.strip().splitlines()),
        *map(_official, _OFFICIAL.strip().splitlines()),
        *_imagenet(),
    ]


def _imagenet() -> list[WeightsEntry]:
    """ImageNet weights of HRNet's trunk, which this network shares."""
    return [
        attrs.evolve(entry, name=f"higher_{entry.name}", model=f"higher_{entry.model}")
        for entry in register_weights()
        if entry.kind == "backbone" and entry.model.startswith("hrnet_w")
    ]


def _mmpose(row: str) -> WeightsEntry:
    width, side, *metrics, file = row.split()
    return _entry(
        "", width, side, dict(zip(("AP", "AP50", "AP75", "AR", "AR50"), map(float, metrics), strict=True)),
        url=_MMPOSE.format(file),
        checksum=f"sha256:{file.split('-')[1].split('_')[0]}",
        licence="Apache-2.0",
        source="MMPose",
        default=(width, side) in _DEFAULTS,
    )  # fmt: skip


def _official(row: str) -> WeightsEntry:
    width, side, *metrics, file = row.split()
    return _entry(
        "official-", width, side, dict(zip(("AP", "AP50", "AP75", "APM", "APL"), map(float, metrics), strict=True)),
        url=_GOOGLE_DRIVE.format(file),
        licence="MIT",
        source="HigherHRNet",
    )  # fmt: skip


def _entry(prefix: str, width: str, side: str, metrics: dict[str, float], **facts: Any) -> WeightsEntry:  # Any: fields
    model = f"higher_hrnet_w{width}"
    return WeightsEntry(
        f"{prefix}{model}-coco-{side}", model, input_size=(int(side), int(side)), metrics=metrics, **facts
    )
