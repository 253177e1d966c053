"""Finds people whom the annotations leave out: `train_person.py --unlabelled` does not teach that nobody is there.

    python find_unlabelled.py data/coco_train nanodet_g_person.safetensors unlabelled.json

COCO's keypoint files leave out crowds and people without a labelled joint. The detector alone cannot say which of its
boxes are such people, because its own mistakes are among them: teddy bears, balls, chair backs. The pose network can,
because it is sure of no joint in a box that shows nobody. It agreed with what the eye said of 192 boxes, but for a
horse from behind, a sign and a few heads without a face.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from person_metrics import iou
from person_samples import read_photos

from hrkit import Pipeline
from hrkit.files import write_text
from hrkit.images import read_image

THRESHOLD = 0.15
"""Least score of a box."""
APART = 0.3
"""A box with a lower IoU with each annotated person is about somebody else, or about nobody."""
BEST_JOINTS, LEAST_SCORE = 8, 0.2
"""Somebody is there if the mean score of so many joints, the best, is so high."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder in COCO's format")
    parser.add_argument("weights", type=Path, help="weights of the person network")
    parser.add_argument("output", type=Path, help="json to write: boxes by file name")
    arguments = parser.parse_args()
    pipeline = Pipeline.from_names(
        "lite_plus",
        "lite_person",
        detector_weights=arguments.weights,
        detection_threshold=THRESHOLD,
        flip_test=True,
        doubles=None,
    )
    found = {}
    for photo in read_photos(arguments.photos):
        poses = pipeline(read_image(photo.path))
        boxes = poses.detections.xyxy.astype(np.float64)
        apart = (iou(boxes, photo.people.astype(np.float64)) < APART).all(1)
        found[photo.path.name] = boxes[apart & shows_somebody(poses.keypoint_scores)].round(1).tolist()
    write_text(arguments.output, json.dumps({name: boxes for name, boxes in found.items() if boxes}))


def shows_somebody(scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,) of the joints' scores (N,K)."""
    return np.asarray(np.sort(scores, 1)[:, -BEST_JOINTS:].mean(1) >= LEAST_SCORE)


if __name__ == "__main__":
    main()
