"""A runtime against the contract of `hrkit.hookspecs.register_runtimes`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor, nn

from hrkit.testing import modules
from hrkit.testing.builders import ONE_LINE, refusal
from hrkit.testing.report import Check, Finding, NotJudged, Wrong, examine, wrong

PRECISIONS = {"float32": 1e-3, "auto": 0.05, "bfloat16": 0.05}
"""How far from PyTorch's float32 a result may be, as a share of the largest value, by precision. The first that can be
built is looked at in full."""

SIZE = (64, 48)
"""(height, width) of the inputs, px."""


def check_runtime(build: Callable[..., Any], *, needs: Sequence[str] = (), part: str = "runtime") -> list[Finding]:
    """What is wrong with a builder of runtimes; an empty list if nothing is.

    `build` is called with `network`, `example` and `precision`; the network is a small one of convolutions. `needs` are
    the modules that it cannot do without, by the names they are imported by. `part` is what findings call it.
    """
    return wrong(examine_runtime(build, needs=needs, part=part))


def examine_runtime(
    build: Callable[..., Any], *, needs: Sequence[str] = (), part: str = "runtime"
) -> Iterator[Finding]:
    """As `check_runtime`, with what is right too, each as soon as it is known."""
    yield from examine(part, _Trial(build, tuple(needs)), CHECKS)


class _Network(nn.Module):
    """(N,3,H,W) -> (N,17,H/4,W/4), with values of about 1: what runtimes fold and fuse is in it."""

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
class _Trial:
    """A runtime's builder, what it built by precision, and the networks that it was lent, all alike."""

    build: Callable[..., Any]
    needs: tuple[str, ...]
    built: dict[str, Any] = field(factory=dict)
    lent: list[nn.Module] = field(factory=list)

    @property
    def module(self) -> Any:
        return next(iter(self.built.values()))

    def given(self, people: int, seed: int = 0) -> list[Tensor]:
        return [torch.randn(people, 3, *SIZE, generator=torch.Generator().manual_seed(seed))]

    def call(self, module: Any, given: list[Tensor]) -> list[Tensor]:
        with torch.inference_mode():
            result = module(*given)
        if not torch.is_tensor(result):
            raise Wrong(f"it makes {type(result).__name__}, not a tensor")
        return [result]

    def attempt(self, precision: str, without: str = "") -> str | None:
        """Builds it; what it says where it does not want to."""

        def make() -> None:
            example = torch.zeros(1, 3, *SIZE)
            self.built[precision] = self.build(network=self.lent[-1], example=example, precision=precision)

        self.lent.append(_Network())
        return refusal(make, without or f"the precision {precision!r}")


def _builds(trial: _Trial) -> None:
    refusals = [trial.attempt(precision) for precision in PRECISIONS]
    if not trial.built:
        raise NotJudged(f"it cannot be built here: {refusals[0]}")
    for module in trial.built.values():
        if not isinstance(module, nn.Module):
            raise Wrong(f"{type(module).__name__} is no torch.nn.Module")


def _same(trial: _Trial) -> None:
    for precision, module in trial.built.items():
        for people in (1, 3, 2):
            for layout in (torch.contiguous_format, torch.channels_last):
                (images,) = trial.given(people, seed=people)
                wanted = trial.call(_Network(), [images])
                found = trial.call(module, [images.to(memory_format=layout)])
                if found[0].dtype != torch.float32:
                    raise Wrong(f"in {precision} it makes {found[0].dtype}")
                when = f"by PyTorch and here, {people} in a batch, {precision}"
                modules.same(wanted, found, when, PRECISIONS[precision])


def _results_stay(trial: _Trial) -> None:
    first = trial.call(trial.module, trial.given(2))
    before = [result.clone() for result in first]
    trial.call(trial.module, trial.given(2, seed=1))
    modules.same(before, first, "of one batch, before and after the next is computed")


def _network_stays(trial: _Trial) -> None:
    before = _Network().state_dict()
    for network in trial.lent:
        if network.training:
            raise Wrong("the network is in training mode afterwards")
        after = network.state_dict()
        for name, values in before.items():
            if name not in after or after[name].dtype != values.dtype or not torch.equal(after[name], values):
                raise Wrong(f"its {name} is another afterwards")


def _missing(trial: _Trial) -> None:
    if not trial.needs:
        raise NotJudged("not known what it needs; name modules: check_runtime(build, needs=[...])")
    there = {name: sys.modules[name] for name in trial.needs if name in sys.modules}
    sys.modules.update(dict.fromkeys(trial.needs))  # type: ignore[arg-type]  # None: cannot be imported
    try:
        said = trial.attempt("auto", f"no {', '.join(trial.needs)}")
    finally:
        for name in trial.needs:
            sys.modules.pop(name, None)
        sys.modules.update(there)
    if said is None:
        raise NotJudged(f"it is built without {', '.join(trial.needs)} too")


CHECKS: tuple[Check[_Trial], ...] = (
    Check("it is built", _builds, f"build a torch.nn.Module; where that cannot be, {ONE_LINE}", vital=True),
    Check("it gives what the network gives", _same, "take any N and memory format; make float32", vital=True),
    Check("finite float32", modules.finite, "make float32 of float32, and nothing that is NaN"),
    Check("nobody", modules.nobody, "0 people are an ordinary batch"),
    Check("images are not modified", modules.not_modified, "let no in-place operation touch what is given"),
    Check("same result twice", modules.twice, "keep nothing between calls, and nothing by chance"),
    Check("results stay", _results_stay, "give each result memory of its own"),
    Check("a batch is its people alone", modules.batch, "let no person depend on the others"),
    Check("the network stays as it is", _network_stays, "work on a copy of the network"),
    Check("what it needs is missing", _missing, ONE_LINE),
)
