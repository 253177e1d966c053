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
from hrkit.testing.report import Checking, Contract, Examining, NotJudged, Wrong, expect, raised

ATTRIBUTES = ("channels", "strides", "default_head", "mean", "std", "channel_order")


@frozen(eq=False, slots=False)
class _Trial(modules.Network):
    """A backbone. Copies of it are called, never itself."""

    backbone: Any

    @functools.cached_property
    def module(self) -> Any:
        return copy.deepcopy(self.backbone).eval()

    def given(self, people: int, seed: int = 0, size: tuple[int, int] = (64, 64)) -> list[Tensor]:
        """(N,3,H,W) noise; sides are rounded up to a multiple that the backbone can take."""
        multiple = int(getattr(self.module, "input_multiple", max(self.module.strides)))
        return [modules.noise(seed, people, 3, *(-(-side // multiple) * multiple for side in size))]

    def call(self, module: Any, given: list[Tensor]) -> list[Tensor]:
        with torch.inference_mode():
            features = module(*given)
        expect(isinstance(features, (list, tuple)), f"it makes {type(features).__name__}, not a list of tensors")
        return [modules.tensor(feature) for feature in features]


CONTRACT: Contract = Contract("backbone", _Trial)


@CONTRACT.rule(
    "it is a backbone", f"give a torch.nn.Module that can be copied, with {', '.join(ATTRIBUTES)}", vital=True
)
def _is_a_backbone(trial: _Trial) -> None:
    module = trial.backbone
    expect(isinstance(module, nn.Module), f"{type(module).__name__} is no torch.nn.Module")
    try:
        _ = trial.module
    except Exception as error:
        raise Wrong(f"it cannot be copied: copy.deepcopy {raised(error)}") from error
    for attribute in ATTRIBUTES:
        expect(hasattr(module, attribute), f"it has no attribute {attribute!r}")
    channels, strides = list(trial.module.channels), list(trial.module.strides)
    expect(channels and len(channels) == len(strides), f"{len(channels)} channels and {len(strides)} strides")
    expect(strides == sorted(strides), f"strides {strides} do not begin with the finest")


@CONTRACT.rule("input is described", "give mean and std of 3 values for pixel / 255, and rgb or bgr")
def _normalisation(trial: _Trial) -> None:
    mean, std, order = trial.module.mean, trial.module.std, trial.module.channel_order
    expect(len(mean) == 3 == len(std) and min(std) > 0, f"mean is {mean}, std is {std}")
    expect(max(*mean, *std) <= 1, f"mean {mean} and std {std} are not for pixels from 0 to 1")
    expect(order in ("rgb", "bgr"), f"channel_order is {order!r}")


@CONTRACT.rule("default head is there", "name a head that hrkit or the plugin registers")
def _default_head(trial: _Trial) -> None:
    name = trial.module.default_head
    expect(name in registry.heads, f"default_head is {name!r}, which is not registered")


@CONTRACT.rule(
    "features are as channels and strides say", "make (N, channels[i], H / strides[i], W / strides[i]), finest first",
    vital=True,
)  # fmt: skip
def _shapes(trial: _Trial) -> None:
    channels, strides = trial.module.channels, trial.module.strides
    for size in ((64, 64), (96, 64)):  # unequal sides tell height from width
        (images,) = trial.given(2, size=size)
        features = trial.call(trial.module, [images])
        expect(len(features) == len(channels), f"{len(features)} features for {len(channels)} channels")
        for feature, count, stride in zip(features, channels, strides, strict=True):
            wanted = (2, count, images.shape[2] // stride, images.shape[3] // stride)
            made = f"for {tuple(images.shape)} it makes a feature {tuple(feature.shape)}"
            expect(tuple(feature.shape) == wanted, f"{made}, but channels {count} and stride {stride} say {wanted}")


CONTRACT.checks.extend(modules.RESULTS.checks)


@CONTRACT.rule("it can be trained", "detach and freeze nothing in forward, and use every parameter")
def _trainable(trial: _Trial) -> None:
    module = copy.deepcopy(trial.backbone).train()  # a copy that was never called, as a call may freeze it
    trained = {name: values for name, values in module.named_parameters() if values.requires_grad}
    expect(trained, "it has no parameters to train", NotJudged)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():  # dropout draws random numbers
        loss = sum(feature.square().mean() for feature in module(*trial.given(2)))
        if loss.requires_grad:
            loss.backward()
    missed = [name for name, values in trained.items() if values.grad is None]
    example = f", such as {missed[0]}" if missed else ""
    expect(not missed, f"a backward pass does not reach {len(missed)} of {len(trained)} parameters{example}")


CONTRACT.checks.extend(modules.MOVES.checks)

check_backbone: Checking = CONTRACT.check
"""`check_backbone(backbone, *, part="backbone")`: what is wrong with a module (N,3,H,W) -> list of (N,C_i,H/s_i,W/s_i).

Copies of it receive noise.
"""
examine_backbone: Examining = CONTRACT.examine
