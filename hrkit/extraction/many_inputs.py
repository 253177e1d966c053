"""Extraction of many inputs to a folder. Finished files stay, failures are listed, and any engine does the work."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from hrkit.errors import HrkitError
from hrkit.extraction.formats import check_format
from hrkit.extraction.inputs import Inputs
from hrkit.extraction.manifest import FAILURES, META, Manifest, Result, held, unfinished_path
from hrkit.extraction.provenance import mark
from hrkit.extraction.worker import Job
from hrkit.files import check_outputs
from hrkit.registry import engines


@frozen
class Progress:
    """How far a run is, in inputs."""

    before: int
    """Finished by earlier runs."""
    done: int = 0
    failed: int = 0
    people: int = 0
    """Rows that this run added."""


def extract_all(
    inputs: Inputs,
    job: Job,
    *,
    engine: str = "local",
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Progress:
    """Makes the file of each input that has none yet, with the named `engine` and its own `options`.

    The manifest of the output folder records each result at once, and failures.csv lists the inputs that failed; the
    next run tries those again. An input whose file would replace one of hrkit's own fails too. `progress` is called at
    the start and after each input.

    Raises `HrkitError` if the folder was begun with other settings or holds files that no run wrote (unless
    `overwrite`), if another run is writing there, for unknown names and options, and if the engine cannot go on.
    """
    check_format(job.target("input"), job.format)
    engines.find(engine)
    with held(job.output):
        manifest = Manifest(Path(job.output), job.settings, overwrite=overwrite)
        check_outputs([job.output, *map(job.target, inputs.names)], [inputs.root, *inputs.paths])
        if overwrite:
            shutil.rmtree(unfinished_path(job.output), ignore_errors=True)
        elif not manifest.begun:
            _check_free(inputs, job)
        if not manifest.begun:
            Path(job.output, META).unlink(missing_ok=True)  # of a start that failed, or of what is overwritten
        refused, todo = _sorted(inputs, job, manifest)
        so_far = Progress(before=len(inputs.names) - len(todo) - len(refused))
        report = progress or (lambda _: None)
        report(so_far)
        with manifest:  # even without work, because a killed run may have left an old list of failures
            for result in itertools.chain(refused, engines.build(engine, todo, job, **options) if todo else ()):
                manifest.add(result)
                so_far = evolve(
                    so_far,
                    done=so_far.done + (not result.failed),
                    failed=so_far.failed + result.failed,
                    people=so_far.people + result.people,
                )
                report(so_far)
        missing = len(todo) + len(refused) - so_far.done - so_far.failed
        if missing:
            raise HrkitError(f"engine {engine!r} left {missing} inputs out; run again to go on with them")
        if not so_far.failed:
            shutil.rmtree(unfinished_path(job.output), ignore_errors=True)
        return so_far


def _sorted(inputs: Inputs, job: Job, manifest: Manifest) -> tuple[list[Result], list[str]]:
    """The results of inputs that cannot have a file, and the names of those that have none yet."""
    refused, todo = [], []
    for name in inputs.names:
        if _is_own(f"{name}.{job.format}"):
            reason = f"its file, {name}.{job.format}, would take the place of one of hrkit's own; rename the input"
            refused.append(Result(name, reason))
        elif not (os.path.exists(job.target(name)) and _is_same(manifest.done.get(name), job.source(name))):
            todo.append(name)
    return refused, todo


def _is_same(known: str | None, source: str) -> bool:
    """Whether an input is the one that was finished. An input that is gone was."""
    return known is not None and (not os.path.exists(source) or known in ("", mark(source)))


def _is_own(file: str) -> bool:
    """Whether a file is one that hrkit writes for itself, also on file systems that ignore case."""
    return file.casefold() in (FAILURES, META) or file.casefold().startswith(".hrkit/")


def _check_free(inputs: Inputs, job: Job) -> None:
    """Raises `HrkitError` for the first existing file that the run would write."""
    own = (Path(job.output, name) for name in (FAILURES, META))
    for path in itertools.chain(own, map(job.target, inputs.names)):
        if path.exists():
            raise HrkitError(f"{path} exists, and no run wrote it; name another folder, or pass --overwrite")
