"""The published weights, as data: those of the authors and MMPose's."""

from __future__ import annotations

from hrkit.zoo import WeightsEntry

_GOOGLE_DRIVE = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"
_MMPOSE = "https://download.openmmlab.com/mmpose/bottom_up/{}.pth"

# width, short side, COCO val2017 at a single scale with the mirrored pass: AP, AP50, AP75, APM, APL; id of the file
_OFFICIAL = """
32 512 .671 .862 .730 .615 .761 1V9Iz0ZYy9m8VeaspfKECDW0NKlGsYmO1
32 640 .685 .871 .747 .643 .753 1uEcQlm1rjV-JRgVbaP79Y5sMLqUX2ciD
48 640 .699 .872 .761 .654 .764 10j9Wx_I2H6qaw-prAdlJ44fLryDtA-ah
"""

# width, short side, AP, AP50, AP75, AR, AR50; file name, which holds the first 8 digits of its sha256
_MMPOSE_ROWS = """
32 512 .677 .870 .738 .723 .890 higher_hrnet32_coco_512x512-8ae85183_20200713
32 640 .686 .871 .747 .733 .898 higher_hrnet32_coco_640x640-a22fe938_20200712
48 512 .686 .873 .741 .731 .892 higher_hrnet48_coco_512x512-60fedcbc_20200712
"""

_DEFAULTS = {("32", "512"), ("48", "512")}
"""Of MMPose's, whose checksums are known."""


def published_entries() -> list[WeightsEntry]:
    """Every entry; of the authors' files no checksum was published."""
    return [*_mmpose(), *_official()]


def _mmpose() -> list[WeightsEntry]:
    entries = []
    for row in _MMPOSE_ROWS.strip().splitlines():
        width, side, *metrics, file = row.split()
        names = ("AP", "AP50", "AP75", "AR", "AR50")
        entries.append(
            WeightsEntry(
                f"higher_hrnet_w{width}-coco-{side}",
                f"higher_hrnet_w{width}",
                url=_MMPOSE.format(file),
                checksum=f"sha256:{file.split('-')[1].split('_')[0]}",
                input_size=(int(side), int(side)),
                metrics=dict(zip(names, map(float, metrics), strict=True)),
                licence="Apache-2.0",
                source="MMPose",
                default=(width, side) in _DEFAULTS,
            )
        )
    return entries


def _official() -> list[WeightsEntry]:
    entries = []
    for row in _OFFICIAL.strip().splitlines():
        width, side, *metrics, file = row.split()
        names = ("AP", "AP50", "AP75", "APM", "APL")
        entries.append(
            WeightsEntry(
                f"official-higher_hrnet_w{width}-coco-{side}",
                f"higher_hrnet_w{width}",
                url=_GOOGLE_DRIVE.format(file),
                input_size=(int(side), int(side)),
                metrics=dict(zip(names, map(float, metrics), strict=True)),
                licence="MIT",
                source="HigherHRNet",
            )
        )
    return entries
