"""The published weights that hrkit's own networks load, read from `published.tsv`.

The entries of MMPose's files are named `<model>-<dataset>-<height>x<width>[-<variant>]`. The variants `dark` and `udp`
also name the codec; `aic` was trained on AI Challenger and COCO. The figures are from MMPose's model zoo, on COCO
val2017 with a person detector and on MPII val. The table leaves out files that these networks cannot load (LiteHRNet,
the UDP model with offset channels, the COCO-AIC model with 19 joints) and ResNet-101 384x288, whose published address
gives the 256x192 file. The authors of HRNet published no checksums. The sha1 of Darknet's YOLOv3 is from OpenCV's
samples.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from hrkit.weights.entry import WeightsEntry

_READERS: dict[str, Callable[[str], Any]] = {  # Any: what a field holds depends on its column; other columns are text
    "input_size": lambda text: text.split("x"),
    "sigma": float,
    "mean": str.split,
    "std": str.split,
    "metrics": lambda text: {name: float(value) for name, value in (part.split("=") for part in text.split())},
    "default": lambda text: text == "yes",
    "size": int,
}


def published_entries() -> list[WeightsEntry]:
    """Pose networks and detectors, and classification weights to start training a backbone with."""
    with (files("hrkit.weights") / "published.tsv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    return [WeightsEntry(**{name: _READERS.get(name, str)(text) for name, text in row.items() if text}) for row in rows]
