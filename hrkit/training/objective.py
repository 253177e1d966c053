"""What a network is trained for: its samples, its targets and its loss.

A network may define its own by the methods `samples` and `objective`. Others are trained on heatmaps of one person.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import nn
from torch.nn import functional

from hrkit.datasets.augmentation import Augmentation, PersonCrops
from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.loading import Batch, Samples
from hrkit.errors import HrkitError, UnknownNameError
from hrkit.heads.base import Codec
from hrkit.ops.tensors import of_each
from hrkit.pose_model import PoseModel
from hrkit.training.config import TrainConfig
from hrkit.training.losses import LOSSES


class Objective(Protocol):
    """The network's part in the training loop of `hrkit.training.run`."""

    network: nn.Module
    """Images (N,3,H,W) -> the outputs that `loss` takes. Its parameters are those of the model."""

    # what `targets` holds is each objective's own affair, hence Any
    def prepare(self, batch: Batch) -> tuple[torch.Tensor, Any]:
        """Images (N,3,H,W) and targets, on the model's device."""
        ...

    def loss(self, outputs: Any, targets: Any) -> torch.Tensor:
        """The loss of the network's outputs, one tensor or a tuple of them: a scalar."""
        ...

    def heatmaps(self, outputs: Any, targets: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Predicted and wanted heatmaps (N,K,h,w), from which the log's PCK is measured."""
        ...


def samples_for(
    model: PoseModel, people: KeypointDataset, augmentation: Augmentation | None = None, seed: int = 0
) -> Samples:
    """The samples that `model` is trained on: those of its method `samples` if it has one, else crops of people."""
    own: Callable[..., Samples] | None = getattr(model, "samples", None)
    if own is not None:
        return own(people, augmentation, seed)
    return PersonCrops(people, model.input_size, model.create_codec().udp, augmentation, seed, model.spec.margin)


def objective_for(model: PoseModel, config: TrainConfig, teacher: PoseModel | None = None) -> Objective:
    """The objective of `model`: that of its method `objective` if it has one, else `HeatmapObjective`.

    Raises `HrkitError` for settings that do not fit the network.
    """
    own: Callable[..., Objective] | None = getattr(model, "objective", None)
    return HeatmapObjective(config, model, teacher) if own is None else own(config, teacher)


class HeatmapObjective:
    """Heatmaps of single people, with the loss, joint weights and teacher of `config`.

    `teacher` is a network on the same device with the same joints and crops. Raises `HrkitError` for settings that do
    not fit the network.
    """

    def __init__(self, config: TrainConfig, model: PoseModel, teacher: PoseModel | None = None) -> None:
        self.loss_name: str = config.loss or ("bce" if hasattr(model.head, "logits") else "mse")
        if self.loss_name not in LOSSES:
            raise UnknownNameError("loss", self.loss_name, LOSSES)
        joints = len(model.skeleton)
        if config.joint_weights is not None and len(config.joint_weights) != joints:
            raise HrkitError(f"joint_weights has {len(config.joint_weights)} values for {joints} joints")
        self.config = config
        self.model = model
        self.codec: Codec = model.create_codec()
        self.teacher = teacher
        self.network: nn.Module = _Logits(model) if self.loss_name == "bce" else model
        self._joint_weights = None
        if config.joint_weights is not None:
            self._joint_weights = torch.tensor(config.joint_weights, device=model.device)

    def prepare(self, batch: Batch) -> tuple[torch.Tensor, tuple[Any, torch.Tensor]]:
        """Images (N,3,H,W), and targets (N,K,h,w) with weights (N,K)."""
        images = self.model.normalise(batch["crops"])
        keypoints, visible = (batch[name].to(images.device, non_blocking=True) for name in ("keypoints", "visible"))
        targets, weights = self.codec.encode(keypoints, visible)
        if self.teacher is not None:
            config = self.config
            taught = teach(self.teacher, batch["crops"], flip_test=config.teacher_flip_test, scale=config.teacher_scale)
            targets, weights = share_with_teacher(targets, weights, taught, config.teacher_share)
        if self._joint_weights is not None:
            weights = weights * self._joint_weights
        return images, (of_each(lambda one: one.to(images.dtype), targets), weights.to(images.dtype))

    def loss(self, outputs: torch.Tensor, targets: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """The loss of heatmaps (N,K,h,w), or of logits for `bce`."""
        return LOSSES[self.loss_name](outputs, *targets)

    def heatmaps(
        self, outputs: torch.Tensor, targets: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predicted and wanted heatmaps (N,K,h,w)."""
        return outputs.sigmoid() if self.loss_name == "bce" else outputs, targets[0]


@torch.no_grad()
def teach(teacher: PoseModel, crops: torch.Tensor, *, flip_test: bool = False, scale: float = 0.0) -> torch.Tensor:
    """(N,H,W,3) uint8 BGR crops -> the teacher's heatmaps (N,K,h,w), 0 to 1.

    With `scale` the teacher sees each crop larger or smaller, by a random factor of up to 1 + `scale`. The mean over
    several sizes is better than one size, and that is what a network learns from random ones.
    """
    images = teacher.normalise(crops)
    if scale:
        zoom = (1 + scale) ** torch.empty(len(images)).uniform_(-1, 1).to(images)
        images = _zoomed(images, zoom, padding="border")
    images = images.contiguous(memory_format=torch.channels_last)
    heatmaps = cast(torch.Tensor, teacher.outputs(images, flip_test=flip_test)).clamp(0, 1)
    return _zoomed(heatmaps, 1 / zoom, padding="zeros") if scale else heatmaps


def _zoomed(images: torch.Tensor, zoom: torch.Tensor, *, padding: str) -> torch.Tensor:
    """(N,C,H,W) images, each enlarged about its centre by its factor in `zoom` (N,); the size stays.

    `padding` is what `torch.nn.functional.grid_sample` puts around images that get smaller.
    """
    transforms = torch.eye(2, 3).to(images) / zoom[:, None, None]
    grid = functional.affine_grid(transforms, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode=padding, align_corners=False)


def share_with_teacher(
    targets: torch.Tensor, weights: torch.Tensor, taught: torch.Tensor, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixes a teacher's heatmaps (N,K,h,w) into targets (N,K,h,w) with weights (N,K); `share` is 0 to 1.

    A labelled joint gets the weighted mean of both. An unlabelled joint gets the teacher's heatmap, weighted by
    `share` (Zhang et al., Fast Human Pose Estimation, CVPR 2019).
    """
    labelled = weights > 0
    mixed = torch.lerp(targets, taught, share)
    return torch.where(labelled[..., None, None], mixed, taught), torch.where(labelled, weights, share)


class _Logits(nn.Module):
    """The logits of a pose model, which `bce` needs in place of heatmaps."""

    def __init__(self, model: PoseModel) -> None:
        super().__init__()
        self.model = model
        if not hasattr(model.head, "logits"):
            raise HrkitError(f"loss 'bce' needs a head with logits; {model.spec.head!r} has none, use loss='mse'")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.head.logits(self.model.backbone(images))  # type: ignore[operator]  # not on every head
