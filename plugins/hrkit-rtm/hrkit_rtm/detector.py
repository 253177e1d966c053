"""The detectors `rtmdet_*`: pictures of any size in, boxes out, as MMDetection does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from hrkit.detectors.base import PERSON, check_counts, check_fraction, find_classes, square_side
from hrkit.detectors.networks import NetworkDetector, from_resized, prepared_detector
from hrkit.detectors.yolov3 import CFG_FOLDER, read_class_names
from hrkit.errors import WeightsError
from hrkit.files import FilePath
from hrkit.geometry import resized_size
from hrkit.ops import batched_nms
from hrkit.runtimes import prepare
from hrkit.structures import Detections, Frame, Size
from hrkit.warping import normalise
from hrkit.weights import checkpoints
from hrkit_rtm.rtmdet import STRIDES, VARIANTS, RTMDetNetwork, corners

MEAN, STD = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)
"""Of blue, green and red, 0 to 1."""
GREY = 114
"""Beside the picture."""
PER_LEVEL = 1000
"""Candidates per picture and level that go into suppression, the best of those above the threshold."""


class RTMDet(NetworkDetector):
    """Finds people, or other classes.

    Frames are resized to an `input_size` px square, a multiple of 32, with grey to the right or below. Boxes with a
    score of at least `threshold` (0.3) stay; among boxes of one class with an IoU above `nms_threshold` (0.6) only the
    best stays, and at most `max_detections` per frame. `classes` are names or numbers of the classes to find, None for
    all; others are dropped before suppression. `class_names` are by default COCO's for 80 classes and "person" for one.

    Raises `HrkitError` for settings that make no sense.
    """

    class_ids: Tensor
    export_metadata: Mapping[str, Any] = {
        "mean": list(MEAN),
        "std": list(STD),
        "channel_order": "bgr",
        "columns": ["logit of each class", "px to left, top, right and bottom from the upper left corner of the cell"],
        "strides": list(STRIDES),
    }
    """What an exported file says of the network's input, in 0..1, and of its output (N,A,classes+4)."""

    def __init__(
        self,
        network: RTMDetNetwork,
        *,
        input_size: int | Size = 640,
        threshold: float | None = None,
        nms_threshold: float | None = None,
        classes: str | Sequence[str | int] | None = PERSON,
        class_names: Sequence[str] | None = None,
        max_detections: int = 100,
        max_batch_size: int = 8,
    ) -> None:
        super().__init__(network, max_batch_size)
        check_counts(max_detections=max_detections)
        self.input_size, self.max_detections = square_side(input_size, STRIDES[-1]), max_detections
        self.threshold = check_fraction("threshold", 0.3 if threshold is None else threshold)
        self.nms_threshold = check_fraction("nms_threshold", 0.6 if nms_threshold is None else nms_threshold)
        if class_names is None:
            class_names = {1: PERSON, 80: read_class_names(CFG_FOLDER / "coco.names")}.get(network.num_classes, ())
        self.class_names = tuple(class_names)
        class_ids = find_classes(classes, self.class_names, network.num_classes)
        self.register_buffer("class_ids", torch.tensor(class_ids), persistent=False)

    def prepared(self, device: torch.device, precision: str = "auto", runtime: str = "auto") -> RTMDet:
        """A copy made fast for inference on `device`, as `prepare.prepare` does; this one stays as it is."""
        return prepared_detector(self, (self.input_size, self.input_size), device, precision, runtime)

    def find(self, frames: Sequence[Frame]) -> list[Detections]:
        """One `Detections` for each frame of a batch."""
        squares = torch.from_numpy(np.stack([to_square(frame, self.input_size) for frame in frames]))
        rows = self.select(self.network(normalise(squares, MEAN, STD, *prepare.placement(self.network))).float())
        parts = ((rows[rows[:, 0] == place, 1:], frame.shape[:2]) for place, frame in enumerate(frames))
        return [from_resized(part, size, self.input_size) for part, size in parts]

    def select(self, outputs: Tensor) -> NDArray[np.float32]:
        """(N,A,classes+4) -> (M,7) boxes left after threshold and suppression, best first.

        Columns: index of the frame, x1, y1, x2, y2 in input px, score, class.
        """
        frame, boxes, scores, column = self.candidates(outputs)
        keep = batched_nms(boxes, scores, frame * len(self.class_ids) + column, self.nms_threshold)
        parts = (frame[:, None], boxes, scores[:, None], self.class_ids[column][:, None])
        rows = torch.cat([part[keep].float() for part in parts], 1).cpu().numpy()
        within = [np.flatnonzero(rows[:, 0] == index)[: self.max_detections] for index in range(len(outputs))]
        return rows[np.sort(np.concatenate(within))]

    def candidates(self, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What suppression chooses from: index of the frame (M,), boxes (M,4) in input px, scores and classes (M,).

        A class is the place of its number in `class_ids`.
        """
        logits, distances = outputs[..., :-4].index_select(2, self.class_ids), outputs[..., -4:]
        scores = logits.sigmoid()
        frame, cell, column = (scores >= self.threshold).nonzero().unbind(1)  # NaN compares false
        ends = torch.tensor([(self.input_size // stride) ** 2 for stride in STRIDES], device=cell.device).cumsum(0)
        best = _best_of_levels(frame, torch.bucketize(cell, ends, right=True), scores[frame, cell, column])
        frame, cell, column = frame[best], cell[best], column[best]
        at, distance = corners(self.input_size, self.input_size, outputs.device)[cell], distances[frame, cell]
        boxes = torch.cat([at - distance[:, :2], at + distance[:, 2:]], 1)
        boxes = boxes.nan_to_num(nan=0.0).clamp(0, self.input_size)
        whole = (boxes[:, 2:] > boxes[:, :2]).all(1)
        frame, cell, column = frame[whole], cell[whole], column[whole]
        return frame, boxes[whole], scores[frame, cell, column], column


def _best_of_levels(frame: Tensor, level: Tensor, scores: Tensor) -> Tensor:
    """The places in (M,) of the candidates to keep, best first: at most `PER_LEVEL` per frame and level."""
    order = scores.argsort(descending=True, stable=True)
    if len(order) <= PER_LEVEL:
        return order
    group = F.one_hot((frame * len(STRIDES) + level)[order])
    place = group.cumsum(0).mul_(group).amax(1)  # counted from 1 within each group
    return order[place <= PER_LEVEL]


def to_square(frame: Frame, input_size: int) -> Frame:
    """(H,W,3) -> (S,S,3): resized (bilinear) at the upper left, the rest grey."""
    height, width = resized_size(frame.shape[:2], input_size)
    square = np.full((input_size, input_size, 3), GREY, np.uint8)
    square[:height, :width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return square


def rtmdet(
    size: str, *, weights: FilePath | None = None, num_classes: int | None = None, **options: Any
) -> RTMDet:
    """The detector of one of `VARIANTS`; `options` are those of `RTMDet`.

    `weights` is a file of MMDetection's or MMPose's, which says how many classes there are; without it the network
    stays as initialised, for `num_classes` (1). Raises `WeightsError` for a file that does not fit.
    """
    variant = VARIANTS[size]
    checkpoint = None if weights is None else checkpoints.read_checkpoint(weights)
    if checkpoint is not None:
        last = checkpoint.state.get("bbox_head.rtm_cls.0.weight")
        if last is None:
            raise WeightsError(f"{checkpoint.path} does not fit rtmdet_{size}: it has no bbox_head.rtm_cls")
        num_classes = len(last)
    network = RTMDetNetwork(variant, num_classes or 1)
    if checkpoint is not None:
        checkpoints.load(network, checkpoint, f"rtmdet_{size} with {num_classes} classes")
        network.to(memory_format=torch.channels_last)
    return RTMDet(network, **{"input_size": variant.input_size, **options})
