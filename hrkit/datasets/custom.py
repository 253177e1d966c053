"""Datasets with your own joints: a TOML file names them, a JSON file in COCO's format holds the people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.coco import coco
from hrkit.errors import DatasetError
from hrkit.files import FilePath, read_toml
from hrkit.skeletons import skeleton_of_table


def custom(path: FilePath, *, split: str = "train", images: FilePath | None = None, **options: Any) -> KeypointDataset:
    """People with the joints that a TOML file describes.

    Keys of the file: `name`, `keypoints` (names), `flip_pairs` and `edges` (pairs of names), `sigmas` (one per joint,
    or one for all), and one table per split, such as `[train]`, with `annotations` (a COCO json) and `images` (a folder
    or zip), relative to the file. `images` replaces that of the table; `options` are those of `coco`.

    Raises `DatasetError` with the file and the key.
    """
    file = Path(path)
    content = read_toml(file, DatasetError)
    skeleton = skeleton_of_table(content, file)
    table = content.get(split)
    if not isinstance(table, dict):
        splits = [key for key, value in content.items() if isinstance(value, dict)]
        raise DatasetError(f"{file}: no table [{split}] with annotations and images; tables: {', '.join(splits)}")
    if "annotations" not in table:
        raise DatasetError(f"{file}: [{split}] has no annotations")
    for key in table.keys() & {"annotations", "images"}:
        if not isinstance(table[key], str):
            raise DatasetError(f"{file}: [{split}] {key} is {table[key]!r}, no path")
    if images is None and "images" in table:
        images = file.parent / table["images"]
    return coco(file.parent / table["annotations"], images=images, skeleton=skeleton, **options)
