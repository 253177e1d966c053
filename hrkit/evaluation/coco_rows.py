"""COCO's annotations and results, checked row by row, and as pycocotools wants them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hrkit.datasets.coco import check_lists, warn_of_areas
from hrkit.datasets.records import Annotation, Listed, Result, read_records
from hrkit.errors import HrkitError
from hrkit.files import read_json

if TYPE_CHECKING:
    from pycocotools.coco import COCO


def content_of(annotations: Any) -> tuple[Mapping[str, list[Any]], str]:
    """The lists of a COCO json, of its content or of pycocotools' `COCO`, and what to call them."""
    given = getattr(annotations, "dataset", annotations)
    is_file = isinstance(given, str | os.PathLike)
    where = str(given) if is_file else "annotations"
    return check_lists(read_json(given) if is_file else given, where, HrkitError), where


def numbered_ids(rows: Sequence[Any], where: str, what: str) -> dict[str, int]:
    """The ids of rows as texts, numbered from 1 in their order, as pycocotools sorts them."""
    ids = [one.id for one in read_records(Listed, rows, where, what, error=HrkitError).values()]
    return {str(one): number for number, one in enumerate(np.unique(np.array(ids)).tolist(), 1)}


def checked_people(
    content: Mapping[str, list[Any]], where: str, images: Mapping[str, int], categories: Mapping[str, int]
) -> list[Annotation]:
    """The annotations, checked for known pictures and categories, and for one number of joints.

    That number is the one of a category, or else of most people.
    """
    rows = content["annotations"]
    joints, of_people = (
        [len(row["keypoints"]) for row in part if isinstance(row, Mapping) and isinstance(row.get("keypoints"), list)]
        for part in (content["categories"], rows)
    )
    joints += [length // 3 for length, _ in Counter(filter(None, of_people)).most_common(1)]
    count = next(filter(None, joints), 0)
    people = read_records(
        Annotation, rows, where, "annotations", lambda one: one.problem(count, images, categories), error=HrkitError
    )
    warn_of_areas([one for one in people.values() if one.labelled], where)
    return list(people.values())


def checked_results(
    results: Any, joints: int, images: Mapping[str, int], categories: Mapping[str, int]
) -> list[Result]:
    """The result rows, checked for known pictures and categories, and for this number of joints."""
    rows = read_json(results) if isinstance(results, str | os.PathLike) else results
    if isinstance(rows, str | Mapping) or not isinstance(rows, Sequence):
        raise HrkitError("results must be a list of COCO result rows")
    found = read_records(
        Result, rows, "results", "rows", lambda one: one.problem(joints, images, categories), error=HrkitError
    )
    return list(found.values())


def as_coco(
    people: Sequence[Annotation], joints: int, images: Mapping[str, int], categories: Mapping[str, int]
) -> COCO:
    """pycocotools' `COCO` of the annotations. Ids are numbers from 1, as COCOeval takes a match with id 0 for none."""
    from pycocotools.coco import COCO

    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in images.values()],
        "categories": [{"id": number} for number in categories.values()],
        "annotations": [
            {
                "id": number,
                "image_id": images[str(one.image_id)],
                "category_id": categories.get(str(one.category_id), 1),
                "iscrowd": int(one.iscrowd),
                "bbox": [0.0] * 4 if one.bbox is None else one.bbox.tolist(),
                "area": one.filled_area,
                "num_keypoints": int((one.keypoints[:, 2] > 0).sum()),
                "keypoints": one.keypoints.ravel().tolist() or [0.0] * 3 * joints,
            }
            for number, one in enumerate(people, 1)
        ],
    }
    truth.createIndex()
    return truth
