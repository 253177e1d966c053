"""Extraction on many processes and machines with Ray Data: `hrkit extract --engine ray`.

Importing this package does not load Ray; using the engine does.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hrkit import hookimpl

if TYPE_CHECKING:
    from hrkit.extraction.manifest import Result
    from hrkit.extraction.worker import Job


@hookimpl
def register_engines() -> Mapping[str, Callable[..., Iterator[Result]]]:
    """The engine `ray`."""
    return {"ray": run}


def run(inputs: Sequence[str], job: Job, *, workers: int | None = None, address: str | None = None) -> Iterator[Result]:
    """See `hrkit_ray.engine.run`."""
    keep_to_itself(address)
    from hrkit_ray.engine import run

    return run(inputs, job, workers=workers, address=address)


def keep_to_itself(address: str | None) -> None:
    """Sets variables that Ray reads on import: no usage reports, and a token if Ray is started on this machine."""
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    if address is None and "ray" not in sys.modules:  # it executes requests from the network
        settings |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
