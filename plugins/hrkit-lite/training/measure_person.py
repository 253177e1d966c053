"""How good a person detector is on photos in COCO's format.

    python measure_person.py data/coco_val lite_person
    python measure_person.py data/coco_val lite_person --weights runs/person/average.safetensors

Annotations of COCO's keypoint files leave out crowds and people without a labelled joint, so some boxes that count as
wrong here are right.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from person_metrics import Judged, iou, judge
from person_samples import Photo, read_photos

from hrkit.images import read_image
from hrkit.pipeline import create_detector

CLOSE_UP = 0.6
"""Part of the picture's height and of its width that a box spans in a close-up."""
EDGES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder in COCO's format")
    parser.add_argument("detector", help="registered name")
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--nms-threshold", type=float, help="by default the detector's own")
    parser.add_argument("--input-size", type=int, help="longest side; by default the detector's own")
    parser.add_argument("--threshold", type=float, help="of the last figures; by default the detector's own")
    arguments = parser.parse_args()
    photos = read_photos(arguments.photos)
    usual = create_detector(arguments.detector, weights=arguments.weights).threshold  # type: ignore[attr-defined]
    threshold = usual if arguments.threshold is None else arguments.threshold
    sized = {} if arguments.input_size is None else {"input_size": arguments.input_size}
    detector = create_detector(
        arguments.detector,
        weights=arguments.weights,
        threshold=0.0001,
        nms_threshold=arguments.nms_threshold,
        **sized,
    )
    judged = judge(detector.prepared(torch.device("cpu"), "float32").detect, photos)  # type: ignore[attr-defined]
    precisions = judged.average_precision()
    print(f"AP {precisions.mean():.4f}  AP50 {precisions[0]:.4f}  AP75 {precisions[5]:.4f}")
    for count in (2, 3, 5):
        print(f"{count} boxes per photo: recall {judged.recall(count):.4f}, threshold {judged.threshold(count):.3f}")
    shown = judged.scores >= threshold
    found = judged.right[0, shown].sum()
    print(
        f"threshold {threshold:.2f}: recall {found / judged.people:.4f}, precision {found / max(shown.sum(), 1):.4f}, "
        f"{shown.sum() / judged.photos:.2f} boxes per photo"
    )
    near, near_found = close_ups(judged, photos, threshold)
    print(f"close-ups: {near_found} of {near} found")
    print("mean score, share that is an annotated person, boxes")
    for score, share, boxes in judged.calibration(EDGES):
        print(f"{score:.3f}  {share:.3f}  {boxes}")


def close_ups(judged: Judged, photos: list[Photo], threshold: float) -> tuple[int, int]:
    """How many annotated people fill most of their photo, and how many of them a box of IoU 0.5 or more finds."""
    near = found = 0
    for index, photo in enumerate(photos):
        height, width = read_image(photo.path).shape[:2]
        sides = photo.people[:, 2:] - photo.people[:, :2]
        large = (sides > [CLOSE_UP * width, CLOSE_UP * height]).all(1)
        boxes = judged.xyxy[(judged.photo == index) & (judged.scores >= threshold)]
        near += int(large.sum())
        if large.any() and len(boxes):
            found += int((iou(photo.people[large].astype(np.float64), boxes).max(1) >= 0.5).sum())
    return near, found


if __name__ == "__main__":
    main()
