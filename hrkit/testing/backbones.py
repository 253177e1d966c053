"""A backbone against the contract of `hrkit.hookspecs.register_backbones`."""

from __future__ import annotations

import copy
import functools
from typing import Any  # the object under test may be of any type

import torch
from attrs import frozen
from torch import Tensor, nn

from hrkit import registry
from hrkit.testing import modules
from hrkit.testing.report import Check, Contract, NotJudged, Wrong, raised

ATTRIBUTES = ("channels", "strides", "default_head", "mean", "std", "channel_order")


@frozen(eq=False, slots=False)
class _Trial:
    """A backbone. Copies of it are called, never itself."""

    backbone: Any

    @functools.cached_property
    def module(self) -> Any:
        return copy.deepcopy(self.backbone).eval()

    def given(self, people: int, seed: int = 0, size: tuple[int, int] = (64, 64)) -> list[Tensor]:
        """(N,3,H,W) noise; sides are rounded up to a multiple that the backbone can take."""
        multiple = int(getattr(self.module, "input_multiple", max(self.module.strides)))
        sides = [-(-side // multiple) * multiple for side in size]
        return [torch.randn(people, 3, *sides, generator=torch.Generator().manual_seed(seed))]

    def call(self, module: Any, given: list[Tensor]) -> list[Tensor]:
        with torch.inference_mode():
            features = module(*given)
        if not isinstance(features, (list, tuple)):
            raise Wrong(f"it makes {type(features).__name__}, not a list of tensors")
        return [modules.tensor(feature) for feature in features]


def _is_a_backbone(trial: _Trial) -> None:
    module = trial.backbone
    if not isinstance(module, nn.Module):
        raise Wrong(f"{type(module).__name__} is no torch.nn.Module")
    try:
        _ = trial.module
    except Exception as error:
        raise Wrong(f"it cannot be copied: copy.deepcopy {raised(error)}") from error
    for attribute in ATTRIBUTES:
        if not hasattr(module, attribute):
            raise Wrong(f"it has no attribute {attribute!r}")
    channels, strides = list(trial.module.channels), list(trial.module.strides)
    if not channels or len(channels) != len(strides):
        raise Wrong(f"{len(channels)} channels and {len(strides)} strides")
    if strides != sorted(strides):
        raise Wrong(f"strides {strides} do not begin with the finest")


def _normalisation(trial: _Trial) -> None:
    mean, std, order = trial.module.mean, trial.module.std, trial.module.channel_order
    if len(mean) != 3 or len(std) != 3 or not min(std) > 0:
        raise Wrong(f"mean is {mean}, std is {std}")
    if max(mean) > 1 or max(std) > 1:
        raise Wrong(f"mean {mean} and std {std} are not for pixels from 0 to 1")
    if order not in ("rgb", "bgr"):
        raise Wrong(f"channel_order is {order!r}")


def _default_head(trial: _Trial) -> None:
    if trial.module.default_head not in registry.heads:
        raise Wrong(f"default_head is {trial.module.default_head!r}, which is not registered")


def _shapes(trial: _Trial) -> None:
    channels, strides = trial.module.channels, trial.module.strides
    for size in ((64, 64), (96, 64)):  # unequal sides tell height from width
        (images,) = trial.given(2, size=size)
        features = trial.call(trial.module, [images])
        if len(features) != len(channels):
            raise Wrong(f"{len(features)} features for {len(channels)} channels")
        for feature, count, stride in zip(features, channels, strides, strict=True):
            wanted = (2, count, images.shape[2] // stride, images.shape[3] // stride)
            if tuple(feature.shape) != wanted:
                said = f"channels {count} and stride {stride} say {wanted}"
                raise Wrong(f"for {tuple(images.shape)} it makes a feature {tuple(feature.shape)}, but {said}")


def _trainable(trial: _Trial) -> None:
    module = copy.deepcopy(trial.backbone).train()  # a copy that was never called, as a call may freeze it
    trained = {name: values for name, values in module.named_parameters() if values.requires_grad}
    if not trained:
        raise NotJudged("it has no parameters to train")
    with torch.random.fork_rng(devices=[]), torch.enable_grad():  # dropout draws random numbers
        loss = sum(feature.square().mean() for feature in module(*trial.given(2)))
        if loss.requires_grad:
            loss.backward()
    missed = [name for name, values in trained.items() if values.grad is None]
    if missed:
        raise Wrong(f"a backward pass does not reach {len(missed)} of {len(trained)} parameters, such as {missed[0]}")


CONTRACT = Contract(
    "backbone",
    (
        Check(
            "it is a backbone",
            _is_a_backbone,
            f"give a torch.nn.Module that can be copied, with {', '.join(ATTRIBUTES)}",
            vital=True,
        ),
        Check("input is described", _normalisation, "give mean and std of 3 values for pixel / 255, and rgb or bgr"),
        Check("default head is there", _default_head, "name a head that hrkit or the plugin registers"),
        Check(
            "features are as channels and strides say",
            _shapes,
            "make (N, channels[i], H / strides[i], W / strides[i]), finest first",
            vital=True,
        ),
        *modules.results(),
        Check("it can be trained", _trainable, "detach and freeze nothing in forward, and use every parameter"),
        *modules.MOVES,
    ),
    _Trial,
)

check_backbone = CONTRACT.check
"""`check_backbone(backbone, *, part="backbone")`: what is wrong with a module (N,3,H,W) -> list of (N,C_i,H/s_i,W/s_i).

Copies of it receive noise.
"""
examine_backbone = CONTRACT.examine
