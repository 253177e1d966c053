"""Native operators against the contract of `hrkit.hookspecs.register_operators`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from hrkit.ops.native import Library
from hrkit.testing.report import Check, Finding, NotJudged, Wrong, examine, wrong

Builder = Callable[[], Any]


def check_operators(builder: Builder, *, part: str = "operator") -> list[Finding]:
    """What is wrong with the builder of a `hrkit.ops.native.Library`; an empty list if nothing is.

    Nothing is compiled for it; what was built before is loaded. `part` is what findings call it.
    """
    return wrong(examine_operators(builder, part=part))


def examine_operators(builder: Builder, *, part: str = "operator") -> Iterator[Finding]:
    """As `check_operators`, with what is right too, each as soon as it is known."""
    yield from examine(part, builder, CHECKS)


def _is_a_library(builder: Builder) -> None:
    given = builder()
    if not isinstance(given, Library):
        raise Wrong(f"{type(given).__name__} is no Library")
    if builder() is not given:
        raise Wrong("it is another one each time")


def _name(builder: Builder) -> None:
    name = builder().name
    if not re.fullmatch(r"\w+", name, re.ASCII):
        raise Wrong(f"its name is {name!r}")


def _sources(builder: Builder) -> None:
    library = builder()
    if not library.folder.is_dir() or not library.sources(cuda=False):
        raise Wrong(f"there are no sources in {library.folder}")


def _loads(builder: Builder) -> None:
    library = builder()
    if library.found() is None:
        raise NotJudged("it is not built for this machine; `hrkit build-ops` does that")
    if not library.load(build=False):
        raise Wrong("what was built cannot be loaded")


CHECKS: tuple[Check[Builder], ...] = (
    Check("it is a library", _is_a_library, "give one hrkit.ops.native.Library, the same each time", vital=True),
    Check("its name can be that of a file", _name, "take letters, digits and _"),
    Check("its sources are there", _sources, "ship them as package data", vital=True),
    Check("it loads", _loads, "a library of TORCH_LIBRARY needs no more than being loaded"),
)
