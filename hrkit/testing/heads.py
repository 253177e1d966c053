"""A head against the contract of `hrkit.hookspecs.register_heads`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any  # the builder under test may build anything

import torch
from attrs import frozen
from torch import Tensor, nn

from hrkit.heads.codecs import create_codec
from hrkit.pose_model import PoseModel
from hrkit.pose_spec import PoseSpec
from hrkit.structures import Size
from hrkit.testing import modules
from hrkit.testing.report import Checking, Contract, Examining, expect


@frozen(eq=False, slots=False)
class _Trial(modules.Network):
    """A builder of heads and the features that they are for."""

    build: Callable[..., Any]
    channels: Sequence[int] = (8, 16, 24, 32)
    strides: Sequence[int] = (4, 8, 16, 32)

    def built(self, num_joints: int, size: Size = (64, 64)) -> nn.Module:
        head: Any = self.build(channels=tuple(self.channels), strides=tuple(self.strides), num_joints=num_joints)
        expect(isinstance(head, nn.Module), f"{type(head).__name__} is no torch.nn.Module")
        if hasattr(head, "set_input_size"):
            head.set_input_size(size)
        return head.eval()

    @functools.cached_property
    def module(self) -> nn.Module:
        return self.built(17)

    def given(self, people: int, seed: int = 0, size: Size = (64, 64)) -> list[Tensor]:
        """(N,C_i,H/s_i,W/s_i) noise, for images of `size` (height, width)."""
        levels = zip(self.channels, self.strides, strict=True)
        return [modules.noise(seed, people, count, size[0] // step, size[1] // step) for count, step in levels]

    def call(self, module: Any, given: list[Tensor]) -> list[Tensor]:
        with torch.inference_mode():
            outputs = module(given)
            return modules.tensors(outputs) if hasattr(module, "output_spec") else [modules.tensor(outputs)]


CONTRACT: Contract = Contract("head", _Trial)


@CONTRACT.rule("it is a head", "build a torch.nn.Module from channels, strides and num_joints", vital=True)
def _builds(trial: _Trial) -> None:
    trial.call(trial.module, trial.given(2))


@CONTRACT.rule(
    "heatmaps (N,K,H/4,W/4)",
    "make num_joints heatmaps, each a quarter of the input, or state output_stride",
    vital=True,
)
def _shapes(trial: _Trial) -> None:
    if not getattr(trial.module, "pose_model", PoseModel).needs_boxes:
        return  # the maps of a network that finds people by itself are its own matter
    for joints, (height, width) in ((17, (64, 64)), (5, (96, 64))):  # unequal sides tell height from width
        head: Any = trial.built(joints, (height, width))
        outputs = trial.call(head, trial.given(2, size=(height, width)))
        said = f"for {joints} joints and {height}x{width} it makes"
        if hasattr(head, "output_spec"):  # other outputs, for a codec of their own
            _decoded(head, tuple(outputs), joints, (height, width), said)
            continue
        stride = getattr(head, "output_stride", 4)
        found, wanted = [tuple(one.shape) for one in outputs], [(2, joints, height // stride, width // stride)]
        expect(found == wanted, f"{said} {found}, not {wanted}")


def _decoded(head: Any, outputs: tuple[Tensor, ...], joints: int, size: Size, said: str) -> None:
    """Raises `Wrong` unless the codec that a head names reads its outputs."""
    spec = PoseSpec().replaced(**head.output_spec(size))
    stride = getattr(head, "output_stride", 4)
    sizes = {"input_size": size, "heatmap_size": (size[0] // stride, size[1] // stride)}
    codec = create_codec(spec.codec, **sizes, sigma=spec.sigma, **spec.codec_options)
    keypoints, _ = codec.decode(outputs if len(outputs) > 1 else outputs[0])
    shape = tuple(keypoints.shape)
    expect(shape == (2, joints, 2), f"{said} what {spec.codec} decodes to {shape}, not {(2, joints, 2)}")


CONTRACT.checks.extend([*modules.RESULTS.checks, *modules.MOVES.checks])

check_head: Checking = CONTRACT.check
"""`check_head(build, *, channels=..., strides=..., part="head")`: what is wrong with a builder of heads.

`build` is called with `channels`, `strides` and `num_joints`; the head receives noise of such features.
"""
examine_head: Examining = CONTRACT.examine
