"""What a detector is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hrkit.structures import Detections


@runtime_checkable
class Detector(Protocol):
    """Finds people in frames.

    A detector that is a `torch.nn.Module` is moved to the pipeline's device; any other object works as it is.
    """

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """One `Detections` for each (H,W,3) uint8 BGR frame, in order.

        Boxes are in frame px and inside the frame, best score first. Frames may differ in size; none is modified.
        """
        ...
