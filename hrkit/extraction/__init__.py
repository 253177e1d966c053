"""Extraction: keypoint files from one video, or from any number of pictures and videos, resumable at any time.

The names of this package are imported when they are first used, because `hrkit --help` lists its engine.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl, lazy

if TYPE_CHECKING:
    from hrkit.extraction.formats import write_keypoints
    from hrkit.extraction.inputs import Inputs, find_inputs
    from hrkit.extraction.manifest import Result
    from hrkit.extraction.many_inputs import Progress, extract_all
    from hrkit.extraction.one_video import extract
    from hrkit.extraction.photos import extract_photos
    from hrkit.extraction.worker import Job

_HOMES = {
    "Inputs": "inputs", "Job": "worker", "Progress": "many_inputs", "Result": "manifest", "extract": "one_video",
    "extract_all": "many_inputs", "extract_photos": "photos", "find_inputs": "inputs", "write_keypoints": "formats",
}

__all__ = [
    "Inputs", "Job", "Progress", "Result", "extract", "extract_all", "extract_photos", "find_inputs", "write_keypoints",
]


@hookimpl
def register_engines() -> Mapping[str, Callable[..., object]]:
    """hrkit's own engine."""
    return {"local": lazy("hrkit.extraction.worker:local")}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'hrkit.extraction' has no attribute {name!r}")
    value: object = pkgutil.resolve_name(f"hrkit.extraction.{_HOMES[name]}:{name}")
    return globals().setdefault(name, value)
