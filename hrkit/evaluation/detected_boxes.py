"""Boxes that nobody annotated: from a detection json or a detector, and which annotated person each stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou
from tqdm import tqdm

from hrkit.datasets.base import KeypointDataset, read_frame
from hrkit.detectors.base import Detector
from hrkit.errors import DatasetError, PluginError
from hrkit.files import read_json
from hrkit.geometry import xywh_to_xyxy
from hrkit.runtimes.distributed import current_world, gather_lists
from hrkit.structures import Detections

PERSON = 1
"""COCO's category."""

PICTURES_AT_ONCE = 8
"""How many go to a detector in one call."""


def read_detections(path: str | Path, dataset: KeypointDataset, *, threshold: float = 0.0) -> KeypointDataset:
    """The pictures of `dataset` with the people of a COCO detection json, scores kept.

    The file is a list of `image_id`, `category_id`, `bbox` (x, y, width, height in frame px) and `score`, as the
    official `COCO_val2017_detections_AP_H_56_person.json`. Other categories, scores below `threshold` and boxes
    without area are left out.

    Raises `DatasetError`, with file, count and first row or id, for what is damaged, for pictures that `dataset` has
    not, and where nobody is left.
    """
    file = Path(path)
    rows = _read_rows(file)
    rows = [row for row in rows if row["category_id"] == PERSON]
    if not rows:
        raise DatasetError(f"{file}: no boxes of people in it (category {PERSON})")
    boxes = np.array([row["bbox"] for row in rows], np.float64)
    scores = np.array([row["score"] for row in rows], np.float64)
    ids = np.array([row["image_id"] for row in rows], np.int64)
    known = np.isin(ids, dataset.image_ids)
    if not known.all():
        missing = np.unique(ids[~known])
        raise DatasetError(f"{file}: {len(missing)} pictures are not in {dataset.name}, first id {missing[0]}")
    kept = (scores >= threshold) & (boxes[:, 2:] > 0).all(1)
    if not kept.any():
        raise DatasetError(f"{file}: none of its {len(rows)} people has a score of {threshold:g} or more, and an area")
    return dataset.with_boxes(ids[kept], xywh_to_xyxy(boxes[kept]), scores[kept])


def detect_people(
    detector: Detector, dataset: KeypointDataset, *, device: torch.device, progress: bool = True
) -> KeypointDataset:
    """The pictures of `dataset`, those without people too, with what a detector finds; scores kept.

    A detector that is a network is moved to `device`. Under torchrun each rank takes its part of the pictures, and all
    get everything. Raises `PluginError` for a detector that breaks the contract, `DatasetError` for a picture that
    cannot be read.
    """
    if isinstance(detector, torch.nn.Module):
        detector.eval().to(device)
    world, count = current_world(), len(dataset.image_paths)
    parts: list[tuple[int, list[Detections]]] = []
    bar = tqdm(total=count, unit="pictures", disable=not (progress and world.is_first), dynamic_ncols=True)
    with torch.inference_mode(), bar:
        for start in range(world.rank * PICTURES_AT_ONCE, count, world.size * PICTURES_AT_ONCE):
            frames = [read_frame(path) for path in dataset.image_paths[start : start + PICTURES_AT_ONCE]]
            here = detector.detect(frames)
            if len(here) != len(frames) or not all(isinstance(one, Detections) for one in here):
                name = type(detector).__name__
                raise PluginError(f"{name}.detect must give one Detections for each of {len(frames)} frames")
            # a box without area is nobody
            parts.append((start, [one[np.flatnonzero((one.xyxy[:, 2:] > one.xyxy[:, :2]).all(1))] for one in here]))
            bar.update(min(len(frames) * world.size, count - bar.n))
    found = [one for _, here in sorted(gather_lists(parts), key=lambda part: part[0]) for one in here]
    ids = np.repeat(dataset.image_ids, [len(one) for one in found])
    boxes = np.concatenate([np.zeros((0, 4)), *(one.xyxy for one in found)])
    return dataset.with_boxes(ids, boxes, np.concatenate([np.zeros(0), *(one.scores for one in found)]))


def match_boxes(
    annotated: KeypointDataset, found: KeypointDataset, iou_threshold: float = 0.5
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of annotated people and, for each, the row of the found box that stands for them; the rest left out.

    Both datasets hold the same pictures. In each, found boxes by falling score take the person of highest IoU that is
    still free, if it is at least `iou_threshold`, as COCO matches.
    """
    people: dict[int, list[int]] = {}
    for row, picture in enumerate(annotated.image_index.tolist()):
        people.setdefault(picture, []).append(row)
    boxes: dict[int, list[int]] = {}
    for row in np.argsort(-found.scores, kind="stable").tolist():
        boxes.setdefault(int(found.image_index[row]), []).append(row)
    pairs = []
    for picture, theirs in people.items():
        ours = boxes.get(picture, [])
        overlap = box_iou(torch.tensor(found.boxes[ours]), torch.tensor(annotated.boxes[theirs])).numpy()
        for row, shares in zip(ours, overlap, strict=True):
            best = int(shares.argmax())
            if shares[best] >= iou_threshold:
                pairs.append((theirs[best], row))
                overlap[:, best] = -1
    rows = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a detection json, all of them whole."""
    rows = read_json(file, DatasetError)
    if not isinstance(rows, list):
        raise DatasetError(f"{file}: wanted a list of image_id, category_id, bbox and score, as COCO's detections")
    wrong = [place for place, row in enumerate(rows) if not _is_whole(row)]
    if wrong:
        raise DatasetError(
            f"{file}: {len(wrong)} of {len(rows)} rows lack image_id, category_id, a bbox of 4 finite numbers or a "
            f"score, first row {wrong[0]}"
        )
    return rows


def _is_whole(row: Any) -> bool:
    try:
        numbers = [*row["bbox"], row["score"], row["image_id"]]
        return len(numbers) == 6 and bool(np.isfinite(numbers).all()) and "category_id" in row
    except (KeyError, TypeError, IndexError):
        return False
