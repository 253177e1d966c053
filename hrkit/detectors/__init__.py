"""Person detectors. Each is imported when it is first built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hrkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from hrkit.detectors.base import Detector


@hookimpl
def register_detectors() -> Mapping[str, Callable[..., Detector]]:
    """hrkit's own detectors."""
    return {"yolov3": _yolov3, "yolov3_tiny": _yolov3_tiny, "synthetic": _synthetic}


def _yolov3(**options: Any) -> Detector:
    from hrkit.detectors.yolov3 import yolov3

    return yolov3(**options)


def _yolov3_tiny(**options: Any) -> Detector:
    from hrkit.detectors.yolov3 import yolov3_tiny

    return yolov3_tiny(**options)


def _synthetic(**options: Any) -> Detector:
    from hrkit.synthetic import SyntheticDetector

    return SyntheticDetector(**options)
