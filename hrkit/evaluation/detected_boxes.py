"""Boxes from a detection json or a detector, and the annotated person that each stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from hrkit.datasets.base import KeypointDataset, read_frame
from hrkit.datasets.records import Detection, read_records
from hrkit.detectors.base import Detector
from hrkit.errors import DatasetError, PluginError
from hrkit.files import FilePath, read_json
from hrkit.geometry import xywh_to_xyxy
from hrkit.ops.suppression import box_iou
from hrkit.runtimes.distributed import current_world, gather_lists
from hrkit.structures import Detections, Frame

Result = TypeVar("Result")

PICTURES_AT_ONCE = 8
"""The largest number of whole pictures per call of a detector or network."""


def read_detections(
    path: FilePath, dataset: KeypointDataset, *, threshold: float = 0.0, skip_bad: bool = False
) -> KeypointDataset:
    """The pictures of `dataset` with the people of a COCO detection json, with their scores.

    The file is a list of `image_id`, `category_id`, `bbox` (x, y, width, height in frame px) and `score`, such as the
    official `COCO_val2017_detections_AP_H_56_person.json`. Categories that `dataset` has not, scores below `threshold`
    and boxes without area are left out.

    Raises `DatasetError`, with file, row, field and count, for faulty rows and for pictures that are not in `dataset`,
    which are left out with `skip_bad`, and if no box is left.
    """
    file = Path(path)
    rows = read_json(file, DatasetError)
    if not isinstance(rows, list):
        raise DatasetError(f"{file}: wanted a list of image_id, category_id, bbox and score, as COCO's detections")
    known = {str(image_id) for image_id in dataset.image_ids.tolist()}
    own = {str(category_id): category_id for category_id in np.unique(dataset.category_ids).tolist()}

    def problem(row: Detection) -> tuple[str, str] | None:
        return None if str(row.image_id) in known else ("image_id", f"{row.image_id!r} is the id of no picture")

    found = read_records(Detection, rows, file, "detections", problem, skip_bad=skip_bad).values()
    of_kind = [row for row in found if str(row.category_id) in own]
    if not of_kind:
        there = ", ".join(sorted({str(row.category_id) for row in found})) or "none"
        raise DatasetError(f"{file}: no boxes of category {', '.join(own)} in it (categories: {there})")
    kept = [row for row in of_kind if row.score >= threshold and row.bbox[2:].min() > 0]
    if not kept:
        raise DatasetError(
            f"{file}: none of its {len(of_kind)} boxes has a score of {threshold:g} or more, and an area"
        )
    boxes = xywh_to_xyxy(np.array([row.bbox for row in kept]))
    columns = ([row.image_id for row in kept], boxes, [row.score for row in kept])
    return dataset.with_boxes(*columns, category_ids=[own[str(row.category_id)] for row in kept])


def detect_people(
    detector: Detector, dataset: KeypointDataset, *, device: torch.device, progress: bool = True
) -> KeypointDataset:
    """The pictures of `dataset`, also those without people, with the boxes and scores of a detector.

    A detector that is a `torch.nn.Module` is moved to `device`. Under torchrun each rank takes a part of the pictures
    and gets all results. Raises `PluginError` for a detector that breaks the contract, `DatasetError` for a picture
    that cannot be read.
    """
    dataset.only_category()  # which its boxes get
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
    for people, boxes, overlap in _overlaps(annotated, found):
        for box, shares in zip(boxes, overlap, strict=True):
            best = int(shares.argmax())
            if shares[best] >= iou_threshold:
                pairs.append((people[best], box))
                overlap[:, best] = -1
    rows = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def count_boxes(annotated: KeypointDataset, found: KeypointDataset) -> dict[str, int]:
    """What became of the annotated people and of the found boxes; both datasets have the same pictures.

    People are `found` if a box matches them, as in `match_boxes`, else `missed`. Further boxes that have an IoU of 0.5
    or more with a person are `twice`, boxes that have an IoU under 0.1 with everybody `invented`, and others `inexact`.
    """
    right = np.zeros(len(found), bool)
    right[match_boxes(annotated, found)[1]] = True
    overlap = np.zeros(len(found))
    for _, boxes, shares in _overlaps(annotated, found):
        overlap[boxes] = shares.max(1)
    twice, invented = ~right & (overlap >= 0.5), overlap < 0.1
    return {
        "found": int(right.sum()),
        "missed": int(len(annotated) - right.sum()),
        "twice": int(twice.sum()),
        "invented": int(invented.sum()),
        "inexact": int((~right & ~twice & ~invented).sum()),
    }


def _overlaps(
    annotated: KeypointDataset, found: KeypointDataset
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Rows of people, rows of boxes by falling score, and their IoU (boxes, people), of each picture with people."""
    by_score = np.argsort(-found.scores, kind="stable")
    for picture in np.unique(annotated.image_index):
        people = np.flatnonzero(annotated.image_index == picture)
        boxes = by_score[found.image_index[by_score] == picture]
        yield people, boxes, box_iou(torch.tensor(found.boxes[boxes]), torch.tensor(annotated.boxes[people])).numpy()
