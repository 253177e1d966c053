"""A head against the contract of `hrkit.hookspecs.register_heads`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any  # the builder under test may build anything

import torch
from attrs import frozen
from torch import Tensor, nn

from hrkit.pose_model import PoseModel
from hrkit.testing import modules
from hrkit.testing.report import Contract, expect


@frozen(eq=False, slots=False)
class _Trial(modules.Network):
    """A builder of heads and the features that they are for."""

    build: Callable[..., Any]
    channels: Sequence[int] = (8, 16, 24, 32)
    strides: Sequence[int] = (4, 8, 16, 32)

    def built(self, num_joints: int) -> nn.Module:
        head = self.build(channels=tuple(self.channels), strides=tuple(self.strides), num_joints=num_joints)
        expect(isinstance(head, nn.Module), f"{type(head).__name__} is no torch.nn.Module")
        return head.eval()

    @functools.cached_property
    def module(self) -> nn.Module:
        return self.built(17)

    def given(self, people: int, seed: int = 0, size: tuple[int, int] = (64, 64)) -> list[Tensor]:
        """(N,C_i,H/s_i,W/s_i) noise, for images of `size` (height, width)."""
        levels = zip(self.channels, self.strides, strict=True)
        return [modules.noise(seed, people, count, size[0] // step, size[1] // step) for count, step in levels]

    def call(self, module: Any, given: list[Tensor]) -> list[Tensor]:
        with torch.inference_mode():
            return [modules.tensor(module(given))]


CONTRACT = Contract("head", _Trial)


@CONTRACT.rule("it is a head", "build a torch.nn.Module from channels, strides and num_joints", vital=True)
def _builds(trial: _Trial) -> None:
    trial.call(trial.module, trial.given(2))


@CONTRACT.rule("heatmaps (N,K,H/4,W/4)", "make num_joints heatmaps, each a quarter of the input", vital=True)
def _shapes(trial: _Trial) -> None:
    if not getattr(trial.module, "pose_model", PoseModel).needs_boxes:
        return  # the maps of a network that finds people by itself are its own matter
    for joints, (height, width) in ((17, (64, 64)), (5, (96, 64))):  # unequal sides tell height from width
        (heatmaps,) = trial.call(trial.built(joints), trial.given(2, size=(height, width)))
        found, wanted = tuple(heatmaps.shape), (2, joints, height // 4, width // 4)
        expect(found == wanted, f"for {joints} joints and {height}x{width} it makes {found}, not {wanted}")


CONTRACT.checks.extend([*modules.RESULTS.checks, *modules.MOVES.checks])

check_head = CONTRACT.check
"""`check_head(build, *, channels=..., strides=..., part="head")`: what is wrong with a builder of heads.

`build` is called with `channels`, `strides` and `num_joints`; the head receives noise of such features.
"""
examine_head = CONTRACT.examine
