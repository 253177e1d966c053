"""How many of the people in a COCO json a detector finds.

    python tools/measure_person_recall.py IMAGES ANNOTATIONS lite_person
    python tools/measure_person_recall.py IMAGES ANNOTATIONS yolov3_tiny --weights yolov3-tiny.weights
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrkit.detectors.base import Detector
from hrkit.images import read_image
from hrkit.pipeline import create_detector

AT_ONCE = 8
"""Pictures that go to the detector in one call."""


def person_recall(
    detector: Detector, images: Path, annotations: Path, *, iou_threshold: float = 0.5
) -> tuple[float, int]:
    """The share of annotated people that have a box of their own, and the number of boxes a detector gave.

    Boxes choose by falling score, each the free person of the best IoU of at least `iou_threshold`, as in COCO's
    evaluation.
    """
    content = json.loads(annotations.read_text())
    people: dict[int, list[list[float]]] = {}
    for annotation in content["annotations"]:
        people.setdefault(annotation["image_id"], []).append(annotation["bbox"])
    found = boxes = 0
    records = content["images"]
    for start in range(0, len(records), AT_ONCE):
        chunk = records[start : start + AT_ONCE]
        for record, detections in zip(
            chunk, detector.detect([read_image(images / record["file_name"]) for record in chunk]), strict=True
        ):
            xywh = np.array(people.get(record["id"], []), np.float64).reshape(-1, 4)
            truth = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
            found += matched(detections.xyxy.astype(np.float64), truth, iou_threshold)
            boxes += len(detections)
    return found / sum(map(len, people.values())), boxes


def matched(boxes: NDArray[Any], truth: NDArray[Any], iou_threshold: float) -> int:
    """How many of (M,4) true boxes get one of (N,4) boxes, which come by falling score."""
    low, high = np.maximum(boxes[:, None, :2], truth[:, :2]), np.minimum(boxes[:, None, 2:], truth[:, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = [(corners[:, 2:] - corners[:, :2]).prod(1) for corners in (boxes, truth)]
    overlap = shared / (areas[0][:, None] + areas[1] - shared)
    count = 0
    for row in overlap if overlap.size else []:
        if row.max() >= iou_threshold:
            overlap[:, row.argmax()] = -1  # taken
            count += 1
    return count


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("detector")
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--threshold", type=float, default=0.25)
    arguments = parser.parse_args()
    detector = create_detector(arguments.detector, weights=arguments.weights, threshold=arguments.threshold)
    recall, boxes = person_recall(detector, arguments.images, arguments.annotations)
    print(f"{arguments.detector}: recall {recall:.4f} at IoU 0.5 and score {arguments.threshold}, {boxes} boxes")


if __name__ == "__main__":
    main()
