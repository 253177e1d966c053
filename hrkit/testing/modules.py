"""What holds for any network of a plugin, backbone, head or runtime: the checks that they share."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import torch
from torch import Tensor

from hrkit.testing.report import NotJudged, Wrong


class NetworkTrial(Protocol):
    """A network and how it is called."""

    @property
    def module(self) -> Any:
        """In evaluation mode."""
        ...

    def given(self, people: int, seed: int = 0) -> list[Tensor]:
        """What the network is given: tensors with a row for each of N people, by chance."""
        ...

    def call(self, module: Any, given: list[Tensor]) -> list[Tensor]:
        """What the module makes of it, as a list; raises `Wrong` for what is no tensor, or no list of them."""
        ...


def nobody(trial: NetworkTrial) -> None:
    """N = 0."""
    for result in trial.call(trial.module, trial.given(0)):
        if len(result):
            raise Wrong(f"of 0 people it makes {tuple(result.shape)}")


def finite(trial: NetworkTrial) -> None:
    """No NaN, in float32."""
    for result in trial.call(trial.module, trial.given(2)):
        if result.dtype != torch.float32:
            raise Wrong(f"of float32 it makes {_dtype(result)}")
        if not result.isfinite().all():
            raise Wrong(f"{int((~result.isfinite()).sum())} of {result.numel()} values are NaN or infinite")


def not_modified(trial: NetworkTrial) -> None:
    """What is given stays what it was."""
    given = trial.given(2)
    before = [tensor.clone() for tensor in given]
    handed = list(given)
    trial.call(trial.module, handed)
    if len(handed) != len(before) or any(one is not other for one, other in zip(given, handed, strict=True)):
        raise Wrong("the list that it is given is another afterwards")
    if any(not torch.equal(one, other) for one, other in zip(given, before, strict=True)):
        raise Wrong("a tensor that it is given has other values afterwards")


def twice(trial: NetworkTrial) -> None:
    """The same again, also after something else."""
    given = trial.given(1)
    first = trial.call(trial.module, given)
    same(first, trial.call(trial.module, given), "twice in a row")
    trial.call(trial.module, trial.given(2, seed=1))
    same(first, trial.call(trial.module, given), "before and after something else")


def batch(trial: NetworkTrial) -> None:
    """People do not depend on their neighbours."""
    given = trial.given(3)
    together = trial.call(trial.module, given)
    for person in range(3):
        alone = trial.call(trial.module, [tensor[person : person + 1] for tensor in given])
        same(alone, [result[person : person + 1] for result in together], "alone and in a batch of 3", 1e-3)


def dtypes(trial: NetworkTrial) -> None:
    """`module.to(dtype)` takes all of it along."""
    for dtype in (torch.bfloat16, torch.float64):
        moved = copy.deepcopy(trial.module).to(dtype)
        for result in trial.call(moved, [tensor.to(dtype) for tensor in trial.given(1)]):
            if result.dtype != dtype:
                raise Wrong(f"after .to({dtype}) it makes {_dtype(result)}")


def devices(trial: NetworkTrial) -> None:
    """A copy, and the same on a GPU."""
    given = trial.given(1)
    here = trial.call(trial.module, given)
    same(here, trial.call(copy.deepcopy(trial.module), given), "itself and a copy")
    if not torch.cuda.is_available():
        raise NotJudged("a copy gives the same; there is no GPU here")
    there = trial.call(copy.deepcopy(trial.module).cuda(), [tensor.cuda() for tensor in given])
    if any(result.device.type != "cuda" for result in there):
        raise Wrong("after .cuda() it makes tensors that are not on the GPU")
    same(here, [result.cpu() for result in there], "on the CPU and on the GPU", 2e-2)


def same(one: list[Tensor], other: list[Tensor], when: str, share: float = 1e-5) -> None:
    """Raises `Wrong` where results differ by more than a share of the largest value."""
    for a, b in zip(one, other, strict=True):
        if a.shape != b.shape:
            raise Wrong(f"{when}: {tuple(a.shape)} and {tuple(b.shape)}")
        largest, most = (float(x.abs().max()) if x.numel() else 0.0 for x in (a, a - b))
        if not most <= share * largest + 1e-7:
            raise Wrong(f"{when}: values differ by up to {most:.3g}, of {largest:.3g} at most")


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
