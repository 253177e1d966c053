"""Joints of your own: a TOML file names them, a json in COCO's format holds the people."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.coco import coco
from hrkit.errors import DatasetError
from hrkit.structures import Skeleton

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KEYS = {"name", "keypoints", "flip_pairs", "edges", "sigmas", "annotations", "images"}


def custom(path: str | Path, *, split: str = "train") -> KeypointDataset:
    """People with the joints of a TOML file.

    Keys: `name`, `keypoints` (names), `flip_pairs` and `edges` (pairs of names), `sigmas` (one a joint, or one for
    all), and a table a split, `[train]`, with `annotations` (a COCO json) and `images` (folder or zip), relative to
    the file.
    Raises `DatasetError` naming the file and the key.
    """
    file = Path(path)
    content = _read(file)
    skeleton = read_skeleton(file)
    if not isinstance(content.get(split), dict):
        splits = [key for key, value in content.items() if isinstance(value, dict)]
        raise DatasetError(f"{file}: no table [{split}] with annotations and images; tables: {', '.join(splits)}")
    table = content[split]
    if "annotations" not in table:
        raise DatasetError(f"{file}: [{split}] has no annotations")
    images = table.get("images")
    return coco(
        file.parent / table["annotations"],
        images=None if images is None else file.parent / images,
        skeleton=skeleton,
    )


def read_skeleton(path: str | Path) -> Skeleton:
    """The joints of a TOML file; raises `DatasetError` naming the file and what is wrong with it."""
    file = Path(path)
    content = _read(file)
    unknown = [key for key, value in content.items() if key not in KEYS and not isinstance(value, dict)]
    if unknown:
        raise DatasetError(f"{file}: unknown key {unknown[0]!r}; known are {', '.join(sorted(KEYS))}")
    names = content.get("keypoints")
    if not isinstance(names, list) or not names:
        raise DatasetError(f"{file}: keypoints must be a list of names")
    sigmas = content.get("sigmas", 0.05)
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


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: is no TOML ({error})") from None
