"""Makes a torchvision detection network a detector of hrkit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from hrkit import Detections
from hrkit.detectors.base import PERSON, check_fraction, find_classes
from hrkit.detectors.networks import NetworkDetector, in_frame
from hrkit.errors import WeightsError
from hrkit.structures import Frame, Size
from hrkit.weights.checkpoints import read_checkpoint

_ZERO_EPS = ("fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn")
"""Networks trained with batch norms whose eps was 0. torchvision sets it to 0 when it loads their weights."""


class TorchvisionDetector(NetworkDetector):
    """Finds people, or other classes, with a detection network of torchvision, whose settings it changes.

    `network` turns a list of (3,H,W) RGB frames in 0..1 into a list of dicts with `boxes`, `labels` and `scores`.
    `class_names` are its classes without the background, which has label 0: label 1 is class 0, so COCO's person is 0.
    `classes` are names or numbers of the classes to find; None finds all. Only boxes with a score above `threshold`
    (0.5) are kept. If boxes of one class overlap with an IoU above `nms_threshold` (None: as in `network`), the best is
    kept. The limit of boxes per frame (torchvision's `detections_per_img`) counts the wanted classes only.

    Frames of equal size go through the network in batches of at most `max_batch_size`. Frames of different sizes do not
    share a batch, as torchvision would pad the smaller ones and their boxes would depend on the other frames.

    Raises `HrkitError` for invalid settings and `UnknownNameError` for an unknown class.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        class_names: Sequence[str],
        threshold: float | None = None,
        nms_threshold: float | None = None,
        classes: str | Sequence[str | int] | None = PERSON,
        max_batch_size: int = 8,
    ) -> None:
        super().__init__(network, max_batch_size)
        self.class_names = tuple(class_names)
        self.class_ids = find_classes(classes, self.class_names, len(self.class_names))
        # Any: torchvision sets these attributes on the last part without declaring them
        last: Any = getattr(network, "roi_heads", network)
        last.score_thresh = check_fraction("threshold", 0.5 if threshold is None else threshold)
        if nms_threshold is not None:
            last.nms_thresh = check_fraction("nms_threshold", nms_threshold)
        self.max_detections: int = last.detections_per_img
        if classes is not None:
            last.detections_per_img = self.max_detections * len(self.class_names)  # others must not displace people

    def batch_key(self, frame: Frame) -> tuple[int, ...]:
        """The size of the frame."""
        return frame.shape

    def find(self, frames: Sequence[Frame]) -> list[Detections]:
        """One `Detections` for each frame of a batch."""
        results = self.network([self._input(frame) for frame in frames])
        return [self._select(result, frames[0].shape[:2]) for result in results]

    def _input(self, frame: Frame) -> Tensor:
        """(H,W,3) uint8 BGR -> (3,H,W) RGB in 0..1, on the network's device and in its dtype."""
        parameter = next(self.network.parameters())
        rgb = torch.from_numpy(np.ascontiguousarray(frame[:, :, ::-1].transpose(2, 0, 1)))
        return rgb.to(parameter.device).to(parameter.dtype) / 255

    def _select(self, result: dict[str, Tensor], frame_size: Size) -> Detections:
        """The boxes of wanted classes that have an area inside the frame, best first."""
        boxes, scores = (result[name].float().cpu().numpy() for name in ("boxes", "scores"))
        class_ids = result["labels"].cpu().numpy() - 1
        wanted = np.isin(class_ids, self.class_ids)
        found = in_frame(boxes[wanted], scores[wanted], class_ids[wanted], frame_size)
        most = slice(self.max_detections)
        return Detections(found.xyxy[most], found.scores[most], found.class_ids[most])


def build(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    threshold: float | None = None,
    nms_threshold: float | None = None,
    classes: str | Sequence[str | int] | None = PERSON,
    class_names: Sequence[str] | None = None,
    input_size: int | None = None,
    max_batch_size: int = 8,
    **options: Any,  # Any: each builder has options of its own
) -> TorchvisionDetector:
    """Builds the detector of torchvision's builder `name`, in eval mode.

    `weights` is a file with the network's tensors; None leaves it as initialised. Nothing is downloaded. `class_names`
    (default: COCO's 90) are for a network trained on other classes, person first, without the background. `input_size`
    is the shorter side of resized frames, torchvision's `min_size`. `options` are passed to torchvision's builder
    (`min_size`, `box_detections_per_img`, `topk_candidates`, ...). The rest is as in `TorchvisionDetector`.

    Raises `WeightsError` if the file is missing, damaged or from another network, `HrkitError` for invalid settings.
    """
    if class_names is None:
        class_names = coco_class_names(name)
    if input_size is not None:
        options["min_size"] = input_size
    network = get_model(name, weights=None, weights_backbone=None, num_classes=len(class_names) + 1, **options)
    if weights is not None:
        load_weights(network, weights, name)
    return TorchvisionDetector(
        network,
        class_names=class_names,
        threshold=threshold,
        nms_threshold=nms_threshold,
        classes=classes,
        max_batch_size=max_batch_size,
    )


def coco_class_names(name: str) -> tuple[str, ...]:
    """COCO's 90 categories as torchvision lists them for `name`: "person" first, "N/A" for unused ids."""
    return tuple(get_model_weights(name).DEFAULT.meta["categories"][1:])


def load_weights(network: nn.Module, path: str | os.PathLike[str], name: str) -> None:
    """Copies the tensors of a file into the network of torchvision's builder `name`; all names and shapes must match.

    Nothing in the file is executed. Raises `WeightsError` if it is missing, damaged or from another network.
    """
    state = read_checkpoint(path).state
    try:
        # a plain dict has no version, so torchvision renames parameters of its older files
        network.load_state_dict(state)
    except RuntimeError as error:
        first, *more = [" ".join(line.split()) for line in str(error).splitlines()[1:]] or [str(error)]
        first = first if len(first) <= 160 else f"{first[:160]} ..."
        rest = f" (and {len(more)} more lines)" if more else ""
        raise WeightsError(
            f"{os.fspath(path)} does not fit {name}: {first}{rest}; "
            "use the detector that the file was saved from, and class_names if it was not trained on COCO"
        ) from None
    if name in _ZERO_EPS:
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eps = 0.0
