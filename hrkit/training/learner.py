"""What learns: a network, the average of its weights, an optimizer, and how one step moves them."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from attrs import frozen
from torch import nn

from hrkit.datasets.loading import Batch
from hrkit.distributed import World
from hrkit.errors import HrkitError
from hrkit.pose_model import PoseModel
from hrkit.training.config import TrainConfig
from hrkit.training.objective import objective_for

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@frozen(eq=False)
class Learned:
    """What one step saw and said; heatmaps, targets and rows are those of its last forward pass."""

    loss: float
    """Mean over the step's forward passes on this rank."""
    heatmaps: torch.Tensor
    """(N,K,h,w) float32, detached."""
    targets: torch.Tensor
    """(N,K,h,w)."""
    rows: torch.Tensor
    """(N,) of the dataset."""


class Learner:
    """A network on its device with all that changes while it is trained.

    `teacher` is what the model's objective makes of it. Raises `HrkitError` for settings that do not fit the network.
    """

    def __init__(self, config: TrainConfig, model: PoseModel, world: World, teacher: PoseModel | None = None) -> None:
        self.config = config
        self.model = model
        self.objective = objective_for(model, config, teacher)
        self.average = None if config.ema is None else copy.deepcopy(model).eval().requires_grad_(False)
        self.optimizer = build_optimizer(config, model)
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=config.precision == "float16")
        self._network = self.objective.network
        if world.size > 1:
            devices = [model.device.index] if model.device.type == "cuda" else None
            self._network = nn.parallel.DistributedDataParallel(self._network, devices)

    @property
    def best_model(self) -> PoseModel:
        """What is evaluated and exported: the average where there is one."""
        return self.model if self.average is None else self.average

    def start_epoch(self) -> None:
        """Training mode, but for batch norms that keep their statistics."""
        self.model.train()
        for name, module in self.model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
                self.config.freeze_batch_norm or f"{name}.".startswith(self.config.frozen)
            ):
                module.eval()

    def step(self, batches: Iterator[Batch], number: int, rate_factor: float) -> Learned:
        """One optimizer step, the `number`th from 0, on the next `config.accumulate` batches.

        Its loss may be no number; the weights are then of no use.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * rate_factor
        losses = []
        for part in range(self.config.accumulate):
            batch = next(batches)
            images, targets = self.prepare(batch)
            with self._synchronised(part == self.config.accumulate - 1):
                with self._autocast():
                    outputs = self._network(images)
                if self.scaler.is_enabled():
                    outputs = outputs.float()
                loss = self.objective.loss(outputs, targets)
                self.scaler.scale(loss / self.config.accumulate).backward()
            losses.append(loss.detach())
        if self.config.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            update_average(self.average, self.model, self.config.ema or 0.0, number + 1)
        heatmaps, wanted = self.objective.heatmaps(outputs.detach().float(), targets)
        return Learned(torch.stack(losses).mean().item(), heatmaps, wanted, batch["rows"])

    def prepare(self, batch: Batch) -> tuple[torch.Tensor, Any]:
        """Images (N,3,H,W) and what the objective wants of them, on the model's device."""
        images, targets = self.objective.prepare(batch)
        if self.config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, targets

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values that `load_state_dict` takes."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        return state if self.average is None else {**state, "average": self.average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        dtype = AUTOCAST.get(self.config.precision)
        return contextlib.nullcontext() if dtype is None else torch.autocast(self.model.device.type, dtype)

    def _synchronised(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Ranks exchange gradients once a step, after its last backward pass."""
        if not last and isinstance(self._network, nn.parallel.DistributedDataParallel):
            return self._network.no_sync()
        return contextlib.nullcontext()


def build_optimizer(config: TrainConfig, model: PoseModel) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD over what is trained; backbone and head are groups with a `base_lr` each.

    Raises `HrkitError` if everything is frozen, or a beginning in `frozen` fits no name.
    """
    for beginning in config.frozen:
        if not any(name.startswith(beginning) for name, _ in model.named_parameters()):
            raise HrkitError(f"no parameter's name begins with {beginning!r}, so it cannot be frozen")
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(config.frozen))
        if parameter.requires_grad:
            rate = config.learning_rate
            if name.startswith("head.") and config.head_learning_rate is not None:
                rate = config.head_learning_rate
            groups.setdefault(rate, []).append(parameter)
    if not groups:
        raise HrkitError("everything is frozen; nothing to train")
    settings: list[dict[str, Any]] = [{"params": parts, "lr": rate, "base_lr": rate} for rate, parts in groups.items()]
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            settings, momentum=config.momentum, weight_decay=config.weight_decay, nesterov=config.nesterov
        )
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(settings, weight_decay=config.weight_decay)


def learning_rate_factor(config: TrainConfig, step: int, steps_an_epoch: int, total: int) -> float:
    """What the base learning rate is multiplied with at a step: a function of the step alone, so resuming is easy."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * step / total))
    return warm * 0.1 ** sum(step >= milestone * steps_an_epoch for milestone in config.milestones)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Moves the exponential average towards the model's weights; faster at first, so that it forgets the start."""
    keep = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)
