"""Datasets of people with keypoints. Each is imported when it is first built."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hrkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from hrkit.datasets.base import KeypointDataset


def _later(name: str) -> Callable[..., KeypointDataset]:
    """The builder `name` of the module of that name, imported when it is called."""

    def build(*args: Any, **options: Any) -> KeypointDataset:
        return getattr(importlib.import_module(f"hrkit.datasets.{name}"), name)(*args, **options)

    return build


@hookimpl
def register_datasets() -> Mapping[str, Callable[..., KeypointDataset]]:
    """hrkit's own datasets."""
    return {name: _later(name) for name in ("coco", "mpii", "custom")}
