"""An engine against the contract of `hrkit.hookspecs.register_engines`."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from hrkit.extraction.manifest import Manifest, Result, held
from hrkit.extraction.worker import Job
from hrkit.testing.report import Checking, Contract, Examining, expect

Engine = Callable[[list[str], Job], Iterable[Result]]

NAMES = ("a.jpg", "b/a.jpg", "walk.mp4", "fails.png", "z.jpg")
"""Inputs, which are never opened."""

CONTRACT: Contract = Contract("engine")


class _EmptyJob(Job):
    """A job that opens and writes nothing."""

    def load(self) -> Callable[[Iterable[str]], Iterator[Result]]:
        return _reported


def _reported(names: Iterable[str]) -> Iterator[Result]:
    return (Result(name, "as told" if name == "fails.png" else "", frames=1) for name in names)


def _results(engine: Engine, names: Sequence[str]) -> list[Result]:
    with tempfile.TemporaryDirectory() as folder, held(folder), Manifest(Path(folder), {}):
        return list(engine(list(names), _EmptyJob("/", folder, "csv", {"device": "cpu"}, {})))


@CONTRACT.rule("each input once", "give one Result for each input, by its name", vital=True)
def _each_once(engine: Engine) -> None:
    times = Counter(result.input for result in _results(engine, NAMES))
    expect(times == Counter(NAMES), f"for {len(NAMES)} inputs, each given once, it gives {dict(times)}")


@CONTRACT.rule("results as they are", "pass on what `job.load()` makes of the inputs, failures too")
def _as_they_are(engine: Engine) -> None:
    same = sorted(_results(engine, NAMES), key=str) == sorted(_reported(NAMES), key=str)
    expect(same, "its results are not those of the job")


@CONTRACT.rule("no inputs", "give nothing if there is nothing to do")
def _nobody(engine: Engine) -> None:
    expect(not _results(engine, ()), "it gives results for no inputs")


check_engine: Checking = CONTRACT.check
"""`check_engine(engine, *, part="engine")`: what is wrong with an engine, which is run with a job that does nothing."""
examine_engine: Examining = CONTRACT.examine
