"""Extraction of many inputs to a folder: what is done stays done, what fails is listed, whoever does the work."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from hrkit.errors import HrkitError
from hrkit.extraction.formats import check_format
from hrkit.extraction.inputs import Inputs
from hrkit.extraction.manifest import FAILURES, META, Manifest, Result, held, unfinished_path
from hrkit.registry import engines


@frozen
class Job:
    """What is made of each input: plain values, which can be sent to another process."""

    root: str
    """The folder from which inputs are named, absolute."""
    output: str
    """The folder of the files, absolute."""
    format: str
    model: Mapping[str, Any]
    """Of `Pipeline.from_names`."""
    following: Mapping[str, Any]
    """Of a `Follower`, for videos; of pictures `max_people` alone."""
    max_frames: int | None = None

    def load(self) -> Callable[[Iterable[str]], Iterator[Result]]:
        """A `hrkit.extraction.worker.Extractor`: with the networks loaded, it makes the files of names of inputs.

        Raises as `Pipeline.from_names` and `Follower` do.
        """
        from hrkit.extraction.worker import Extractor  # torch is loaded where the work is done

        return Extractor(self)

    def source(self, name: str) -> str:
        """The path of an input."""
        return os.path.join(self.root, name)

    def target(self, name: str) -> Path:
        """The file of an input: its whole name with the format behind, so that no two have the same."""
        return Path(self.output, f"{name}.{self.format}")

    @property
    def settings(self) -> dict[str, Any]:
        """What the files depend on. The device, on which they do not, is left out."""
        settings = {name: value for name, value in asdict(self).items() if name != "output"}
        return {**settings, "model": {name: value for name, value in self.model.items() if name != "device"}}


@frozen
class Progress:
    """How far a run is, in inputs."""

    before: int
    """Done by the runs before."""
    done: int = 0
    failed: int = 0
    people: int = 0
    """Rows that this run added."""

    def after(self, result: Result) -> Progress:
        """With one input more."""
        return Progress(
            self.before, self.done + (not result.failed), self.failed + result.failed, self.people + result.people
        )


def extract_all(
    inputs: Inputs,
    job: Job,
    *,
    engine: str = "local",
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Progress:
    """Makes the file of every input that is not done yet, with the `engine` of that name and its own `options`.

    What became of each is in the manifest of the output folder at once, and those that failed are in its failures.csv;
    they are tried again by the next run. An input whose file would take the place of one of hrkit's own fails, too.
    `progress` is called at the start and after every input.

    Raises `HrkitError` where the folder was begun with other settings, or files are there that no run wrote, and not
    `overwrite`; where another run writes there; for unknown names and options; and as the engine does, where the work
    as a whole cannot go on.
    """
    check_format(job.target("input"), job.format)
    engines.find(engine)
    with held(job.output):
        manifest = Manifest(Path(job.output), job.settings, overwrite=overwrite)
        if overwrite:
            shutil.rmtree(unfinished_path(job.output), ignore_errors=True)
        elif not manifest.begun:
            _check_free(inputs, job)
        refused, todo = [], []
        for name in inputs.names:
            if _is_own(name, job):
                reason = f"its file, {name}.{job.format}, would take the place of one of hrkit's own; rename the input"
                refused.append(Result(name, reason))
            elif name not in manifest.done or not os.path.exists(job.target(name)):
                todo.append(name)
        so_far = Progress(before=len(inputs.names) - len(todo) - len(refused))
        report = progress or (lambda _: None)
        report(so_far)
        with manifest:  # even for nothing, as its list may be that of a run that was killed
            if not todo and not refused:
                return so_far
            for result in itertools.chain(refused, engines.build(engine, todo, job, **options) if todo else ()):
                manifest.add(result)
                so_far = so_far.after(result)
                report(so_far)
        missing = len(todo) + len(refused) - so_far.done - so_far.failed
        if missing:
            raise HrkitError(f"engine {engine!r} left {missing} inputs out; run again to go on with them")
        if not so_far.failed:
            shutil.rmtree(unfinished_path(job.output), ignore_errors=True)
        return so_far


def _is_own(name: str, job: Job) -> bool:
    """Whether the file of an input would be one that hrkit writes for itself, also where case does not count."""
    file = f"{name}.{job.format}".casefold()
    return file in (FAILURES, META) or file.startswith(".hrkit/")


def _check_free(inputs: Inputs, job: Job) -> None:
    """Raises `HrkitError` for the first file there that the run would write."""
    written = (Path(job.output, name) for name in (FAILURES, META))
    for path in itertools.chain(written, map(job.target, inputs.names)):
        if path.exists():
            raise HrkitError(f"{path} exists, and no run wrote it; name another folder, or pass --overwrite")
