"""A tiny COCO-style dataset of painted people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hrkit.images import write_image
from hrkit.skeletons import coco17
from hrkit.structures import Skeleton
from hrkit.synthetic import paint_people


def make_coco(
    folder: Path, pictures: int = 4, people: int = 2, skeleton: Skeleton = coco17, seed: int = 0, name: str = "made"
) -> Path:
    """Writes `images/` and `person_keypoints_<name>.json` and gives the json's path."""
    random = np.random.default_rng(seed)
    images, annotations = [], []
    for index in range(pictures):
        corners = np.stack([[20 + 150 * i, 20] for i in range(people)])
        points = corners[:, None] + random.uniform((0, 0), (100, 180), (people, len(skeleton), 2))
        frame = paint_people((240, 40 + 150 * people), points)
        file = f"{index + 1:03d}.png"
        write_image(folder / "images" / file, frame)
        images.append({"id": index + 1, "file_name": file, "width": frame.shape[1], "height": frame.shape[0]})
        for person in points:
            low, high = person.min(0), person.max(0)
            triples = np.concatenate([person, np.full((len(skeleton), 1), 2)], axis=1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "area": float(np.prod(high - low)) * 0.6,
                    "num_keypoints": len(skeleton),
                    "keypoints": triples.ravel().tolist(),
                }
            )
    category = {
        "id": 1,
        "name": "person",
        "keypoints": list(skeleton.keypoint_names),
        "skeleton": (skeleton.edge_indices + 1).tolist(),
    }
    content = {"images": images, "annotations": annotations, "categories": [category]}
    return write_json(folder / f"person_keypoints_{name}.json", content)


def write_json(path: Path, content: Any) -> Path:
    """Writes and gives the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
