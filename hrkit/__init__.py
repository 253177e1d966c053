"""hrkit: multi-person, top-down 2D human pose estimation.

>>> from hrkit import Pipeline
>>> pipeline = Pipeline.from_names("lite", "lite_person")
>>> poses = pipeline("photo.jpg")

Importing hrkit loads nothing but this page; each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hrkit.errors import HrkitError
    from hrkit.hookspecs import hookimpl
    from hrkit.pipeline import Pipeline, create_detector
    from hrkit.pose_model import PoseModel, create_pose_model
    from hrkit.registry import list_names
    from hrkit.structures import Crops, Detections, Poses, Skeleton

_HOME = {
    "Crops": "structures",
    "Detections": "structures",
    "HrkitError": "errors",
    "Pipeline": "pipeline",
    "PoseModel": "pose_model",
    "Poses": "structures",
    "Skeleton": "structures",
    "create_detector": "pipeline",
    "create_pose_model": "pose_model",
    "hookimpl": "hookspecs",
    "list_names": "registry",
}

__all__ = [
    "Crops",
    "Detections",
    "HrkitError",
    "Pipeline",
    "PoseModel",
    "Poses",
    "Skeleton",
    "__version__",
    "create_detector",
    "create_pose_model",
    "hookimpl",
    "list_names",
]


def __getattr__(name: str) -> Any:
    """Looks a public name up in the module it lives in, once."""
    if name not in _HOME:
        try:
            return importlib.import_module(f"hrkit.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"hrkit.{name}":
                raise
            raise AttributeError(f"module 'hrkit' has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"hrkit.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
