"""An engine against the contract of `hrkit.hookspecs.register_engines`."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from hrkit.extraction.manifest import Manifest, Result, held
from hrkit.extraction.worker import Job
from hrkit.testing.report import Check, Finding, Wrong, examine, wrong

NAMES = ("a.jpg", "b/a.jpg", "walk.mp4", "fails.png", "z.jpg")
"""Inputs that nobody looks for."""


def check_engine(engine: Any, *, part: str = "engine") -> list[Finding]:
    """What is wrong with an engine, which is run with inputs of which nothing is made; an empty list if nothing is.

    `part` is what findings call it.
    """
    return wrong(examine_engine(engine, part=part))


def examine_engine(engine: Any, *, part: str = "engine") -> Iterator[Finding]:
    """As `check_engine`, with what is right too, each as soon as it is known."""
    yield from examine(part, _Trial(engine), CHECKS)


@frozen(eq=False)
class _Trial:
    """An engine."""

    engine: Callable[..., Iterable[Result]]

    def results(self, names: Sequence[str]) -> list[Result]:
        with tempfile.TemporaryDirectory() as folder, held(folder), Manifest(Path(folder), {}):
            return list(self.engine(list(names), _Nothing("/", folder, "csv", {"device": "cpu"}, {})))


class _Nothing(Job):
    """A job of which nothing is made."""

    def load(self) -> Callable[[Iterable[str]], Iterator[Result]]:
        return _nothing


def _nothing(names: Iterable[str]) -> Iterator[Result]:
    return (Result(name, "as told" if name == "fails.png" else "", frames=1) for name in names)


def _each_once(trial: _Trial) -> None:
    times = Counter(result.input for result in trial.results(NAMES))
    if times != Counter(NAMES):
        raise Wrong(f"of {len(NAMES)} inputs, each once, it gives {dict(times)}")


def _as_they_are(trial: _Trial) -> None:
    if sorted(trial.results(NAMES), key=str) != sorted(_nothing(NAMES), key=str):
        raise Wrong("its results are not those of the job")


def _nobody(trial: _Trial) -> None:
    if trial.results(()):
        raise Wrong("it gives results of no inputs")


CHECKS: tuple[Check[_Trial], ...] = (
    Check("each input once", _each_once, "give one Result for each input, by its name", vital=True),
    Check("results as they are", _as_they_are, "give on what `job.load()` makes of the inputs, failures too"),
    Check("no inputs", _nobody, "give nothing where there is nothing to do"),
)
