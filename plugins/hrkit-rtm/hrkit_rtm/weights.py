"""The published weights, from `published.tsv`.

Names are `<model>-<dataset>-<height>x<width>[-<variant>]`. `aic` was trained on AI Challenger and COCO, `dw` by
distillation (DWPose), and `udp` names the codec. `body8` stands for eight body datasets, `cocktail14`, `face6` and
`hand5` for as many datasets of whole bodies, faces and hands. The figures are those of MMPose's and MMDetection's model
zoos: AP of whole bodies is on COCO-WholeBody, that of detectors is of boxes, and NME is a share of the face's size.
"""

from __future__ import annotations

from pathlib import Path

from hrkit.weights import WeightsEntry
from hrkit.weights.catalogue import read_entries


def published_entries() -> list[WeightsEntry]:
    """All entries."""
    return read_entries(Path(__file__).with_name("published.tsv"), licence="Apache-2.0")
