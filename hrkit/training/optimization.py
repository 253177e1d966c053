"""The parts of an optimizer step: optimizer, learning rate, forward pass, gradient exchange and averaged weights."""

from __future__ import annotations

import contextlib
import math
from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from hrkit.errors import HrkitError
from hrkit.ops.tensors import Outputs, of_each
from hrkit.runtimes.distributed import World
from hrkit.training.config import TrainConfig


def build_optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD over the parameters that are not frozen.

    Backbone and head are parameter groups; each group keeps its own `base_lr`. Raises `HrkitError` if every parameter
    is frozen, or if a prefix in `config.frozen` matches no parameter name.
    """
    for prefix in config.frozen:
        if not any(name.startswith(prefix) for name, _ in model.named_parameters()):
            raise HrkitError(f"frozen: no parameter name starts with {prefix!r}")
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(config.frozen))
        if parameter.requires_grad:
            rate = config.learning_rate
            if name.startswith("head.") and config.head_learning_rate is not None:
                rate = config.head_learning_rate
            groups.setdefault(rate, []).append(parameter)
    if not groups:
        raise HrkitError("every parameter is frozen; there is nothing to train")
    settings = [{"params": parameters, "lr": rate, "base_lr": rate} for rate, parameters in groups.items()]
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            settings, momentum=config.momentum, weight_decay=config.weight_decay, nesterov=config.nesterov
        )
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(settings, weight_decay=config.weight_decay)


def learning_rate_factor(config: TrainConfig, step: int, steps_per_epoch: int, total_steps: int) -> float:
    """Factor on the base learning rate at a step. It depends on the step alone, so resuming needs no state."""
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "cosine":
        return warmup * 0.5 * (1 + math.cos(math.pi * step / total_steps))
    return warmup * 0.1 ** sum(step >= milestone * steps_per_epoch for milestone in config.milestones)


def training_mode(config: TrainConfig, model: nn.Module) -> None:
    """Puts the model in training mode, except batch norms whose statistics are frozen."""
    model.train()
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            config.freeze_batch_norm or f"{name}.".startswith(config.frozen)
        ):
            module.eval()


def forward(config: TrainConfig, network: nn.Module, images: torch.Tensor) -> Outputs:
    """The outputs for (N,3,H,W) images, in their type. The layers run in the precision of `config`."""
    if config.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    lower = config.precision in ("bfloat16", "float16")
    with torch.autocast(images.device.type, getattr(torch, config.precision)) if lower else contextlib.nullcontext():
        return of_each(lambda output: output.to(images.dtype), network(images))


def distributed(network: nn.Module, world: World, device: torch.device) -> nn.Module:
    """The network itself, or for several processes a wrapper that averages gradients over them."""
    if world.size == 1:
        return network
    return DistributedDataParallel(network, [device.index] if device.type == "cuda" else None)


def gradient_exchange(network: nn.Module, enabled: bool) -> AbstractContextManager[object]:
    """Lets processes exchange gradients in a backward pass, or keeps gradients local until a later pass."""
    if enabled or not isinstance(network, DistributedDataParallel):
        return contextlib.nullcontext()
    return network.no_sync()


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Moves an exponential moving average towards the model's weights.

    The decay is smaller in the first steps, so the average soon forgets the initial weights.
    """
    keep = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)
