"""COCO keypoints: the official folders, or any json in their format."""

from __future__ import annotations

import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrkit.datasets.base import KeypointDataset, check_names
from hrkit.errors import DatasetError
from hrkit.files import read_json
from hrkit.skeletons import DEFAULT_SIGMA, known_skeleton, told_pairs
from hrkit.structures import Skeleton

Row = Mapping[str, Any]
"""An image, annotation or category of the json."""


def coco(
    path: str | Path = "data/coco",
    *,
    split: str = "train",
    images: str | Path | None = None,
    skeleton: Skeleton | None = None,
) -> KeypointDataset:
    """The people of a COCO keypoint json that have a box and at least one labelled joint.

    Crowds and people without labels are left out and become `ignored` regions.

    `path` is a json or a folder. A folder holds `annotations/person_keypoints_<split>.json` (official), or a single
    `person_keypoints_*.json`. `split` is "train" or "val" (those of 2017), or an official name such as "val2014".
    `images` is a folder or a zip; by default the first that exists of `images/<split>`, `<split>`, `images` and the
    folder itself. `skeleton` is by default that of the category. Boxes are clipped to the picture as in the official
    HRNet code (lib/dataset/coco.py).

    Raises `DatasetError`, with file, id and count, for missing or inconsistent data.
    """
    split = {"train": "train2017", "val": "val2017"}.get(split, split)
    file = _find_annotations(Path(path), split)
    content = read_json(file, DatasetError)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DatasetError(f"{file}: no list {key!r}; wanted a json in COCO's format")
    category = next((category for category in content["categories"] if category.get("keypoints")), None)
    if category is None:
        names = ", ".join(str(category.get("name")) for category in content["categories"]) or "none"
        raise DatasetError(f"{file}: no category has keypoints (categories: {names})")
    skeleton = skeleton or _skeleton_of(category, file)
    pictures = _by_id(content["images"], "images", file)
    annotations = _by_id(content["annotations"], "annotations", file).values()
    everyone = [a for a in annotations if a.get("category_id", category.get("id")) == category.get("id")]
    people = [a for a in everyone if not a.get("iscrowd")]
    _check_people(people, pictures, len(skeleton), file)
    people = [a for a in people if any(a["keypoints"][2::3])]
    sizes = [[pictures[a["image_id"]]["width"], pictures[a["image_id"]]["height"]] for a in people]
    boxes = _clipped_boxes(np.array([a["bbox"] for a in people], np.float64), np.array(sizes))
    usable = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    people = [a for a, use in zip(people, usable.tolist(), strict=True) if use]
    if not people:
        raise DatasetError(f"{file}: nobody in it has a box and a labelled joint")
    row = {image_id: index for index, image_id in enumerate(pictures)}
    triples = np.array([a["keypoints"] for a in people], np.float64).reshape(len(people), len(skeleton), 3)
    return KeypointDataset(
        name=file.stem,
        skeleton=skeleton,
        image_paths=_find_pictures([picture["file_name"] for picture in pictures.values()], file, split, images),
        image_ids=list(pictures),
        image_index=[row[a["image_id"]] for a in people],
        boxes=boxes[usable],
        keypoints=triples[..., :2],
        visible=triples[..., 2] > 0,
        areas=[float(a.get("area", a["bbox"][2] * a["bbox"][3])) for a in people],
        scores=np.ones(len(people)),
        ids=[a["id"] for a in people],
        annotations=file,
        ignored=[(row[a["image_id"]], a.get("segmentation") or a["bbox"]) for a in everyone if _is_region(a, row)],
    )


def _find_annotations(path: Path, split: str) -> Path:
    official = path / "annotations" / f"person_keypoints_{split}.json"
    for file in (path, official):
        if file.is_file():
            return file
    found = sorted(path.glob("person_keypoints_*.json"))
    if not found:
        raise DatasetError(f"{path}: no COCO json there; wanted {official} or a single person_keypoints_*.json")
    if len(found) > 1:
        raise DatasetError(f"{path}: several annotation files ({', '.join(f.name for f in found)}); name one")
    return found[0]


def _skeleton_of(category: Row, file: Path) -> Skeleton:
    """The known skeleton with the category's joint names, else a new one whose pairs the names tell."""
    names = tuple(category["keypoints"])
    known = known_skeleton(names)
    if known is not None:
        return known
    edges = [(names[a - 1], names[b - 1]) for a, b in category.get("skeleton", [])]
    sigmas = [DEFAULT_SIGMA] * len(names)
    return Skeleton(str(category.get("name", file.stem)), names, edges, told_pairs(names, file), sigmas)


def _by_id(rows: Sequence[Row], what: str, file: Path) -> dict[int, Row]:
    if not rows:
        raise DatasetError(f"{file}: {what} is empty")
    without = sum("id" not in row for row in rows)
    if without:
        raise DatasetError(f"{file}: {without} of {len(rows)} {what} have no id")
    repeated = [key for key, count in Counter(row["id"] for row in rows).items() if count > 1]
    if repeated:
        raise DatasetError(f"{file}: {len(repeated)} ids of {what} are not unique, first {repeated[0]}")
    return {row["id"]: row for row in rows}


def _check_people(people: Iterable[Row], pictures: Mapping[int, Row], joints: int, file: Path) -> None:
    wrong = defaultdict(list)
    for a in people:
        problem = _problem(a.get("bbox", ()), a.get("keypoints", ()), pictures.get(a.get("image_id", -1)), joints)
        if problem:
            wrong[problem].append(a["id"])
    if wrong:
        found = "; ".join(f"{len(ids)} annotations {problem}, first id {ids[0]}" for problem, ids in wrong.items())
        raise DatasetError(f"{file}: {found}")


def _problem(box: Sequence[float], points: Sequence[float], picture: Row | None, joints: int) -> str:
    if picture is None:
        return "are of pictures that are not there"
    if len(points) != 3 * joints:
        return f"have not {3 * joints} numbers for {joints} keypoints"
    if len(box) != 4 or not np.isfinite(box).all() or not np.isfinite(points).all():
        return "have a box or keypoints that are not finite numbers"
    x, y, width, height = box
    if x >= picture["width"] or y >= picture["height"] or x + width < 0 or y + height < 0:
        return "have a box wholly outside their picture"
    return ""


def _is_region(annotation: Row, pictures: Mapping[int, int]) -> bool:
    """Whether the annotation shows people in a known picture, but none of their joints."""
    region = annotation.get("segmentation") or annotation.get("bbox")
    labelled = not annotation.get("iscrowd") and any(annotation.get("keypoints", ())[2::3])
    return bool(region) and not labelled and annotation.get("image_id") in pictures


def _clipped_boxes(xywh: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,4) x, y, w, h and (N,2) picture width, height -> xyxy in the picture. Official COCO pixels end at w - 1."""
    xywh, sizes = xywh.reshape(-1, 4), sizes.reshape(-1, 2)
    first = np.maximum(0, xywh[:, :2])
    last = np.minimum(sizes - 1, first + np.maximum(0, xywh[:, 2:] - 1))
    return np.concatenate([first, last], axis=1)


def _find_pictures(names: Sequence[str], file: Path, split: str, images: str | Path | None) -> list[str]:
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    folders = (root / "images" / split, root / split, root / "images", root)
    candidates = [place for folder in folders for place in (folder, folder.parent / f"{folder.name}.zip")]
    if images is not None:
        candidates = [Path(images)]
    place = next((place for place in candidates if place.exists()), None)
    if place is None:
        raise DatasetError(f"{candidates[0]}: no such folder or zip of pictures")
    if place.suffix != ".zip":
        check_names(names, place, file)
        paths, missing = [str(place / name) for name in names], [n for n in names if not (place / n).is_file()]
    else:
        with zipfile.ZipFile(place) as archive:
            members = set(archive.namelist())
        prefix = next((p for p in ("", f"{place.stem}/") if p + names[0] in members), "")
        paths, missing = [f"{place}@{prefix}{n}" for n in names], [n for n in names if prefix + n not in members]
    if missing:
        raise DatasetError(f"{place}: {len(missing)} of {len(names)} pictures are missing, first {missing[0]}")
    return paths
