"""Checks that backbones, heads, codecs and runtimes share: each computes something for a batch of people."""

from __future__ import annotations

import copy
import functools
from typing import Any, Protocol  # Any: a module of any type before it is checked

import torch
from torch import Tensor

from hrkit.testing.report import Check, NotJudged, Wrong


class Network(Protocol):
    """A network under test, and how it is called."""

    @property
    def module(self) -> Any:
        """The network, in evaluation mode."""

    def given(self, people: int, seed: int = 0) -> list[Tensor]:
        """Random inputs: tensors with a row per person."""

    def call(self, module: Any, given: list[Tensor]) -> list[Tensor]:
        """The outputs of `module` for these inputs. Raises `Wrong` if they are not tensors."""


def tensor(value: Any) -> Tensor:
    """Raises `Wrong` if the result of a network is no tensor."""
    if not torch.is_tensor(value):
        raise Wrong(f"it makes {type(value).__name__}, not a tensor")
    return value


def _finite(trial: Network) -> None:
    for result in trial.call(trial.module, trial.given(2)):
        if result.dtype != torch.float32:
            raise Wrong(f"for float32 it makes {result.dtype}")
        if not result.isfinite().all():
            raise Wrong(f"{int((~result.isfinite()).sum())} of {result.numel()} values are NaN or infinite")


def _nobody(trial: Network) -> None:
    somebody = trial.call(trial.module, trial.given(2))
    for result, other in zip(trial.call(trial.module, trial.given(0)), somebody, strict=True):
        if result.shape != (0, *other.shape[1:]):
            raise Wrong(f"for 0 people it makes {tuple(result.shape)}, and for 2 {tuple(other.shape)}")


def _not_modified(trial: Network) -> None:
    given = trial.given(2)
    before = [values.clone() for values in given]
    handed = list(given)
    trial.call(trial.module, handed)
    if len(handed) != len(before) or any(one is not other for one, other in zip(given, handed, strict=True)):
        raise Wrong("the list of inputs is changed by the call")
    if not all(map(torch.equal, given, before)):
        raise Wrong("the values of an input are changed by the call")


def _twice(trial: Network) -> None:
    given = trial.given(1)
    first = trial.call(trial.module, given)
    same(first, trial.call(trial.module, given), "twice in a row")
    trial.call(trial.module, trial.given(2, seed=1))
    same(first, trial.call(trial.module, given), "before and after another input")


def _batch(trial: Network, share: float) -> None:
    given = trial.given(12)
    together = trial.call(trial.module, given)
    for row in (slice(0, 1), slice(5, 6), slice(11, 12)):
        alone = trial.call(trial.module, [values[row] for values in given])
        same(alone, [result[row] for result in together], "alone and in a batch of 12", share)


def _dtypes(trial: Network) -> None:
    for dtype in (torch.bfloat16, torch.float64):
        moved = copy.deepcopy(trial.module).to(dtype)
        for result in trial.call(moved, [values.to(dtype) for values in trial.given(1)]):
            if result.dtype != dtype:
                raise Wrong(f"after .to({dtype}) it makes {result.dtype}")


def _devices(trial: Network) -> None:
    given = trial.given(1)
    here = trial.call(trial.module, given)
    same(here, trial.call(copy.deepcopy(trial.module), given), "itself and a copy")
    if not torch.cuda.is_available():
        raise NotJudged("a copy gives the same; there is no GPU here")
    there = trial.call(copy.deepcopy(trial.module).cuda(), [values.cuda() for values in given])
    if any(result.device.type != "cuda" for result in there):
        raise Wrong("after .cuda() it makes tensors that are not on the GPU")
    same(here, [result.cpu() for result in there], "on the CPU and on the GPU", 2e-2)


def same(one: list[Tensor], other: list[Tensor], when: str, share: float = 1e-5) -> None:
    """Raises `Wrong` if results differ by more than a share of the largest value."""
    for a, b in zip(one, other, strict=True):
        if a.shape != b.shape:
            raise Wrong(f"{when}: {tuple(a.shape)} and {tuple(b.shape)}")
        largest, most = (float(x.abs().max()) if x.numel() else 0.0 for x in (a, a - b))
        if not most <= share * largest + 1e-7:
            raise Wrong(f"{when}: values of at most {largest:.3g} differ by up to {most:.3g}")


def results(share: float = 1e-3) -> tuple[Check, ...]:
    """Checks of the results. Alone and in a batch they may differ by `share` of the largest value."""
    batch = functools.partial(_batch, share=share)
    return (
        Check("finite float32", _finite, "make float32 for float32 input, without NaN"),
        Check("nobody", _nobody, "treat 0 people as an ordinary batch"),
        Check("inputs are not modified", _not_modified, "let no in-place operation touch the inputs"),
        Check("same result twice", _twice, "keep nothing between calls, and let chance decide nothing"),
        Check("a batch is its people alone", batch, "let no person depend on the others"),
    )


_BUFFERS = "make every tensor a parameter or a buffer, so that .to({}) takes it along"

MOVES = (
    Check("other precisions", _dtypes, _BUFFERS.format("dtype")),
    Check("copies on devices", _devices, _BUFFERS.format("device")),
)
"""For modules that users move to devices and precisions."""
