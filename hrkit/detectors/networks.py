"""What detectors with a network share: checked frames in batches, a fast copy, and boxes inside their frames."""

from __future__ import annotations

import copy
import functools
from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hrkit.detectors.base import check_counts
from hrkit.geometry import clip_boxes, resized_size
from hrkit.images import check_frame
from hrkit.runtimes import prepare
from hrkit.runtimes.calibration import WHOLE_PICTURE, varied_crops
from hrkit.structures import Detections, Frame, Size

Owner = TypeVar("Owner", bound="NetworkDetector")


class NetworkDetector(nn.Module):
    """A detector whose frames go through `network` in batches of at most `max_batch_size`.

    A subclass finds the boxes of a batch in `find`, and says in `batch_key` which frames may share one. Raises
    `HrkitError` for a `max_batch_size` below 1.
    """

    def __init__(self, network: nn.Module, max_batch_size: int = 8) -> None:
        super().__init__()
        check_counts(max_batch_size=max_batch_size)
        self.network: nn.Module = network
        self.max_batch_size: int = max_batch_size
        self.eval()

    def find(self, frames: Sequence[Frame]) -> list[Detections]:
        """One `Detections` for each frame of a batch: boxes in frame px, best score first."""
        raise NotImplementedError

    def batch_key(self, frame: Frame) -> Hashable:
        """What the frames of a batch have in common; by default nothing."""
        return None

    @torch.inference_mode()
    def detect(self, images: Sequence[Frame]) -> list[Detections]:
        """One `Detections` for each (H,W,3) uint8 BGR frame, in order: boxes in frame px, best score first.

        Frames may differ in size. Raises `ImageError` for what is not a frame.
        """
        alike: dict[Hashable, list[int]] = {}
        for place, image in enumerate(images):
            check_frame(f"picture {place}", image)
            alike.setdefault(self.batch_key(image), []).append(place)
        if self.network.training:
            self.network.eval()
        found: dict[int, Detections] = {}
        for places in alike.values():
            for start in range(0, len(places), self.max_batch_size):
                batch = places[start : start + self.max_batch_size]
                found.update(zip(batch, self.find([images[place] for place in batch]), strict=True))
        return [found[place] for place in range(len(images))]


def prepared_detector(detector: Owner, size: Size, device: torch.device, precision: str, runtime: str) -> Owner:
    """A copy whose network is made fast for inputs of (height, width), as `prepare.prepare` does.

    The detector itself stays as it is.
    """
    fast, example = copy.copy(detector), torch.zeros(1, 3, *size)
    inputs = functools.partial(_calibration, detector, size)
    fast._modules = {"network": prepare.prepare(detector.network, example, device, precision, runtime, inputs)}
    fast._buffers = {name: None if buffer is None else buffer.to(device) for name, buffer in detector._buffers.items()}
    return fast


def _calibration(detector: NetworkDetector, size: Size) -> list[Tensor]:
    """Inputs (1,3,H,W) to fit int8 to, recorded as the detector makes them."""
    inputs: list[Tensor] = []
    hook = detector.network.register_forward_pre_hook(lambda network, given: inputs.append(given[0].clone()))
    try:
        for frame in varied_crops(size, WHOLE_PICTURE):
            detector.detect([frame])
    finally:
        hook.remove()
    return inputs


def in_frame(boxes: NDArray[Any], scores: NDArray[Any], class_ids: NDArray[Any], frame_size: Size) -> Detections:
    """The boxes (N,4) in px of a frame of (height, width) that have an area inside it, clipped to it, best first."""
    boxes = clip_boxes(boxes.astype(np.float32), frame_size)
    rows = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))  # NaN is not greater
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    return Detections(boxes[rows], scores[rows], class_ids[rows])


def from_resized(rows: NDArray[Any], frame_size: Size, longest: int) -> Detections:
    """`in_frame` of (M,6) x1, y1, x2, y2, score, class in px of a frame whose longer side was brought to `longest`."""
    height, width = resized_size(frame_size, longest)
    scale_x, scale_y = width / frame_size[1], height / frame_size[0]
    return in_frame(rows[:, :4] / [scale_x, scale_y, scale_x, scale_y], rows[:, 4], rows[:, 5], frame_size)
