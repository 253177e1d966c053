"""hrkit: multi-person, top-down 2D human pose estimation.

>>> from hrkit import Pipeline
>>> pipeline = Pipeline.from_names("lite", "lite_person")
>>> poses = pipeline("photo.jpg")

Importing hrkit loads no other module; each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrkit.errors import HrkitError
    from hrkit.hookspecs import hookimpl
    from hrkit.pipeline import Pipeline, create_detector
    from hrkit.pose_model import PoseModel, create_pose_model
    from hrkit.registry import list_names
    from hrkit.structures import Crops, Detections, Poses, Skeleton

__version__ = "0.1.0"

_HOME = {
    **dict.fromkeys(("Crops", "Detections", "Poses", "Skeleton"), "structures"),
    **dict.fromkeys(("Pipeline", "create_detector"), "pipeline"),
    **dict.fromkeys(("PoseModel", "create_pose_model"), "pose_model"),
    "HrkitError": "errors",
    "hookimpl": "hookspecs",
    "list_names": "registry",
}
"""The module of each public name."""

__all__ = [
    "Crops", "Detections", "HrkitError", "Pipeline", "PoseModel", "Poses", "Skeleton", "__version__", "create_detector",
    "create_pose_model", "hookimpl", "list_names",
]

_MOVED = {
    "annotators": "drawing.annotators", "arrays": "structures", "bottom_up": "pose_model",
    "bulk": "extraction.many_inputs", "config": "training.config", "distributed": "runtimes.distributed",
    "detected_boxes": "evaluation.detected_boxes", "following": "tracking.follower", "inputs": "extraction.inputs",
    "live": "video.cameras", "manifest": "extraction.manifest", "metrics": "evaluation.pck",
    "objective": "training.objective", "palette": "drawing.colors", "publishing": "training.publishing",
    "runs": "training.run_folder", "sinks": "video.sinks", "smoothing": "tracking.smoother",
    "writers": "extraction.formats", "zoo": "weights.catalogue", "zoo_entries": "weights.catalogue",
}
"""Modules that moved, by their old name, which still imports them."""


class _MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of `_MOVED` under their old names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, name = fullname.partition(".")
        found = package == "hrkit" and name in _MOVED
        return importlib.machinery.ModuleSpec(fullname, self) if found else None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.partition(".")[2]
        sys.modules[module.__name__] = importlib.import_module(f"hrkit.{_MOVED[name]}")


sys.meta_path.append(_MovedModules())


def __getattr__(name: str) -> Any:
    """Imports a public name, or a module, when it is first used."""
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
