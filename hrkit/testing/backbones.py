"""A backbone against the contract of `hrkit.hookspecs.register_backbones`."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from hrkit import registry
from hrkit.testing import modules
from hrkit.testing.report import Check, Finding, NotJudged, Wrong, examine, raised, wrong

ATTRIBUTES = ("channels", "strides", "default_head", "mean", "std", "channel_order")


def check_backbone(backbone: Any, *, part: str = "backbone") -> list[Finding]:
    """What is wrong with a module (N,3,H,W) -> list of (N,C_i,H/s_i,W/s_i); an empty list if nothing is.

    It is copied and brought into evaluation mode, and looks at small noise. `part` is what findings call it.
    """
    return wrong(examine_backbone(backbone, part=part))


def examine_backbone(backbone: Any, *, part: str = "backbone") -> Iterator[Finding]:
    """As `check_backbone`, with what is right too, each as soon as it is known."""
    yield from examine(part, _Trial(backbone), CHECKS)


@frozen(eq=False, slots=False)
class _Trial:
    """A backbone, which is never called itself."""

    backbone: Any

    @functools.cached_property
    def module(self) -> Any:
        """A copy in evaluation mode."""
        return copy.deepcopy(self.backbone).eval()

    @property
    def multiple(self) -> int:
        """What sides of the input are divisible by."""
        return int(getattr(self.module, "input_multiple", max(self.module.strides)))

    def images(self, people: int, height: int, width: int, seed: int = 0) -> Tensor:
        """(N,3,H,W) noise, of sides that are at least as large and divisible by the strides."""
        sides = [-(-side // self.multiple) * self.multiple for side in (height, width)]
        return torch.randn(people, 3, *sides, generator=torch.Generator().manual_seed(seed))

    def given(self, people: int, seed: int = 0) -> list[Tensor]:
        return [self.images(people, 64, 64, seed)]

    def call(self, module: Any, given: list[Tensor]) -> list[Tensor]:
        with torch.inference_mode():
            features = module(*given)
        if not isinstance(features, (list, tuple)):
            raise Wrong(f"it makes {type(features).__name__}, not a list of tensors")
        for feature in features:
            if not torch.is_tensor(feature):
                raise Wrong(f"a feature is {type(feature).__name__}, not a tensor")
        return list(features)


def _described(trial: _Trial) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels and strides."""
    return tuple(trial.module.channels), tuple(trial.module.strides)


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
    channels, strides = _described(trial)
    if not channels or len(channels) != len(strides):
        raise Wrong(f"{len(channels)} channels and {len(strides)} strides")
    if list(strides) != sorted(strides):
        raise Wrong(f"strides {strides} do not begin with the finest")


def _normalisation(trial: _Trial) -> None:
    mean, std, order = trial.module.mean, trial.module.std, trial.module.channel_order
    if len(mean) != 3 or len(std) != 3 or not min(std) > 0:
        raise Wrong(f"mean is {mean}, std is {std}")
    if max(mean) > 1 or max(std) > 1:
        raise Wrong(f"mean {mean} and std {std} are not of pixels from 0 to 1")
    if order not in ("rgb", "bgr"):
        raise Wrong(f"channel_order is {order!r}")


def _default_head(trial: _Trial) -> None:
    if trial.module.default_head not in registry.heads:
        raise Wrong(f"default_head is {trial.module.default_head!r}, which nobody registered")


def _shapes(trial: _Trial) -> None:
    for height, width in ((64, 64), (96, 64)):  # which tells height from width
        images = trial.images(2, height, width)
        features = trial.call(trial.module, [images])
        channels, strides = _described(trial)
        given = tuple(images.shape)
        if len(features) != len(channels):
            raise Wrong(f"{len(features)} features for {len(channels)} channels")
        for feature, count, stride in zip(features, channels, strides, strict=True):
            wanted = (2, count, given[2] // stride, given[3] // stride)
            if tuple(feature.shape) != wanted:
                said = f"channels {count} and stride {stride} say {wanted}"
                raise Wrong(f"of {given} it makes a feature {tuple(feature.shape)}, but {said}")


def _trainable(trial: _Trial) -> None:
    module = copy.deepcopy(trial.backbone).train()  # not one that was called: a call may have frozen it
    trained = {name: values for name, values in module.named_parameters() if values.requires_grad}
    if not trained:
        raise NotJudged("it has no parameters to train")
    with torch.random.fork_rng(devices=[]), torch.enable_grad():  # dropout may draw
        loss = sum(feature.square().mean() for feature in module(trial.images(2, 64, 64)))
        if loss.requires_grad:
            loss.backward()
    missed = [name for name, values in trained.items() if values.grad is None]
    if missed:
        raise Wrong(f"a backward pass does not reach {len(missed)} of {len(trained)} parameters, as {missed[0]}")


CHECKS: tuple[Check[_Trial], ...] = (
    Check(
        "it is a backbone",
        _is_a_backbone,
        f"give a torch.nn.Module that can be copied, with {', '.join(ATTRIBUTES)}",
        vital=True,
    ),
    Check("input is described", _normalisation, "mean and std are three a piece, of pixel / 255; order is rgb or bgr"),
    Check("default head is there", _default_head, "name a head that hrkit or the plugin registers"),
    Check(
        "features are as channels and strides say",
        _shapes,
        "make (N, channels[i], H / strides[i], W / strides[i]), finest first",
        vital=True,
    ),
    Check("finite float32", modules.finite, "make float32 of float32, and nothing that is NaN"),
    Check("nobody", modules.nobody, "0 people are an ordinary batch"),
    Check("images are not modified", modules.not_modified, "let no in-place operation touch what is given"),
    Check("same result twice", modules.twice, "keep nothing between calls, and nothing by chance in evaluation mode"),
    Check("a batch is its people alone", modules.batch, "let no person depend on the others in evaluation mode"),
    Check("it can be trained", _trainable, "detach and freeze nothing in forward, and keep no parameter without a use"),
    Check("other precisions", modules.dtypes, "make every tensor a parameter or a buffer, so that .to(dtype) takes it"),
    Check(
        "copies on devices", modules.devices, "make every tensor a parameter or a buffer, so that .to(device) takes it"
    ),
)
