"""Datasets with your own joints: a TOML file names them, a JSON file in COCO's format holds the people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.coco import coco
from hrkit.errors import DatasetError
from hrkit.files import read_toml
from hrkit.structures import Skeleton

KEYS = {"name", "keypoints", "flip_pairs", "edges", "sigmas"}


def custom(path: str | Path, *, split: str = "train") -> KeypointDataset:
    """People with the joints that a TOML file describes.

    Keys of the file: `name`, `keypoints` (names), `flip_pairs` and `edges` (pairs of names), `sigmas` (one per joint,
    or one for all), and one table per split, such as `[train]`, with `annotations` (a COCO json) and `images` (a folder
    or zip), relative to the file. Raises `DatasetError` with the file and the key.
    """
    file = Path(path)
    content = read_toml(file, DatasetError)
    skeleton = _skeleton(file, content)
    table = content.get(split)
    if not isinstance(table, dict):
        splits = [key for key, value in content.items() if isinstance(value, dict)]
        raise DatasetError(f"{file}: no table [{split}] with annotations and images; tables: {', '.join(splits)}")
    if "annotations" not in table:
        raise DatasetError(f"{file}: [{split}] has no annotations")
    images = file.parent / table["images"] if "images" in table else None
    return coco(file.parent / table["annotations"], images=images, skeleton=skeleton)


def _skeleton(file: Path, content: Mapping[str, Any]) -> Skeleton:
    unknown = [key for key, value in content.items() if key not in KEYS and not isinstance(value, dict)]
    if unknown:
        raise DatasetError(f"{file}: unknown key {unknown[0]!r}; known keys: {', '.join(sorted(KEYS))}")
    names, sigmas = content.get("keypoints"), content.get("sigmas", 0.05)
    if not isinstance(names, list) or not names:
        raise DatasetError(f"{file}: keypoints must be a list of names")
    try:
        return Skeleton(
            str(content.get("name", file.stem)),
            names,
            content.get("edges", ()),
            content.get("flip_pairs", ()),
            sigmas if isinstance(sigmas, list) else [sigmas] * len(names),
        )
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{file}: {error}") from None
