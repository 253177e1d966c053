"""Checks that backbones, heads, codecs and runtimes share: each computes something for a batch of people."""

from __future__ import annotations

import copy
from typing import Any  # a module of any type before it is checked

import torch
from torch import Tensor

from hrkit.ops.tensors import parts_of
from hrkit.testing.report import Contract, NotJudged, expect


class Network:
    """A network under test, and how it is called."""

    module: Any
    """The network, in evaluation mode."""
    batch_share: float = 1e-3
    """How far results may be from those of a batch, as a share of the largest value."""

    def given(self, people: int, seed: int = 0) -> list[Tensor]:
        """Random inputs: tensors with a row per person."""
        raise NotImplementedError

    def call(self, module: Any, given: list[Tensor]) -> list[Tensor]:
        """The outputs of `module` for these inputs. Raises `Wrong` if they are not tensors."""
        with torch.inference_mode():
            return tensors(module(*given))


def noise(seed: int, *shape: int) -> Tensor:
    """Normally distributed values, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tensor(value: Any) -> Tensor:
    """Raises `Wrong` if the result of a network is no tensor."""
    expect(torch.is_tensor(value), f"it makes {type(value).__name__}, not a tensor")
    return value


def tensors(value: Any) -> list[Tensor]:
    """The result of a network, or its parts if it is a tuple. Raises `Wrong` if one is no tensor."""
    return [tensor(part) for part in parts_of(value)]


def same(one: list[Tensor], other: list[Tensor], when: str, share: float = 1e-5) -> None:
    """Raises `Wrong` if results differ by more than a share of the largest value."""
    for a, b in zip(one, other, strict=True):
        expect(a.shape == b.shape, f"{when}: {tuple(a.shape)} and {tuple(b.shape)}")
        largest, most = (float(x.abs().max()) if x.numel() else 0.0 for x in (a, a - b))
        problem = f"{when}: values of at most {largest:.3g} differ by up to {most:.3g}"
        expect(most <= share * largest + 1e-7, problem)  # false for NaN


RESULTS = Contract("network")
MOVES = Contract("module")
"""For modules that users move to devices and precisions."""


@RESULTS.rule("finite float32", "make float32 for float32 input, without NaN")
def _finite(trial: Network) -> None:
    for result in trial.call(trial.module, trial.given(2)):
        expect(result.dtype == torch.float32, f"for float32 it makes {result.dtype}")
        bad = int((~result.isfinite()).sum())
        expect(bad == 0, f"{bad} of {result.numel()} values are NaN or infinite")


@RESULTS.rule("nobody", "treat 0 people as an ordinary batch")
def _nobody(trial: Network) -> None:
    somebody = trial.call(trial.module, trial.given(2))
    for result, other in zip(trial.call(trial.module, trial.given(0)), somebody, strict=True):
        problem = f"for 0 people it makes {tuple(result.shape)}, and for 2 {tuple(other.shape)}"
        expect(result.shape == (0, *other.shape[1:]), problem)


@RESULTS.rule("inputs are not modified", "let no in-place operation touch the inputs")
def _not_modified(trial: Network) -> None:
    given = trial.given(2)
    before = [values.clone() for values in given]
    handed = list(given)
    trial.call(trial.module, handed)
    expect(list(map(id, handed)) == list(map(id, given)), "the list of inputs is changed by the call")
    expect(all(map(torch.equal, given, before)), "the values of an input are changed by the call")


@RESULTS.rule("same result twice", "keep nothing between calls, and let chance decide nothing")
def _twice(trial: Network) -> None:
    given = trial.given(1)
    first = trial.call(trial.module, given)
    same(first, trial.call(trial.module, given), "twice in a row")
    trial.call(trial.module, trial.given(2, seed=1))
    same(first, trial.call(trial.module, given), "before and after another input")


@RESULTS.rule("a batch is its people alone", "let no person depend on the others")
def _batch(trial: Network) -> None:
    given = trial.given(12)
    together = trial.call(trial.module, given)
    for row in (slice(0, 1), slice(5, 6), slice(11, 12)):
        alone = trial.call(trial.module, [values[row] for values in given])
        same(alone, [result[row] for result in together], "alone and in a batch of 12", trial.batch_share)


@MOVES.rule("other precisions", "make every tensor a parameter or a buffer, so that .to(dtype) takes it along")
def _dtypes(trial: Network) -> None:
    for dtype in (torch.bfloat16, torch.float64):
        moved = copy.deepcopy(trial.module).to(dtype)
        for result in trial.call(moved, [values.to(dtype) for values in trial.given(1)]):
            expect(result.dtype == dtype, f"after .to({dtype}) it makes {result.dtype}")


@MOVES.rule("copies on devices", "make every tensor a parameter or a buffer, so that .to(device) takes it along")
def _devices(trial: Network) -> None:
    given = trial.given(1)
    here = trial.call(trial.module, given)
    same(here, trial.call(copy.deepcopy(trial.module), given), "itself and a copy")
    expect(torch.cuda.is_available(), "a copy gives the same; there is no GPU here", NotJudged)
    there = trial.call(copy.deepcopy(trial.module).cuda(), [values.cuda() for values in given])
    stays = any(result.device.type != "cuda" for result in there)
    expect(not stays, "after .cuda() it makes tensors that are not on the GPU")
    same(here, [result.cpu() for result in there], "on the CPU and on the GPU", 2e-2)
