"""COCO keypoints: the official folders, those of annotation tools, or any json in their format."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve

from hrkit.datasets.base import Ignored, KeypointDataset, picture_size
from hrkit.datasets.layouts import check_found, find_annotations, find_pictures
from hrkit.datasets.records import Annotation, Category, Floats, Picture, read_records
from hrkit.errors import DatasetError, HrkitError, UnknownNameError
from hrkit.files import FilePath, read_json
from hrkit.skeletons import DEFAULT_SIGMA, known_skeleton, same_joints, told_pairs
from hrkit.structures import Skeleton

logger: logging.Logger = logging.getLogger("hrkit")

MANY = 0.1
"""A warning is due if more than this share of people have odd places."""


def coco(
    path: FilePath = "data/coco",
    *,
    split: str = "train",
    images: FilePath | None = None,
    skeleton: Skeleton | None = None,
    category: Collection[str] = (),
    skip_bad: bool = False,
) -> KeypointDataset:
    """The people of a COCO keypoint json that have a box and at least one labelled joint.

    Crowds and people without labels become `ignored`. A missing area is that of the box. Boxes are clipped to the
    picture as in the official HRNet code (lib/dataset/coco.py).

    `path` is a json, or a folder with `annotations/person_keypoints_<split>.json` or one json of an annotation tool.
    `split` is "train" or "val" (those of 2017), or an official name such as "val2014". `images` is a folder or a zip;
    by default it is looked for beside the json. `category` are names or ids; by default all categories with the joints
    of the first that has any. `skeleton` is by default that of the category; if the category has all its joints, they
    are matched by name, else by their places.

    Raises `DatasetError`, with file, id, field and count, for missing or inconsistent data. With `skip_bad`, faulty
    annotations and missing pictures are left out with a warning.
    """
    split = {"train": "train2017", "val": "val2017"}.get(split, split)
    file = find_annotations(Path(path), split)
    content = check_lists(read_json(file, DatasetError), file)
    wanted = (category,) if isinstance(category, str) else category
    categories, rows = _categories(content, wanted, file)
    by_name = skeleton is not None and _named_there(skeleton.keypoint_names, categories[0].keypoints, file)
    own = _skeleton_of(categories[0], file) if skeleton is None or by_name else skeleton
    pictures = _pictures(content["images"], file, split, images, skip_bad)
    everyone = _annotations(rows, categories, pictures, len(own), file, skip_bad)
    people, boxes = _with_boxes([one for one in everyone if one.labelled], pictures, file)
    row_of = {key: row for row, key in enumerate(pictures)}
    joints = np.array([one.keypoints for one in people])
    dataset = KeypointDataset(
        name=file.stem,
        skeleton=own,
        image_paths=[picture.path for picture in pictures.values()],
        image_ids=[picture.id for picture in pictures.values()],
        image_index=[row_of[str(one.image_id)] for one in people],
        boxes=boxes,
        keypoints=joints[..., :2],
        visible=joints[..., 2] > 0,
        areas=[one.filled_area for one in people],
        scores=np.ones(len(people)),
        ids=[one.id for one in people],
        category_ids=[one.category_id for one in people],
        annotations=file,
        ignored=_ignored(everyone, row_of),
    )
    return dataset.with_skeleton(skeleton) if skeleton is not None and by_name else dataset


def _named_there(joints: Sequence[str], named: Sequence[str], file: Path) -> bool:
    """Whether the joints are those of the same names in a file, rather than those at the same places.

    Raises `DatasetError` if some joints have the same names and others have not, unless their places agree.
    """
    places = same_joints(joints, named)
    if tuple(joints) == tuple(named) or (places < 0).all():
        return False
    missing = [joint for joint, place in zip(joints, places.tolist(), strict=True) if place < 0]
    if not missing:
        return True
    if len(joints) != len(named) or any(place not in (-1, own) for own, place in enumerate(places.tolist())):
        raise DatasetError(f"{file}: no joint {missing[0]!r}; its joints are {', '.join(named)}")
    taken = {named[place]: joints[place] for place in np.flatnonzero(places < 0).tolist()}
    logger.warning("%s: joints with other names are taken by their places: %s", file, taken)
    return False


def _ignored(everyone: Sequence[Annotation], row_of: Mapping[str, int]) -> list[Ignored]:
    """Crowds and people without labels, if they have a box."""
    return [
        Ignored(row_of[str(one.image_id)], one.segmentation or box, tuple(box), one.iscrowd, one.category_id)
        for one in everyone
        if not one.labelled and one.bbox is not None and any(box := one.bbox.tolist())
    ]


def check_lists(content: Any, where: FilePath, error: type[HrkitError] = DatasetError) -> Mapping[str, list[Any]]:
    """The content of a json in COCO's format. Raises `error` if one of its three lists is missing."""
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, Mapping) or not isinstance(content.get(key), list):
            raise error(
                f"{where}: no list {key!r}; wanted the lists images, annotations and categories of COCO's format"
            )
    return content


def _categories(
    content: Mapping[str, list[Any]], wanted: Collection[str], file: Path
) -> tuple[list[Category], list[Any]]:
    """The categories to take, which have the same joints, and the annotations of them. Says what is left out."""
    known = list(read_records(Category, content["categories"], file, "categories").values())
    posed = [one for one in known if one.keypoints]
    if not posed:
        names = ", ".join(one.name for one in known) or "none"
        raise DatasetError(f"{file}: no category has keypoints (categories: {names})")
    for name in wanted:
        if not any(name in (one.name, str(one.id)) for one in posed):
            raise UnknownNameError("category", name, [one.name or str(one.id) for one in posed])
    taken = [one for one in posed if {one.name, str(one.id)} & set(wanted)] if wanted else posed
    if wanted and any(one.keypoints != taken[0].keypoints for one in taken):
        raise DatasetError(
            f"{file}: the categories {', '.join(wanted)} have different joints; choose those of one kind"
        )
    taken = [one for one in taken if one.keypoints == taken[0].keypoints]
    rows = content["annotations"]
    keys = [str(row.get("category_id")) if isinstance(row, Mapping) else "" for row in rows]
    counts, chosen = Counter(keys), {str(one.id) for one in taken}
    if len(known) > 1:
        numbers = {f"{counts[str(one.id)]} of {one.name or one.id}": str(one.id) in chosen for one in known}
        into, out = (", ".join(text for text, is_in in numbers.items() if is_in == asked) for asked in (True, False))
        logger.info("%s: annotations taken: %s; left out: %s", file, into, out or "none")
    left_out = {str(one.id) for one in known} - chosen
    return taken, [row for row, key in zip(rows, keys, strict=True) if key not in left_out]


def _skeleton_of(category: Category, file: Path) -> Skeleton:
    """The known skeleton with the category's joint names, else a new one whose pairs the names tell."""
    names = category.keypoints
    known = known_skeleton(names)
    if known is not None:
        return known
    sigmas = [DEFAULT_SIGMA] * len(names)
    return Skeleton(category.name or file.stem, names, category.limbs(), told_pairs(names, file), sigmas)


def _pictures(
    rows: Sequence[Any], file: Path, split: str, images: FilePath | None, skip_bad: bool
) -> dict[str, Picture]:
    """The pictures with their sizes and paths, by id."""
    listed = (row.get("file_name") for row in rows if isinstance(row, Mapping))
    names = [name for name in listed if isinstance(name, str) and name]
    place, paths = find_pictures(names, file, split, images)
    if not skip_bad:
        check_found(names, paths, place, file)

    def problem(one: Picture) -> tuple[str, str] | None:
        return None if one.file_name in paths else ("file_name", f"{one.file_name!r} is not in {place}")

    found = read_records(Picture, rows, file, "images", problem, skip_bad=skip_bad).values()
    logger.info("%s: %d pictures in %s", file, len(found), place)
    there = [evolve(one, path=paths[one.file_name]) for one in found]
    return {str(one.id): one if one.width and one.height else _measured(one) for one in there}


def _measured(picture: Picture) -> Picture:
    width, height = picture_size(picture.path)
    return evolve(picture, width=width, height=height)


def _annotations(
    rows: Sequence[Any],
    categories: Sequence[Category],
    pictures: Mapping[str, Picture],
    joints: int,
    file: Path,
    skip_bad: bool,
) -> list[Annotation]:
    """The annotations without faults. Without a category they are of the only one."""
    ids = {str(one.id): one.id for one in categories}

    def problem(one: Annotation) -> tuple[str, str] | None:
        wrong = one.problem(joints, pictures.keys(), ids.keys())
        if wrong is None and one.labelled and one.bbox is not None:
            (x, y, width, height), picture = one.bbox, pictures[str(one.image_id)]
            if x >= picture.width or y >= picture.height or x + width < 0 or y + height < 0:
                wrong = ("bbox", f"{one.bbox.tolist()} is wholly outside its picture")
        return wrong

    found = read_records(Annotation, rows, file, "annotations", problem, skip_bad=skip_bad)
    only = categories[0].id
    return [evolve(one, category_id=ids.get(str(one.category_id), only)) for one in found.values()]


def _with_boxes(
    people: list[Annotation], pictures: Mapping[str, Picture], file: Path
) -> tuple[list[Annotation], Floats]:
    """The people whose boxes have an area in their pictures, and these boxes. Says how many have none."""
    boxes = _clipped_boxes(people, pictures)
    usable = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    kept = [people[row] for row in np.flatnonzero(usable).tolist()]
    if not kept:
        raise DatasetError(f"{file}: nobody in it has a box and a labelled joint")
    if len(kept) < len(people):
        logger.warning("%s: %d people with a box without area are left out", file, len(people) - len(kept))
    warn_of_areas(kept, str(file))
    _warn_of_places(kept, pictures, file)
    return kept, boxes[usable]


def _warn_of_places(people: Sequence[Annotation], pictures: Mapping[str, Picture], file: Path) -> None:
    """Logs boxes that reach far beyond their pictures, and joints that are far from their boxes, if they are many."""
    xywh, sizes = _boxes_and_sizes(people, pictures)
    triples = np.array([one.keypoints for one in people], np.float64)
    beyond = (xywh[:, :2] + xywh[:, 2:] > 1.1 * sizes).any(1)
    far = np.abs(triples[..., :2] - (xywh[:, :2] + xywh[:, 2:] / 2)[:, None]) > xywh[:, None, 2:]
    labelled = triples[..., 2] > 0
    strayed = (far.any(2) & labelled).sum(1) > labelled.sum(1) / 2
    for wrong, what in (
        (beyond, "boxes reach beyond their pictures; a box is left, top, width, height in px"),
        (strayed, "people have most joints outside their boxes; joints and boxes are in px of the picture"),
    ):
        if wrong.mean() > MANY:
            logger.warning("%s: %d of %d %s", file, wrong.sum(), len(people), what)


def warn_of_areas(people: Sequence[Annotation], file: str) -> None:
    """Logs how many people are measured by the areas of their boxes."""
    filled = sum(not one.area for one in people)
    if filled:
        logger.warning("%s: %d of %d people have no area; those of their boxes are taken", file, filled, len(people))


def _clipped_boxes(people: Sequence[Annotation], pictures: Mapping[str, Picture]) -> Floats:
    """(N,4) boxes as xyxy in their pictures. Official COCO pixels end at w - 1."""
    xywh, sizes = _boxes_and_sizes(people, pictures)
    first = np.maximum(0, xywh[:, :2])
    last = np.minimum(sizes - 1, first + np.maximum(0, xywh[:, 2:] - 1))
    return np.concatenate([first, last], axis=1)


def _boxes_and_sizes(people: Sequence[Annotation], pictures: Mapping[str, Picture]) -> tuple[Floats, Floats]:
    """(N,4) boxes as they are annotated, xywh, and (N,2) the width and height of each person's picture."""
    xywh = np.array([one.bbox for one in people], np.float64).reshape(-1, 4)
    of_person = (pictures[str(one.image_id)] for one in people)
    sizes = np.array([(picture.width, picture.height) for picture in of_person], np.float64).reshape(-1, 2)
    return xywh, sizes
