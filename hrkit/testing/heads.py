"""A head against the contract of `hrkit.hookspecs.register_heads`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor, nn

from hrkit.pose_model import PoseModel
from hrkit.testing import modules
from hrkit.testing.report import Check, Finding, Wrong, examine, wrong

CHANNELS, STRIDES = (8, 16, 24, 32), (4, 8, 16, 32)
"""Of the features that a head is given where nobody says which."""


def check_head(
    build: Callable[..., Any],
    *,
    channels: Sequence[int] = CHANNELS,
    strides: Sequence[int] = STRIDES,
    part: str = "head",
) -> list[Finding]:
    """What is wrong with a builder of heads; an empty list if nothing is.

    `build` is called with `channels`, `strides` and `num_joints`; the head is given noise of such features. `part` is
    what findings call it.
    """
    return wrong(examine_head(build, channels=channels, strides=strides, part=part))


def examine_head(
    build: Callable[..., Any],
    *,
    channels: Sequence[int] = CHANNELS,
    strides: Sequence[int] = STRIDES,
    part: str = "head",
) -> Iterator[Finding]:
    """As `check_head`, with what is right too, each as soon as it is known."""
    yield from examine(part, _Trial(build, tuple(channels), tuple(strides)), CHECKS)


@frozen(eq=False, slots=False)
class _Trial:
    """A head's builder and the features it is for."""

    build: Callable[..., Any]
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    num_joints: int = field(default=17)

    def built(self, num_joints: int) -> nn.Module:
        """A head of so many joints, in evaluation mode."""
        head = self.build(channels=self.channels, strides=self.strides, num_joints=num_joints)
        if not isinstance(head, nn.Module):
            raise Wrong(f"{type(head).__name__} is no torch.nn.Module")
        return head.eval()

    @functools.cached_property
    def module(self) -> nn.Module:
        return self.built(self.num_joints)

    def features(self, people: int, height: int, width: int, seed: int = 0) -> list[Tensor]:
        """(N,C_i,H/s_i,W/s_i) noise of an input of (height, width)."""
        chance = torch.Generator().manual_seed(seed)
        return [
            torch.randn(people, count, height // stride, width // stride, generator=chance)
            for count, stride in zip(self.channels, self.strides, strict=True)
        ]

    def given(self, people: int, seed: int = 0) -> list[Tensor]:
        return self.features(people, 64, 64, seed)

    def call(self, module: Any, given: list[Tensor]) -> list[Tensor]:
        with torch.inference_mode():
            heatmaps = module(given)
        if not torch.is_tensor(heatmaps):
            raise Wrong(f"it makes {type(heatmaps).__name__}, not a tensor")
        return [heatmaps]


def _builds(trial: _Trial) -> None:
    trial.call(trial.module, trial.given(2))


def _shapes(trial: _Trial) -> None:
    if not getattr(trial.module, "pose_model", PoseModel).needs_boxes:
        return  # a network that finds people by itself has maps of its own
    for joints, (height, width) in ((17, (64, 64)), (5, (96, 64))):  # which tells height from width
        (heatmaps,) = trial.call(trial.built(joints), trial.features(2, height, width))
        wanted = (2, joints, height // 4, width // 4)
        if tuple(heatmaps.shape) != wanted:
            raise Wrong(f"of {joints} joints and {height}x{width} it makes {tuple(heatmaps.shape)}, not {wanted}")


CHECKS: tuple[Check[_Trial], ...] = (
    Check("it is a head", _builds, "build a torch.nn.Module from channels, strides and num_joints", vital=True),
    Check("heatmaps (N,K,H/4,W/4)", _shapes, "make num_joints heatmaps, each a quarter of the input", vital=True),
    Check("finite float32", modules.finite, "make float32 of float32, and nothing that is NaN"),
    Check("nobody", modules.nobody, "0 people are an ordinary batch"),
    Check("features are not modified", modules.not_modified, "let no in-place operation touch what is given"),
    Check("same result twice", modules.twice, "keep nothing between calls, and nothing by chance in evaluation mode"),
    Check("a batch is its people alone", modules.batch, "let no person depend on the others in evaluation mode"),
    Check("other precisions", modules.dtypes, "make every tensor a parameter or a buffer, so that .to(dtype) takes it"),
    Check(
        "copies on devices", modules.devices, "make every tensor a parameter or a buffer, so that .to(device) takes it"
    ),
)
