"""hrkit's work on many processes and machines, with Ray Data: `hrkit extract --engine ray`.

Importing this loads no Ray; that waits until the engine is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hrkit import hookimpl

if TYPE_CHECKING:
    from hrkit.manifest import Result


@hookimpl
def register_engines() -> Mapping[str, Callable[..., Iterator[Result]]]:
    """`ray`; `hrkit_ray.engine.run` says what it takes."""
    return {"ray": _run}


def _run(*arguments: Any, **options: Any) -> Iterator[Result]:
    from hrkit_ray.engine import run

    return run(*arguments, **options)
