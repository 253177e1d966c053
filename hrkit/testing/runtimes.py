"""A runtime against the contract of `hrkit.hookspecs.register_runtimes`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any  # the builder under test may build anything

import torch
from attrs import field, frozen
from torch import Tensor, nn

from hrkit.testing import modules
from hrkit.testing.report import ONE_LINE, Checking, Contract, Examining, NotJudged, expect, refusal

TOLERANCES = {"float32": 1e-3, "auto": 0.05, "bfloat16": 0.05}
"""By precision: how far a result may be from PyTorch's float32, as a share of the largest value. All checks look at the
first precision that can be built."""

SIZE = (64, 48)
"""(height, width) of the inputs, px."""


class _Network(nn.Module):
    """(N,3,H,W) -> (N,17,H/4,W/4), with values of about 1, and layers that runtimes fold and fuse."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 4, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.own = nn.Sequential(nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.BatchNorm2d(32))
        self.last = nn.Conv2d(32, 17, 1)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, values in self.state_dict().items():
                if values.ndim == 4:
                    values.normal_(0, (2 / values[0].numel()) ** 0.5, generator=generator)
                elif values.is_floating_point():
                    values.uniform_(*((0.6, 1.4) if "bias" not in name else (-0.2, 0.2)), generator=generator)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        return self.last(torch.relu(features + self.own(features)))


@frozen(eq=False)
class _Trial(modules.Network):
    """A builder of runtimes, what it built by precision, and the networks that it received, all alike."""

    build: Callable[..., Any]
    needs: Sequence[str] = ()
    built: dict[str, Any] = field(factory=dict)
    lent: list[nn.Module] = field(factory=list)

    @property
    def module(self) -> Any:
        return next(iter(self.built.values()))

    def given(self, people: int, seed: int = 0) -> list[Tensor]:
        return [modules.noise(seed, people, 3, *SIZE)]

    def attempt(self, precision: str, given: str) -> str | None:
        """Builds the runtime; the message if it refuses."""
        self.lent.append(_Network())
        options = {"network": self.lent[-1], "example": torch.zeros(1, 3, *SIZE), "precision": precision}
        return refusal(lambda: self.built.update({precision: self.build(**options)}), given)


CONTRACT: Contract = Contract("runtime", _Trial)


@CONTRACT.rule("it is built", f"build a torch.nn.Module; if that is impossible, {ONE_LINE}", vital=True)
def _builds(trial: _Trial) -> None:
    refusals = [trial.attempt(precision, f"the precision {precision!r}") for precision in TOLERANCES]
    expect(trial.built, f"it cannot be built here: {refusals[0]}", NotJudged)
    for module in trial.built.values():
        expect(isinstance(module, nn.Module), f"{type(module).__name__} is no torch.nn.Module")


@CONTRACT.rule("it gives what the network gives", "take any N and memory format; make float32", vital=True)
def _same(trial: _Trial) -> None:
    for precision, module in trial.built.items():
        for people in (1, 3, 2):
            for layout in (torch.contiguous_format, torch.channels_last):
                (images,) = trial.given(people, seed=people)
                wanted = trial.call(_Network(), [images])
                found = trial.call(module, [images.to(memory_format=layout)])
                expect(found[0].dtype == torch.float32, f"in {precision} it makes {found[0].dtype}")
                when = f"by PyTorch and here, {people} in a batch, {precision}"
                modules.same(wanted, found, when, TOLERANCES[precision])


CONTRACT.checks.extend(modules.RESULTS.checks)


@CONTRACT.rule("results stay", "give each result memory of its own")
def _results_stay(trial: _Trial) -> None:
    first = trial.call(trial.module, trial.given(2))
    before = [result.clone() for result in first]
    trial.call(trial.module, trial.given(2, seed=1))
    modules.same(before, first, "a result, before and after the next is computed")


@CONTRACT.rule("the network stays as it is", "work on a copy of the network")
def _network_stays(trial: _Trial) -> None:
    before = _Network().state_dict()
    for network in trial.lent:
        expect(not network.training, "the network is in training mode afterwards")
        after = network.state_dict()
        for name, values in before.items():
            stays = name in after and after[name].dtype == values.dtype and torch.equal(after[name], values)
            expect(stays, f"the network's {name} is changed")


@CONTRACT.rule("what it needs is missing", ONE_LINE)
def _missing(trial: _Trial) -> None:
    expect(trial.needs, "the modules it needs are not known: check_runtime(build, needs=[...])", NotJudged)
    missing = ", ".join(trial.needs)
    there = {name: sys.modules[name] for name in trial.needs if name in sys.modules}
    sys.modules.update(dict.fromkeys(trial.needs))  # type: ignore[arg-type]  # None makes an import fail
    try:
        said = trial.attempt("auto", f"no {missing}")
    finally:
        for name in trial.needs:
            del sys.modules[name]
        sys.modules.update(there)
    expect(said is not None, f"it is built without {missing} too", NotJudged)


check_runtime: Checking = CONTRACT.check
"""`check_runtime(build, *, needs=(), part="runtime")`: what is wrong with a builder of runtimes.

`build` is called with `network`, a small one of convolutions, `example` and `precision`. `needs` names the modules that
the runtime imports and cannot do without.
"""
examine_runtime: Examining = CONTRACT.examine
