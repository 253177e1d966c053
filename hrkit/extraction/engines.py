"""Engines: who makes the files of many inputs, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from hrkit.extraction.manifest import Result
    from hrkit.extraction.many_inputs import Job


@hookimpl
def register_engines() -> Mapping[str, Callable[..., Iterator[Result]]]:
    """hrkit's own engine."""
    return {"local": local}


def local(inputs: Sequence[str], job: Job) -> Iterator[Result]:
    """One after another, in this process."""
    return job.load()(inputs)
