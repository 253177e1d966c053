"""YOLOv3, full and tiny.

Redmon and Farhadi, YOLOv3: An Incremental Improvement (arXiv:1804.02767).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrkit import warping
from hrkit.detectors.base import PERSON, check_fraction, find_classes
from hrkit.detectors.darknet import DarknetNetwork, fold_batch_norm, load_darknet_weights
from hrkit.detectors.darknet_cfg import read_cfg, read_text
from hrkit.detectors.networks import NetworkDetector, in_frame, prepared_detector
from hrkit.errors import HrkitError
from hrkit.files import FilePath
from hrkit.geometry import letterbox_transform
from hrkit.ops.suppression import batched_nms
from hrkit.runtimes import prepare
from hrkit.structures import Detections, Frame, Size

CFG_FOLDER = Path(__file__).with_name("cfg")


class Yolov3(NetworkDetector):
    """Finds people, or other classes, with a Darknet network.

    `input_size` is the side of the square letterbox in px, or (height, width). The score of a box is objectness times
    class probability. Boxes with a score of at least `threshold` (0.25) stay; among boxes of one class with an IoU
    above `nms_threshold` (0.45) only the best stays. `classes` are names or numbers of the classes to find, None for
    all; other classes are dropped before suppression. `class_names` are the names of the network's C classes, by
    default COCO's if C is 80; a single class is the person. Frames go through the network in batches of at most
    `max_batch_size`.

    Raises `HrkitError` for settings that make no sense.
    """

    class_ids: Tensor

    def __init__(
        self,
        network: DarknetNetwork,
        *,
        input_size: int | Size = 416,
        threshold: float | None = None,
        nms_threshold: float | None = None,
        classes: str | Sequence[str | int] | None = PERSON,
        class_names: Sequence[str] | None = None,
        max_batch_size: int = 8,
    ) -> None:
        super().__init__(network, max_batch_size)
        self.size: Size = (input_size, input_size) if isinstance(input_size, int) else (input_size[0], input_size[1])
        if any(side < 1 or side % network.stride for side in self.size):
            raise HrkitError(f"input_size={input_size}; it must be a multiple of {network.stride}")
        self.input_size: int | Size = self.size[0] if self.size[0] == self.size[1] else self.size
        self.threshold: float = check_fraction("threshold", 0.25 if threshold is None else threshold)
        self.nms_threshold: float = check_fraction("nms_threshold", 0.45 if nms_threshold is None else nms_threshold)
        if class_names is None and network.num_classes == 80:
            class_names = read_class_names(CFG_FOLDER / "coco.names")
        self.class_names: tuple[str, ...] = tuple(class_names or ())
        if class_names is not None and len(self.class_names) != network.num_classes:
            problem = f"{len(self.class_names)} class names for a network of {network.num_classes} classes"
            raise HrkitError(f"{problem}; give one per class")
        class_ids = find_classes(classes, self.class_names, network.num_classes)
        self.register_buffer("class_ids", torch.tensor(class_ids), persistent=False)

    def prepared(self, device: torch.device, precision: str = "auto", runtime: str = "auto") -> Yolov3:
        """A copy made fast for inference on `device`, as `prepare.prepare` does; this one stays as it is."""
        return prepared_detector(self, self.size, device, precision, runtime)

    def find(self, frames: Sequence[Frame]) -> list[Detections]:
        """One `Detections` for each frame of a batch."""
        device, dtype = prepare.placement(self.network)
        squares = warping.letterbox(frames, self.size, device).to(device)
        rows = self._select(self.network(squares.permute(0, 3, 1, 2).flip(1).to(dtype).div_(255)))  # RGB in 0..1
        sizes = [frame.shape[:2] for frame in frames]
        return [_in_frame(rows[rows[:, 0] == index, 1:], size, self.size) for index, size in enumerate(sizes)]

    def _select(self, predictions: Tensor) -> NDArray[np.float32]:
        """(N,A,5+C) -> (M,7) boxes left after threshold and suppression, best first.

        Columns: index of the frame, x1, y1, x2, y2 in letterbox px, score, class.
        """
        scores = predictions[..., 4:5] * predictions[..., 5:].index_select(2, self.class_ids)
        # NaN compares false, so it is dropped here too
        frame, row, column = (scores >= self.threshold).nonzero().unbind(1)
        scores, (center, size) = scores[frame, row, column], predictions[frame, row, :4].split(2, 1)
        boxes = torch.cat([center - size / 2, center + size / 2], 1)
        # a faulty network may give inf; no sensible box is larger than three sides of the input
        boxes = boxes.nan_to_num(nan=0.0).clamp(-max(self.size), 2 * max(self.size))
        keep = batched_nms(boxes, scores, frame * len(self.class_ids) + column, self.nms_threshold)
        parts = (frame[:, None], boxes, scores[:, None], self.class_ids[column][:, None])
        return torch.cat([part[keep].float() for part in parts], 1).cpu().numpy()


def _in_frame(rows: NDArray[np.float32], frame_size: Size, input_size: Size) -> Detections:
    """(M,6) x1, y1, x2, y2 (letterbox px), score, class -> boxes in the frame."""
    scale_x, scale_y, left, top = letterbox_transform(frame_size, input_size)
    boxes = (rows[:, :4] - [left, top, left, top]) / [scale_x, scale_y, scale_x, scale_y]
    return in_frame(boxes, rows[:, 4], rows[:, 5], frame_size)


def read_class_names(path: FilePath) -> tuple[str, ...]:
    """The names in a file, one per line. Raises `HrkitError` if it cannot be read."""
    return tuple(line.strip() for line in read_text(path, "class names").splitlines() if line.strip())


def build(
    default_cfg: Path,
    *,
    weights: FilePath | None = None,
    cfg: FilePath | None = None,
    class_names: FilePath | Sequence[str] | None = None,
    **options: Any,  # those of `Yolov3`
) -> Yolov3:
    """A detector from a cfg and a file of Darknet weights; without `weights` it stays as initialised.

    `cfg` replaces the default cfg, and its width and height are the input size; `class_names` are names or a file of
    names; `options` are those of `Yolov3`. Raises `HrkitError` and `WeightsError` for files that cannot be used.
    """
    network = DarknetNetwork(read_cfg(cfg or default_cfg))
    if isinstance(class_names, (str, os.PathLike)):
        class_names = read_class_names(class_names)
    if cfg is not None:
        options = {"input_size": network.input_size, **options}
    if network.channels != 3:
        raise HrkitError(f"{os.fspath(cfg or default_cfg)}: the network sees {network.channels} channels, not RGB")
    detector = Yolov3(network, class_names=class_names, **options)
    if weights is not None:
        load_darknet_weights(network, weights)
        fold_batch_norm(network)
        network.to(memory_format=torch.channels_last)  # a tenth faster on a CPU, more in half precision on a GPU
    return detector


yolov3: functools.partial[Yolov3] = functools.partial(build, CFG_FOLDER / "yolov3.cfg")
"""YOLOv3 on COCO's 80 classes; options are those of `build`."""
yolov3_tiny: functools.partial[Yolov3] = functools.partial(build, CFG_FOLDER / "yolov3-tiny.cfg")
"""YOLOv3-tiny on COCO's 80 classes; options are those of `build`."""
