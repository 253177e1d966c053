"""COCO keypoints: the official folders, or any json of that style."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrkit.datasets.base import KeypointDataset
from hrkit.errors import DatasetError
from hrkit.files import read_json
from hrkit.skeletons import SKELETONS
from hrkit.structures import Skeleton


def coco(
    path: str | Path = "data/coco",
    *,
    split: str = "train",
    images: str | Path | None = None,
    skeleton: Skeleton | None = None,
) -> KeypointDataset:
    """People of a COCO keypoint json with at least one labelled joint and a box; crowds are left out, and `ignored`.

    `split` is "train", "val" (those of 2017) or the official name, as "val2014".

    `path` is a json, or a folder with one: `annotations/person_keypoints_<split>.json` (official), or a single
    `person_keypoints_*.json`. `images` is a folder or a zip; without it `images/<split>`, `<split>`, `images` or the
    folder itself is taken, whichever there is. `skeleton` None takes the names from the category. Boxes are clipped to
    the picture as in the official HRNet code (lib/dataset/coco.py).

    Raises `DatasetError`, with file, id and count, for anything that is missing or inconsistent.
    """
    split = {"train": "train2017", "val": "val2017"}.get(split, split)
    json_path = find_annotations(Path(path), split)
    content = read_annotations(json_path)
    category = _person_category(content, json_path)
    skeleton = skeleton or skeleton_of_category(category, json_path)
    pictures = _unique(content["images"], "images", json_path)
    everyone = [
        annotation
        for annotation in _unique(content["annotations"], "annotations", json_path).values()
        if annotation.get("category_id", category.get("id")) == category.get("id")
    ]
    people = [annotation for annotation in everyone if not annotation.get("iscrowd")]
    _check_annotations(people, pictures, len(skeleton), json_path)
    people = [annotation for annotation in people if any(annotation["keypoints"][2::3])]
    sizes = np.array([[pictures[a["image_id"]]["width"], pictures[a["image_id"]]["height"]] for a in people])
    boxes = _clean_boxes(np.array([a["bbox"] for a in people], np.float64).reshape(-1, 4), sizes.reshape(-1, 2))
    usable = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    kept = [annotation for annotation, use in zip(people, usable.tolist(), strict=True) if use]
    if not kept:
        raise DatasetError(f"{json_path}: nobody in it has a box and a labelled joint")
    row = {image_id: index for index, image_id in enumerate(pictures)}
    triples = np.array([a["keypoints"] for a in kept], np.float64).reshape(len(kept), len(skeleton), 3)
    return KeypointDataset(
        name=json_path.stem,
        skeleton=skeleton,
        image_paths=_find_pictures([p["file_name"] for p in pictures.values()], json_path, split, images),
        image_ids=list(pictures),
        image_index=[row[a["image_id"]] for a in kept],
        boxes=boxes[usable],
        keypoints=triples[..., :2],
        visible=triples[..., 2] > 0,
        areas=[float(a.get("area", a["bbox"][2] * a["bbox"][3])) for a in kept],
        scores=np.ones(len(kept)),
        ids=[a["id"] for a in kept],
        annotations=json_path,
        ignored=[(row[a["image_id"]], a.get("segmentation") or a["bbox"]) for a in everyone if _is_region(a, row)],
    )


def _is_region(annotation: Mapping[str, Any], pictures: Mapping[int, int]) -> bool:
    """Whether it says that there are people, in a picture that is there, and no joint of them."""
    region = annotation.get("segmentation") or annotation.get("bbox")
    labelled = not annotation.get("iscrowd") and any(annotation.get("keypoints", ())[2::3])
    return bool(region) and not labelled and annotation.get("image_id") in pictures


def find_annotations(path: Path, split: str) -> Path:
    """The json that `path` means; raises `DatasetError` if there is none, or several."""
    if path.is_file():
        return path
    official = path / "annotations" / f"person_keypoints_{split}.json"
    if official.is_file():
        return official
    found = sorted(path.glob("person_keypoints_*.json"))
    if len(found) == 1:
        return found[0]
    if found:
        raise DatasetError(f"{path}: several annotation files ({', '.join(f.name for f in found)}); name one")
    raise DatasetError(f"{path}: no COCO json there; wanted {official} or a single person_keypoints_*.json")


def read_annotations(path: Path) -> dict[str, Any]:
    """A COCO json as a dict; raises `DatasetError` saying line and column of what is broken."""
    content = read_json(path, DatasetError)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DatasetError(f"{path}: no list {key!r}; wanted a json in COCO's format")
    return content


def skeleton_of_category(category: Mapping[str, Any], path: Path) -> Skeleton:
    """The registered skeleton with the category's joint names, else one made from them; left and right by name."""
    names = tuple(category["keypoints"])
    for known in SKELETONS.values():
        if known.keypoint_names == names:
            return known
    mirrored = {name: name.replace("left", "right") for name in names if "left" in name}
    pairs = [(left, right) for left, right in mirrored.items() if right in names]
    edges = [(names[a - 1], names[b - 1]) for a, b in category.get("skeleton", [])]
    return Skeleton(str(category.get("name", path.stem)), names, edges, pairs, [0.05] * len(names))


def _person_category(content: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    for category in content["categories"]:
        if category.get("keypoints"):
            return category
    names = ", ".join(str(category.get("name")) for category in content["categories"]) or "none"
    raise DatasetError(f"{path}: no category has keypoints (categories: {names})")


def _unique(rows: Sequence[Mapping[str, Any]], what: str, path: Path) -> dict[int, Mapping[str, Any]]:
    if not rows:
        raise DatasetError(f"{path}: {what} is empty")
    if any("id" not in row for row in rows):
        raise DatasetError(f"{path}: {sum('id' not in row for row in rows)} of {len(rows)} {what} have no id")
    double = [key for key, count in Counter(row["id"] for row in rows).items() if count > 1]
    if double:
        raise DatasetError(f"{path}: {len(double)} ids of {what} stand there twice, first {double[0]}")
    return {row["id"]: row for row in rows}


def _check_annotations(
    people: Iterable[Mapping[str, Any]], pictures: Mapping[int, Mapping[str, Any]], joints: int, path: Path
) -> None:
    wrong: dict[str, list[int]] = {}
    for a in people:
        box, points = a.get("bbox", ()), a.get("keypoints", ())
        if a.get("image_id") not in pictures:
            problem = "are of pictures that are not there"
        elif len(points) != 3 * joints:
            problem = f"have not {3 * joints} numbers for {joints} keypoints"
        elif len(box) != 4 or not np.isfinite(box).all() or not np.isfinite(points).all():
            problem = "have a box or keypoints that are not finite numbers"
        elif _outside(box, pictures[a["image_id"]]):
            problem = "have a box wholly outside their picture"
        else:
            continue
        wrong.setdefault(problem, []).append(a["id"])
    if wrong:
        found = "; ".join(f"{len(ids)} annotations {problem}, first id {ids[0]}" for problem, ids in wrong.items())
        raise DatasetError(f"{path}: {found}")


def _outside(box: Sequence[float], picture: Mapping[str, Any]) -> bool:
    x, y, width, height = box
    return x >= picture["width"] or y >= picture["height"] or x + width < 0 or y + height < 0


def _clean_boxes(xywh: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,4) x, y, w, h and (N,2) width, height of the picture -> xyxy inside it; official COCO pixels end at w - 1."""
    first = np.maximum(0, xywh[:, :2])
    last = np.minimum(sizes - 1, first + np.maximum(0, xywh[:, 2:] - 1))
    return np.concatenate([first, last], axis=1)


def _find_pictures(names: Sequence[str], json_path: Path, split: str, images: str | Path | None) -> list[str]:
    folder = json_path.parent
    root = folder.parent if folder.name == "annotations" else folder
    candidates = (
        [Path(images)]
        if images is not None
        else [
            place
            for base in (root / "images" / split, root / split, root / "images", root)
            for place in (base, base.parent / f"{base.name}.zip")
        ]
    )
    place = next((place for place in candidates if place.exists()), None)
    if place is None:
        raise DatasetError(f"{candidates[0]}: no such folder or zip of pictures")
    if place.suffix == ".zip":
        with zipfile.ZipFile(place) as archive:
            members = set(archive.namelist())
        prefix = next((p for p in ("", f"{place.stem}/") if p + names[0] in members), "")
        paths, missing = [f"{place}@{prefix}{n}" for n in names], [n for n in names if prefix + n not in members]
    else:
        paths, missing = [str(place / name) for name in names], [n for n in names if not (place / n).is_file()]
    if missing:
        raise DatasetError(f"{place}: {len(missing)} of {len(names)} pictures are missing, first {missing[0]}")
    return paths
