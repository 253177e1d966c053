"""`lite_person`: finds people with `person_network`, in pictures of any size and shape."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hrkit import warping
from hrkit.detectors.base import check_counts, check_fraction, square_side
from hrkit.detectors.networks import NetworkDetector, from_resized, prepared_detector
from hrkit.errors import WeightsError
from hrkit.geometry import resized_size
from hrkit.ops import batched_nms
from hrkit.ops.suppression import box_iou
from hrkit.runtimes import prepare
from hrkit.structures import Detections, Frame, Size
from hrkit_lite.person_network import STRIDES, PersonNetwork, cell_centers, decode_boxes

INPUT_SIZE = 416
THRESHOLD = 0.55
NMS_THRESHOLD = 0.55
VOTE_IOU = 0.7
"""Boxes that overlap a found one by this much are averaged into it."""
WEAKEST_VOTE = 0.1
"""Score of the least sure box that is averaged into another."""
MEAN = (0.406, 0.456, 0.485)
"""Of blue, green and red in 0..1; so is `STD`."""
STD = (0.225, 0.224, 0.229)
CPU = torch.device("cpu")
MAX_CANDIDATES = 1000
"""Boxes per picture that go into suppression, the best of those above the threshold."""


class PersonDetector(NetworkDetector):
    """Finds people.

    `input_size` is the longest side in px to which frames are resized, a multiple of 32. Boxes with a score of at least
    `threshold` (0.55) stay; of two with an IoU above `nms_threshold` (0.55) the better one, at most `max_detections`
    per frame. What stays is averaged with the boxes around it. Frames of the same shape go through the network in
    batches of at most `max_batch_size`.

    Raises `HrkitError` for settings that make no sense.
    """

    class_names = ("person",)
    export_metadata: Mapping[str, Any] = {
        "mean": list(MEAN),
        "std": list(STD),
        "channel_order": "bgr",
        "columns": ["logit of a person", "11 logits each of the distances to left, top, right and bottom"],
        "strides": list(STRIDES),
    }
    """What an exported file says of the network's input, in 0..1, and of its output (N,A,45)."""

    def __init__(
        self,
        network: nn.Module,
        *,
        input_size: int | Size = INPUT_SIZE,
        threshold: float | None = None,
        nms_threshold: float | None = None,
        max_detections: int = 100,
        max_batch_size: int = 8,
    ) -> None:
        super().__init__(network, max_batch_size)
        check_counts(max_detections=max_detections)
        self.input_size, self.max_detections = square_side(input_size, STRIDES[-1]), max_detections
        self.threshold = check_fraction("threshold", THRESHOLD if threshold is None else threshold)
        self.nms_threshold = check_fraction("nms_threshold", NMS_THRESHOLD if nms_threshold is None else nms_threshold)

    def prepared(self, device: torch.device, precision: str = "auto", runtime: str = "auto") -> PersonDetector:
        """A copy that is made fast for `device`; this detector stays as it is. See `prepare.prepare`."""
        return prepared_detector(self, (self.input_size, self.input_size), device, precision, runtime)

    def batch_key(self, frame: Frame) -> Size:
        """The size of the network's input."""
        return padded_size(resized_size(frame.shape[:2], self.input_size))

    def find(self, frames: Sequence[Frame]) -> list[Detections]:
        """One `Detections` for each frame of a batch."""
        batch = np.zeros((len(frames), *(size := self.batch_key(frames[0])), 3), np.uint8)
        for frame, place in zip(frames, batch, strict=True):
            resize_into(frame, place, self.input_size)
        images = normalise(torch.from_numpy(batch), *prepare.placement(self.network))
        rows = self._select(self.network(images).float(), size)
        parts = ((rows[rows[:, 0] == place, 1:], frame.shape[:2]) for place, frame in enumerate(frames))
        return [from_resized(part, size, self.input_size) for part, size in parts]

    def _select(self, outputs: Tensor, size: Size) -> NDArray[np.float32]:
        """(N,A,45) for inputs of `size` -> (M,7) what is left after threshold and suppression, best first.

        Columns: place of the frame in the batch, x1, y1, x2, y2 in input px, score, class 0.
        """
        scores = outputs[..., 0].sigmoid().nan_to_num(0.0)
        best, cells = scores.topk(min(MAX_CANDIDATES, scores.shape[1]))
        frame, column = (best >= min(self.threshold, WEAKEST_VOTE)).nonzero().unbind(1)
        chosen, cell = best[frame, column], cells[frame, column]
        centers, strides = cell_centers(size, outputs.device)
        boxes = decode_boxes(outputs[frame, cell, 1:], centers[cell], strides[cell])
        boxes = boxes.nan_to_num(nan=0.0)  # a network gone astray
        found = (chosen >= self.threshold).nonzero()[:, 0]
        keep = found[batched_nms(boxes[found], chosen[found], frame[found], self.nms_threshold)]
        voted = averaged(boxes, chosen, frame, keep)
        parts = (frame[keep, None], voted, chosen[keep, None], torch.zeros_like(chosen[keep, None]))
        rows = torch.cat([part.float() for part in parts], 1).cpu().numpy()
        within = [np.flatnonzero(rows[:, 0] == place)[: self.max_detections] for place in range(len(outputs))]
        return rows[np.sort(np.concatenate(within))]


def averaged(boxes: Tensor, scores: Tensor, frame: Tensor, keep: Tensor) -> Tensor:
    """The boxes (K,4) at places `keep` of (M,4), each the mean of those of its frame that overlap it by `VOTE_IOU`.

    Sure boxes count more: the scores (M,) are the weights. Neighbouring cells see the same person, and err differently
    (Gidaris and Komodakis, Object detection via a multi-region CNN, ICCV 2015).
    """
    alike = (box_iou(boxes[keep], boxes) >= VOTE_IOU) & (frame[keep, None] == frame)
    exact = boxes.dtype if boxes.device.type == "mps" else torch.float64  # so a mean does not depend on other frames
    weights = alike * scores.to(exact)
    total = weights.sum(1, keepdim=True)
    return torch.where(total > 0, (weights @ boxes.to(exact) / total).to(boxes.dtype), boxes[keep])


def padded_size(size: Size) -> Size:
    """The next multiples of 32."""
    height, width = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in size)
    return height, width


def resize_into(frame: Frame, out: Frame, input_size: int) -> None:
    """Resizes a (H,W,3) frame into the upper left of `out` (H',W',3), which is black.

    Pixels are averaged. Large frames are halved first, which OpenCV does eight times as fast.
    """
    height, width = resized_size(frame.shape[:2], input_size)
    while min(frame.shape[0] / height, frame.shape[1] / width) >= 2 and not any(side % 2 for side in frame.shape[:2]):
        half = (frame.shape[1] // 2, frame.shape[0] // 2)
        frame = cv2.resize(frame, half, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)  # in OpenCV's types
    smaller = height < frame.shape[0] or width < frame.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    out[:height, :width] = cv2.resize(frame, (width, height), interpolation=how)


def normalise(batch: Tensor, device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> Tensor:
    """(N,H,W,3) uint8 BGR -> (N,3,H,W) on `device`, as the network takes it."""
    return warping.normalise(batch, MEAN, STD, device, dtype)


def lite_person(*, weights: str | os.PathLike[str] | None = None, **options: Any) -> PersonDetector:
    """Finds people; `options` are those of `PersonDetector`.

    `weights` is a .safetensors file of `PersonNetwork`; without it the network stays as initialised. Raises
    `WeightsError` for a file that does not fit.
    """
    network = PersonNetwork()
    if weights is not None:
        load_weights(network, weights)
        network.to(memory_format=torch.channels_last)
    return PersonDetector(network, **options)


def load_weights(network: PersonNetwork, path: str | os.PathLike[str]) -> None:
    """Copies the weights of a file into `network`. Raises `WeightsError` for a file that does not fit."""
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, safetensors.SafetensorError, RuntimeError) as error:
        why = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{os.fspath(path)} does not fit lite_person: {why}; install hrkit-lite again") from error
