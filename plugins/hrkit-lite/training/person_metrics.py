"""How good a person detector is: average precision, recall, and whether its scores mean what they say."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from person_samples import Photo

from hrkit.images import read_image
from hrkit.structures import Detections

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0, 1, 101)
AT_ONCE = 8
"""Photos that go to the detector in one call."""


@frozen(eq=False)
class Judged:
    """Boxes of all photos, best score first, and which of them found somebody."""

    scores: NDArray[np.float64]
    """(N,)."""
    right: NDArray[np.bool_]
    """(10,N) whether the box is the best one for a person, at each of `IOU_THRESHOLDS`."""
    photo: NDArray[np.int64]
    """(N,) index of the photo."""
    xyxy: NDArray[np.float64]
    """(N,4) photo px."""
    people: int
    """Number of annotated people."""
    photos: int

    def average_precision(self) -> NDArray[np.float64]:
        """(10,) at each of `IOU_THRESHOLDS`, as COCO's evaluation: the mean of 101 points of the curve."""
        found = self.right.cumsum(1)
        recall = found / max(self.people, 1)
        precision = found / np.arange(1, len(self.scores) + 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        values = []
        for one_recall, one_envelope in zip(recall, envelope, strict=True):
            places = np.searchsorted(one_recall, RECALL_POINTS)
            values.append(np.append(one_envelope, 0)[np.minimum(places, len(one_envelope))].mean())
        return np.array(values)

    def recall(self, boxes_per_photo: float) -> float:
        """The share of people found at IoU 0.5 by the best boxes, so many per photo on average."""
        count = round(boxes_per_photo * self.photos)
        return float(self.right[0, :count].sum() / max(self.people, 1))

    def threshold(self, boxes_per_photo: float) -> float:
        """The score above which there are so many boxes per photo on average."""
        count = min(round(boxes_per_photo * self.photos), len(self.scores))
        return float(self.scores[count - 1]) if count else 1.0

    def calibration(self, edges: Sequence[float]) -> list[tuple[float, float, int]]:
        """For each pair of neighbouring `edges`: mean score, share that found somebody at IoU 0.5, number of boxes."""
        rows = []
        for low, high in itertools.pairwise(edges):
            within = (self.scores >= low) & (self.scores < high)
            if within.any():
                rows.append((float(self.scores[within].mean()), float(self.right[0, within].mean()), int(within.sum())))
        return rows


Detect = Callable[[list[NDArray[np.uint8]]], list[Detections]]


def judge(detect: Detect, photos: Sequence[Photo], most: int = 100) -> Judged:
    """What a detector finds in photos; at most `most` boxes of each count. Its threshold should be near 0."""
    scores, right, places, boxes = [], [], [], []
    for start in range(0, len(photos), AT_ONCE):
        chunk = photos[start : start + AT_ONCE]
        for place, (photo, found) in enumerate(zip(chunk, detect([read_image(p.path) for p in chunk]), strict=True)):
            xyxy = found.xyxy[:most].astype(np.float64)
            scores.append(found.scores[:most].astype(np.float64))
            right.append(matched(xyxy, photo.people.astype(np.float64)))
            places.append(np.full(len(xyxy), start + place))
            boxes.append(xyxy)
    together = np.concatenate(scores)
    order = np.argsort(-together, kind="stable")
    return Judged(
        together[order],
        np.concatenate(right, 1)[:, order],
        np.concatenate(places)[order],
        np.concatenate(boxes)[order],
        sum(len(photo.people) for photo in photos),
        len(photos),
    )


def matched(boxes: NDArray[np.float64], people: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(10,N) whether each of (N,4) boxes, best first, gets one of (M,4) people of its own, at each IoU threshold."""
    overlap = iou(boxes, people)
    right = np.zeros((len(IOU_THRESHOLDS), len(boxes)), bool)
    for row, threshold in zip(right, IOU_THRESHOLDS, strict=True):
        free = overlap.copy()
        for index in range(len(boxes) if people.size else 0):
            best = free[index].argmax()
            if free[index, best] >= threshold:
                row[index] = True
                free[:, best] = -1
    return right


def iou(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,4) and (M,4) -> (N,M)."""
    low, high = np.maximum(boxes[:, None, :2], others[:, :2]), np.minimum(boxes[:, None, 2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas, other_areas = ((b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, others))
    return shared / np.maximum(areas[:, None] + other_areas - shared, 1e-9)
