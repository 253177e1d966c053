"""Boxes from a detection json or a detector, and the annotated person that each stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

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
from hrkit.structures import Detections, Frame

Result = TypeVar("Result")

PERSON = 1
"""COCO's category id of people."""

PICTURES_AT_ONCE = 8
"""The number of pictures per call of a detector."""


def read_detections(path: str | Path, dataset: KeypointDataset, *, threshold: float = 0.0) -> KeypointDataset:
    """The pictures of `dataset` with the people of a COCO detection json, with their scores.

    The file is a list of `image_id`, `category_id`, `bbox` (x, y, width, height in frame px) and `score`, such as the
    official `COCO_val2017_detections_AP_H_56_person.json`. Other categories, scores below `threshold` and boxes
    without area are left out.

    Raises `DatasetError`, with file, count and first row or id, for damaged rows, for pictures that are not in
    `dataset`, and if no box is left.
    """
    file = Path(path)
    rows = read_json(file, DatasetError)
    if not isinstance(rows, list):
        raise DatasetError(f"{file}: wanted a list of image_id, category_id, bbox and score, as COCO's detections")
    wrong = [place for place, row in enumerate(rows) if not _is_complete(row)]
    if wrong:
        raise DatasetError(
            f"{file}: {len(wrong)} of {len(rows)} rows lack image_id, category_id, a bbox of 4 finite numbers or a "
            f"score, first row {wrong[0]}"
        )
    rows = [row for row in rows if row["category_id"] == PERSON]
    if not rows:
        raise DatasetError(f"{file}: no boxes of people in it (category {PERSON})")
    boxes = np.array([row["bbox"] for row in rows], np.float64)
    scores = np.array([row["score"] for row in rows], np.float64)
    ids = np.array([row["image_id"] for row in rows], np.int64)
    missing = np.setdiff1d(ids, dataset.image_ids)
    if len(missing):
        raise DatasetError(f"{file}: {len(missing)} pictures are not in {dataset.name}, first id {missing[0]}")
    kept = (scores >= threshold) & (boxes[:, 2:] > 0).all(1)
    if not kept.any():
        raise DatasetError(f"{file}: none of its {len(rows)} people has a score of {threshold:g} or more, and an area")
    return dataset.with_boxes(ids[kept], xywh_to_xyxy(boxes[kept]), scores[kept])


def _is_complete(row: Any) -> bool:  # whatever a json may hold
    try:
        numbers = [*row["bbox"], row["score"], row["image_id"]]
        return len(numbers) == 6 and bool(np.isfinite(numbers).all()) and "category_id" in row
    except (KeyError, TypeError, IndexError):
        return False


def detect_people(
    detector: Detector, dataset: KeypointDataset, *, device: torch.device, progress: bool = True
) -> KeypointDataset:
    """The pictures of `dataset`, also those without people, with the boxes and scores of a detector.

    A detector that is a `torch.nn.Module` is moved to `device`. Under torchrun each rank takes a part of the pictures
    and gets all results. Raises `PluginError` for a detector that breaks the contract, `DatasetError` for a picture
    that cannot be read.
    """
    if isinstance(detector, torch.nn.Module):
        detector.eval().to(device)

    def detect(frames: list[Frame]) -> list[Detections]:
        found = detector.detect(frames)
        if len(found) != len(frames) or not all(isinstance(one, Detections) for one in found):
            name = type(detector).__name__
            raise PluginError(f"{name}.detect must give one Detections for each of {len(frames)} frames")
        # boxes without area are dropped
        return [one[np.flatnonzero((one.xyxy[:, 2:] > one.xyxy[:, :2]).all(1))] for one in found]

    with torch.inference_mode():
        return with_detections(dataset, map_pictures(detect, dataset, PICTURES_AT_ONCE, progress))


def map_pictures(
    work: Callable[[list[Frame]], list[Result]], dataset: KeypointDataset, batch_size: int, progress: bool
) -> list[Result]:
    """The results of `work`, which takes up to `batch_size` frames, for all pictures of a dataset in their order.

    Under torchrun each rank takes a part of the pictures and gets all results.
    """
    world, count = current_world(), len(dataset.image_paths)
    parts: list[tuple[int, list[Result]]] = []
    with tqdm(total=count, unit="pictures", disable=not (progress and world.is_first), dynamic_ncols=True) as bar:
        for start in range(world.rank * batch_size, count, world.size * batch_size):
            frames = [read_frame(path) for path in dataset.image_paths[start : start + batch_size]]
            parts.append((start, work(frames)))
            bar.update(min(len(frames) * world.size, count - bar.n))
    return [result for _, results in sorted(gather_lists(parts), key=lambda part: part[0]) for result in results]


def with_detections(dataset: KeypointDataset, found: Sequence[Detections]) -> KeypointDataset:
    """The pictures of a dataset with the detections in each."""
    ids = np.repeat(dataset.image_ids, [len(one) for one in found])
    boxes = np.concatenate([np.zeros((0, 4)), *(one.xyxy for one in found)])
    return dataset.with_boxes(ids, boxes, np.concatenate([np.zeros(0), *(one.scores for one in found)]))


def match_boxes(
    annotated: KeypointDataset, found: KeypointDataset, iou_threshold: float = 0.5
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of annotated people and, for each, the row of the found box that matches; unmatched people are left out.

    Both datasets have the same pictures. As in COCO's evaluation, each found box, in the order of falling score, takes
    the free person of its picture with the highest IoU, if that is at least `iou_threshold`.
    """
    pairs = []
    by_score = np.argsort(-found.scores, kind="stable")
    for picture in np.unique(annotated.image_index):
        people = np.flatnonzero(annotated.image_index == picture)
        boxes = by_score[found.image_index[by_score] == picture]
        overlap = box_iou(torch.tensor(found.boxes[boxes]), torch.tensor(annotated.boxes[people])).numpy()
        for box, shares in zip(boxes, overlap, strict=True):
            best = int(shares.argmax())
            if shares[best] >= iou_threshold:
                pairs.append((people[best], box))
                overlap[:, best] = -1
    rows = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]
