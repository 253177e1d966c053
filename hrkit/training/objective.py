"""What a network is trained for: what it is shown, what it should say, and how far off it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from hrkit.datasets.augmentation import Augmentation, PersonCrops
from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.loading import Batch, Samples
from hrkit.errors import HrkitError
from hrkit.heads.losses import get_loss
from hrkit.pose_model import PoseModel
from hrkit.training.config import TrainConfig


class Objective(Protocol):
    """How a network learns; `learner.Learner` does the rest."""

    network: nn.Module
    """Images (N,3,H,W) -> what `loss` takes; its parameters are the model's."""

    def prepare(self, batch: Batch) -> tuple[torch.Tensor, Any]:
        """Images (N,3,H,W) and targets, on the model's device."""
        ...

    def loss(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        """Of what `network` gave, a number."""
        ...

    def heatmaps(self, outputs: torch.Tensor, targets: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """(N,K,h,w) each: what was said and what should have been, for the log."""
        ...


def samples_for(
    model: PoseModel, people: KeypointDataset, augmentation: Augmentation | None = None, seed: int = 0
) -> Samples:
    """What `model` is trained on: its own `samples` if it brings such a method, else one person per sample."""
    own: Callable[..., Samples] | None = getattr(model, "samples", None)
    if own is not None:
        return own(people, augmentation, seed)
    return PersonCrops(people, model.input_size, model.create_codec().udp, augmentation, seed)


def objective_for(model: PoseModel, config: TrainConfig, teacher: PoseModel | None = None) -> Objective:
    """What `model` is trained for: its own `objective` if it brings such a method, else heatmaps of single people.

    Raises `HrkitError` for settings that do not fit the network.
    """
    own: Callable[..., Objective] | None = getattr(model, "objective", None)
    return HeatmapObjective(config, model, teacher) if own is None else own(config, teacher)


class HeatmapObjective:
    """Heatmaps of people one by one, as `config` says.

    `teacher`, a network of the same joints and crops on the same device, labels too. Raises `HrkitError` for settings
    that do not fit the network.
    """

    def __init__(self, config: TrainConfig, model: PoseModel, teacher: PoseModel | None = None) -> None:
        self.config = config
        self.model = model
        self.codec = model.create_codec()
        self.teacher = teacher
        self.network: nn.Module = _TrainedPart(model, config.loss)
        self._loss = get_loss(config.loss)
        self._joint_weights = _joint_weights(config, model)

    def prepare(self, batch: Batch) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Images (N,3,H,W), and targets (N,K,h,w) with weights (N,K)."""
        images = self.model.normalise(batch["crops"])
        keypoints, visible = (batch[name].to(images.device, non_blocking=True) for name in ("keypoints", "visible"))
        targets, weights = self.codec.encode(keypoints, visible)
        if self.teacher is not None:
            taught = teach(self.teacher, batch["crops"])
            targets, weights = share_with_teacher(targets, weights, taught, self.config.teacher_share)
        if self._joint_weights is not None:
            weights = weights * self._joint_weights
        return images, (targets.to(images.dtype), weights.to(images.dtype))

    def loss(self, outputs: torch.Tensor, targets: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Of heatmaps (N,K,h,w), or of logits for `bce`."""
        return self._loss(outputs, *targets)

    def heatmaps(
        self, outputs: torch.Tensor, targets: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N,K,h,w) each."""
        return outputs.sigmoid() if self.config.loss == "bce" else outputs, targets[0]


@torch.no_grad()
def teach(teacher: PoseModel, crops: torch.Tensor) -> torch.Tensor:
    """(N,H,W,3) uint8 BGR crops -> the teacher's heatmaps (N,K,h,w), 0 to 1."""
    images = teacher.normalise(crops).contiguous(memory_format=torch.channels_last)
    return teacher(images).float().clamp(0, 1)


def share_with_teacher(
    targets: torch.Tensor, weights: torch.Tensor, taught: torch.Tensor, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets (N,K,h,w) and weights (N,K) in which a teacher's heatmaps (N,K,h,w) have a share, 0 to 1.

    Where a joint is labelled both are mixed; where it is not, the teacher's word counts for as much as its share
    (Zhang et al., Fast Human Pose Estimation, CVPR 2019).
    """
    labelled = weights > 0
    mixed = torch.lerp(targets, taught, share)
    return torch.where(labelled[..., None, None], mixed, taught), torch.where(labelled, weights, share)


class _TrainedPart(nn.Module):
    """What the loss sees of a pose model: heatmaps, or logits for `bce`."""

    def __init__(self, model: PoseModel, loss: str) -> None:
        super().__init__()
        self.model = model
        self.wants_logits = loss == "bce"
        if self.wants_logits and not hasattr(model.head, "logits"):
            raise HrkitError(f"loss 'bce' needs a head with logits, which {model.names[1]!r} has not; take loss='mse'")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.wants_logits:
            return self.model.head.logits(self.model.backbone(images))  # type: ignore[operator]
        return self.model(images)


def _joint_weights(config: TrainConfig, model: PoseModel) -> torch.Tensor | None:
    if config.joint_weights is None:
        return None
    joints = len(model.skeleton)
    if len(config.joint_weights) != joints:
        raise HrkitError(f"joint_weights has {len(config.joint_weights)} values for {joints} joints")
    return torch.tensor(config.joint_weights, device=model.device)
