"""Draws what `lite_plus` with `lite_person` finds and misses, without the photos: how docs/images/cases.jpg was made.

    python tools/draw_cases.py data/coco_val/person_keypoints_val.json cases.jpg 33221 69356 109118

Each tile is one photo as a grey area: annotated joints and boxes in white, found skeletons in colour.
Photos whose licence does not allow it cannot be shown; where people are, and how they stand, can.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from hrkit import Pipeline
from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.coco import coco
from hrkit.drawing import SkeletonAnnotator
from hrkit.drawing.contact_sheet import captioned, contact_sheet, draw_truth
from hrkit.evaluation.detected_boxes import count_boxes, with_detections
from hrkit.images import read_image
from hrkit.structures import Detections, Frame, Poses

TILE = 360
"""Px of the longest side of a tile."""
GREY, WHITE = 90, (255, 255, 255)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("ids", type=int, nargs="+", help="ids of photos")
    arguments = parser.parse_args()
    people = coco(arguments.annotations)
    pipeline = Pipeline.from_names("lite_plus", "lite_person")
    tiles = []
    for image_id in arguments.ids:
        picture = int(np.flatnonzero(people.image_ids == image_id)[0])
        frame = read_image(people.image_paths[picture])
        poses = pipeline(frame)
        rows = np.flatnonzero(people.image_index == picture)
        found = [poses.detections if at == picture else Detections.empty() for at in range(len(people.image_ids))]
        counts = count_boxes(people.select(rows), with_detections(people, found))
        tile = draw_case(frame.shape[:2], people.select(rows), poses)
        named = (f"{counts[name]} {name}" for name in ("found", "missed", "twice", "invented") if counts[name])
        tiles.append(captioned(tile, ", ".join(named)))
    sheet = contact_sheet(tiles, 4)
    PIL.Image.fromarray(sheet[:, :, ::-1]).save(arguments.output, quality=80, optimize=True, progressive=True)


def draw_case(size: tuple[int, int], people: KeypointDataset, poses: Poses) -> Frame:
    """A grey tile for a frame of `size` with its annotated people, and the poses found in it above them."""
    scale = TILE / max(size)
    tile = np.full((round(size[0] * scale), round(size[1] * scale), 3), GREY, np.uint8)
    for (x1, y1, x2, y2), joints, visible in zip(people.boxes * scale, people.keypoints, people.visible, strict=True):
        cv2.rectangle(tile, (round(x1), round(y1)), (round(x2), round(y2)), WHITE, 1)
        tile = draw_truth(tile, joints * scale, visible, people.skeleton)
    detections = Detections(poses.detections.xyxy * scale, poses.detections.scores, poses.detections.class_ids)
    smaller = Poses(poses.keypoints * scale, poses.keypoint_scores, detections, poses.skeleton)
    return SkeletonAnnotator()(tile, smaller)


if __name__ == "__main__":
    main()
