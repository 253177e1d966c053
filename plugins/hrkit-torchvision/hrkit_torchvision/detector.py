"""A torchvision detection network as a detector of hrkit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from hrkit import Detections
from hrkit.detectors.base import check_fraction, check_frame, find_classes
from hrkit.errors import HrkitError, WeightsError
from hrkit.geometry import clip_boxes
from hrkit.weights.checkpoints import read_checkpoint

PERSON = ("person",)

_ZERO_EPS = ("fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn")
"""Trained with batch norms that added nothing to the variance; torchvision sets theirs back to 0 when it loads them."""


class TorchvisionDetector(nn.Module):
    """Finds people, or other classes, with a detection network of torchvision's, which it takes over and sets up.

    `network` turns a list of (3,H,W) RGB frames in 0..1 into a list of dicts with `boxes`, `labels` and `scores`.
    `class_names` are its classes without the background, which is its label 0: label 1 is class 0, so that COCO's
    person is 0, and `class_names[i]` names class i. `classes` are names or numbers of those to look for, None for all.
    Scores above `threshold` (0.5) stay; of boxes of one class with an IoU above `nms_threshold` (None: as `network` was
    built) the best. The limit of boxes a frame (torchvision's `detections_per_img`) counts the wanted classes only.

    Frames of one size go through the network in batches of at most `max_batch_size`. Frames of unequal size never do:
    torchvision would pad the smaller ones, and a picture's boxes would depend on its neighbours.

    Raises `HrkitError` for settings that make no sense, `UnknownNameError` for a class that is not there.
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
        super().__init__()
        if max_batch_size < 1:
            raise HrkitError(f"max_batch_size={max_batch_size}; it must be at least 1")
        self.network = network
        self.class_names = tuple(class_names)
        self.class_ids = find_classes(classes, self.class_names, len(self.class_names))
        self.max_batch_size = max_batch_size
        last: Any = getattr(network, "roi_heads", network)  # the part that thresholds and suppresses
        last.score_thresh = check_fraction("threshold", 0.5 if threshold is None else threshold)
        if nms_threshold is not None:
            last.nms_thresh = check_fraction("nms_threshold", nms_threshold)
        self.max_detections: int = last.detections_per_img
        if classes is not None:
            last.detections_per_img = self.max_detections * len(self.class_names)  # others must not crowd people out
        self.eval()

    @torch.inference_mode()
    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """One `Detections` for each (H,W,3) uint8 BGR frame, in order: boxes in frame px, best score first.

        Raises `ImageError` for what is no frame.
        """
        for image in images:
            check_frame(image)
        if self.network.training:
            self.network.eval()  # in training it would ask for targets
        found = [Detections.empty()] * len(images)
        for batch in _same_sized(images, self.max_batch_size):
            results = self.network([self._input(images[index]) for index in batch])
            for index, result in zip(batch, results, strict=True):
                found[index] = self._select(result, images[index].shape[:2])
        return found

    def _input(self, frame: NDArray[np.uint8]) -> Tensor:
        """(H,W,3) uint8 BGR -> (3,H,W) RGB in 0..1, on the network's device and in its dtype."""
        parameter = next(self.network.parameters())
        rgb = torch.from_numpy(np.ascontiguousarray(frame[:, :, ::-1].transpose(2, 0, 1)))
        return rgb.to(parameter.device).to(parameter.dtype) / 255

    def _select(self, result: dict[str, Tensor], frame_size: tuple[int, int]) -> Detections:
        """The wanted classes of one frame: boxes with an area inside it, best first."""
        boxes, scores = (result[name].float().cpu().numpy() for name in ("boxes", "scores"))
        boxes, class_ids = clip_boxes(boxes, frame_size), result["labels"].cpu().numpy() - 1
        wanted = np.isin(class_ids, self.class_ids) & (boxes[:, 2:] > boxes[:, :2]).all(1)  # NaN is not greater
        rows = np.flatnonzero(wanted)
        rows = rows[np.argsort(-scores[rows], kind="stable")][: self.max_detections]
        return Detections(boxes[rows], scores[rows], class_ids[rows])


def build(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    threshold: float | None = None,
    nms_threshold: float | None = None,
    classes: str | Sequence[str | int] | None = PERSON,
    class_names: Sequence[str] | None = None,
    max_batch_size: int = 8,
    **options: Any,
) -> TorchvisionDetector:
    """The detector that torchvision's builder `name` makes, in eval mode.

    `weights` is a file of the network's tensors, or None, which leaves it as initialised; nothing is fetched here.
    `class_names` (COCO's 90) are for a network trained on other classes: the background left out, person first.
    `options` go to torchvision's builder (`min_size`, `box_detections_per_img`, `topk_candidates`, ...); the rest is
    as in `TorchvisionDetector`.

    Raises `WeightsError` for a file that is missing, damaged or of another network, `HrkitError` for settings that make
    no sense.
    """
    if class_names is None:
        class_names = coco_class_names(name)
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
    """COCO's 90 categories as torchvision lists them for the builder `name`, "person" first; ids that COCO does not use
    are "N/A"."""
    return tuple(get_model_weights(name).DEFAULT.meta["categories"][1:])


def load_weights(network: nn.Module, path: str | os.PathLike[str], name: str) -> None:
    """Copies the tensors in a file into the network of torchvision's builder `name`; every name and shape must agree.

    Nothing in the file is executed. Raises `WeightsError` if it is missing, damaged or of another network.
    """
    state = read_checkpoint(path).state
    try:
        # a plain dict says no version, so torchvision renames what its older files call differently
        network.load_state_dict(state)
    except RuntimeError as error:
        first, *more = [" ".join(line.split()) for line in str(error).splitlines()[1:]] or [str(error)]
        first = first if len(first) <= 160 else f"{first[:160]} ..."
        rest = f" (and {len(more)} lines more)" if more else ""
        raise WeightsError(
            f"{os.fspath(path)} does not fit {name}: {first}{rest}; "
            "take the detector that the file was saved from, and class_names if it is not of COCO"
        ) from None
    if name in _ZERO_EPS:
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eps = 0.0


def _same_sized(images: Sequence[NDArray[np.uint8]], most: int) -> Iterator[list[int]]:
    """Positions of frames of one size, at most `most` at a time."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        by_size.setdefault(image.shape, []).append(index)
    for indices in by_size.values():
        for start in range(0, len(indices), most):
            yield indices[start : start + most]
