"""Person detectors. Each is imported when it is first built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl, lazy

if TYPE_CHECKING:
    from hrkit.detectors.base import Detector


@hookimpl
def register_detectors() -> Mapping[str, Callable[..., Detector]]:
    """hrkit's own detectors."""
    return {
        "yolov3": lazy("hrkit.detectors.yolov3:yolov3"),
        "yolov3_tiny": lazy("hrkit.detectors.yolov3:yolov3_tiny"),
        "synthetic": lazy("hrkit.synthetic:SyntheticDetector"),
    }
