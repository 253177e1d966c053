"""An engine against the contract of `hrkit.hookspecs.register_engines`."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from hrkit.extraction.manifest import Manifest, Result, held
from hrkit.extraction.worker import Job
from hrkit.testing.report import Check, Contract, Wrong

Engine = Callable[[list[str], Job], Iterable[Result]]

NAMES = ("a.jpg", "b/a.jpg", "walk.mp4", "fails.png", "z.jpg")
"""Inputs, which are never opened."""


class _EmptyJob(Job):
    """A job that opens and writes nothing."""

    def load(self) -> Callable[[Iterable[str]], Iterator[Result]]:
        return _reported


def _reported(names: Iterable[str]) -> Iterator[Result]:
    return (Result(name, "as told" if name == "fails.png" else "", frames=1) for name in names)


def _results(engine: Engine, names: Sequence[str]) -> list[Result]:
    with tempfile.TemporaryDirectory() as folder, held(folder), Manifest(Path(folder), {}):
        return list(engine(list(names), _EmptyJob("/", folder, "csv", {"device": "cpu"}, {})))


def _each_once(engine: Engine) -> None:
    times = Counter(result.input for result in _results(engine, NAMES))
    if times != Counter(NAMES):
        raise Wrong(f"for {len(NAMES)} inputs, each given once, it gives {dict(times)}")


def _as_they_are(engine: Engine) -> None:
    if sorted(_results(engine, NAMES), key=str) != sorted(_reported(NAMES), key=str):
        raise Wrong("its results are not those of the job")


def _nobody(engine: Engine) -> None:
    if _results(engine, ()):
        raise Wrong("it gives results for no inputs")


CONTRACT = Contract(
    "engine",
    (
        Check("each input once", _each_once, "give one Result for each input, by its name", vital=True),
        Check("results as they are", _as_they_are, "pass on what `job.load()` makes of the inputs, failures too"),
        Check("no inputs", _nobody, "give nothing if there is nothing to do"),
    ),
)

check_engine = CONTRACT.check
"""`check_engine(engine, *, part="engine")`: what is wrong with an engine, which is run with a job that does nothing."""
examine_engine = CONTRACT.examine
