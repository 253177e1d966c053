"""Detectors of Hugging Face transformers, such as RT-DETR, as detectors of hrkit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModelForObjectDetection, PretrainedConfig

from hrkit import Detections
from hrkit.detectors.base import PERSON, check_fraction, find_classes
from hrkit.detectors.networks import NetworkDetector, in_frame
from hrkit.errors import HrkitError, WeightsError, one_line
from hrkit.ops import batched_nms
from hrkit.runtimes.prepare import placement
from hrkit.structures import Frame, Size
from hrkit_vitpose.hub import find, quiet, read_config

PROCESSOR = "preprocessor_config.json"


class HubDetector(NetworkDetector):
    """Finds people, or other classes, with an object detection network of transformers and its image processor.

    `class_names` are the network's labels, with the person first. `classes` are names or numbers of the classes to
    find, whatever the case of their letters; None finds all. Only boxes with a score above `threshold` (0.5) are kept.
    These networks give each object once; with `nms_threshold`, of boxes of one class that overlap with a larger IoU the
    best is kept. Frames of equal size go through the network in batches of at most `max_batch_size`.

    Raises `HrkitError` for invalid settings, `UnknownNameError` for an unknown class.
    """

    def __init__(
        self,
        network: nn.Module,
        processor: Any,  # each network has one of its own type
        *,
        threshold: float | None = None,
        nms_threshold: float | None = None,
        classes: str | Sequence[str | int] | None = PERSON,
        max_batch_size: int = 8,
    ) -> None:
        super().__init__(network, max_batch_size)
        self.processor = processor
        self.threshold = check_fraction("threshold", 0.5 if threshold is None else threshold)
        self.nms_threshold = None if nms_threshold is None else check_fraction("nms_threshold", nms_threshold)
        config: Any = network.config  # Any: of each network
        labels = sorted(config.id2label, key=lambda label: (config.id2label[label].lower() not in PERSON, label))
        self.class_names = tuple(config.id2label[label] for label in labels)
        self.class_ids = find_classes(classes, self.class_names, len(labels))
        self._class_of = np.zeros(max(labels) + 1, np.int64)
        self._class_of[labels] = np.arange(len(labels))

    def batch_key(self, frame: Frame) -> tuple[int, ...]:
        """The size of the frame."""
        return frame.shape

    def find(self, frames: Sequence[Frame]) -> list[Detections]:
        """One `Detections` for each frame of a batch."""
        device, dtype = placement(self.network)
        rgb = [np.ascontiguousarray(frame[:, :, ::-1]) for frame in frames]
        inputs = self.processor(images=rgb, input_data_format="channels_last", return_tensors="pt")
        results: list[dict[str, Tensor]] = self.processor.post_process_object_detection(
            self.network(**inputs.to(device, dtype)),
            threshold=self.threshold,
            target_sizes=[frame.shape[:2] for frame in frames],
        )
        return [self._select(result, frames[0].shape[:2]) for result in results]

    def _select(self, result: dict[str, Tensor], size: Size) -> Detections:
        """The boxes of wanted classes that have an area inside the frame, best first."""
        boxes, scores, labels = (result[name].float().cpu().numpy() for name in ("boxes", "scores", "labels"))
        class_ids = self._class_of[labels.astype(np.int64)]
        wanted = np.isin(class_ids, self.class_ids)
        found = in_frame(boxes[wanted], scores[wanted], class_ids[wanted], size)
        if self.nms_threshold is None:
            return found
        classes: NDArray[Any] = found.class_ids  # Any: of another type than boxes and scores
        return found[batched_nms(found.xyxy, found.scores, classes, self.nms_threshold)]


def from_hub(repository: str, *, weights: Path | None = None, **options: Any) -> HubDetector:  # Any: as HubDetector's
    """The detector that `owner/name` on the Hub describes, in evaluation mode.

    `weights` is its file `model.safetensors`, or one of the same network, and the descriptions are read beside it if
    they are there; None leaves the network as initialised. No code of a repository is run. Raises `DownloadError` if a
    description cannot be fetched, `WeightsError` if the file does not fit, `HrkitError` if it is no detector.
    """
    file = None if weights is None else Path(weights)
    config = read_config(repository, file)
    try:
        with quiet():
            processor = AutoImageProcessor.from_pretrained(find(repository, PROCESSOR, file), trust_remote_code=False)
            network = _network(config, file)
    except HrkitError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise HrkitError(f"hf/{repository} cannot be used as a detector ({one_line(error)[:200]})") from None
    return HubDetector(network, processor, **options)


def _network(config: PretrainedConfig, weights: Path | None) -> nn.Module:
    """The detection network of a configuration, with the tensors of a file, all of which must fit."""
    if weights is None:
        return AutoModelForObjectDetection.from_config(config, trust_remote_code=False)
    with torch.device("meta"):
        kind = type(AutoModelForObjectDetection.from_config(config, trust_remote_code=False))
    try:
        state = safetensors.torch.load_file(weights)
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{weights}: damaged, or no safetensors file ({error}); fetch it again") from None
    try:
        # through transformers, which knows the names that its older versions wrote
        network, report = kind.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    except RuntimeError as error:
        raise WeightsError(f"{weights} does not fit {kind.__name__}: {one_line(error)[:200]}") from None
    wrong = [*report["missing_keys"], *report["unexpected_keys"]]
    if wrong:
        problem = f"{min(wrong)} is missing or not part of it ({len(wrong)} names differ)"
        raise WeightsError(f"{weights} does not fit {kind.__name__}: {problem}")
    return network
