"""Datasets of people with keypoints. Each is imported when it is first built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl, lazy

if TYPE_CHECKING:
    from hrkit.datasets.base import KeypointDataset


@hookimpl
def register_datasets() -> Mapping[str, Callable[..., KeypointDataset]]:
    """hrkit's own datasets."""
    return {name: lazy(f"hrkit.datasets.{name}:{name}") for name in ("coco", "mpii", "custom")}
