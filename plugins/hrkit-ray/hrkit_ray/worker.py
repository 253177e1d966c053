"""What runs where the work is done: the networks, loaded once, and one task after another."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from attrs import asdict

from hrkit.errors import HrkitError
from hrkit.extraction.manifest import Result, manifest_path, reason_of
from hrkit.extraction.many_inputs import Job
from hrkit.runtimes.allocator import keep_freed_memory

MOST_DEATHS = 3
"""How often workers may die while they load the networks, or work on one input alone, until it is given up."""


class Worker:
    """An actor of Ray Data. A batch is one task: in `inputs` packed names; what it gives has a result for each.

    Ray starts a worker that died again, with the task that it was at. Who killed it is found out by working on the
    inputs of that task one by one. What keeps it from working at all is told in place of results.
    """

    def __init__(self, job: Job) -> None:
        self._output, self._problem = job.output, ""
        keep_freed_memory()
        try:
            if not manifest_path(job.output).exists():
                raise HrkitError(
                    f"{job.output} of this run is not there on {platform.node()}; the machines of a cluster need a "
                    "folder that they share"
                )
            with _begun(job.output, f"load {ray.get_runtime_context().get_actor_id()}") as times:
                if times > MOST_DEATHS:
                    raise HrkitError("workers die while they load the networks; take fewer, or more memory")
                self._extract = job.load()
        except Exception as error:
            self._problem = reason_of(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        names = os.fsdecode(batch["inputs"][0]).split("\0")
        try:
            if self._problem:
                raise HrkitError(self._problem)
            with _begun(self._output, "task " + "\0".join(names)) as times:
                results = self._extract(names) if times == 1 else map(self._alone, names)
                return {"result": [json.dumps(asdict(result)) for result in results]}
        except Exception as error:
            return {"result": [json.dumps({"problem": reason_of(error)})]}

    def _alone(self, name: str) -> Result:
        with _begun(self._output, f"input {name}") as times:
            if times > MOST_DEATHS:
                return Result(name, "whatever worker is at it dies; is there memory enough?")
            return next(self._extract([name]))


def pack(names: Sequence[str]) -> bytes:
    """Names of inputs as one value that Arrow can hold, whatever bytes they are of."""
    return os.fsencode("\0".join(names))


def unpack(value: str) -> Result:
    """A result as a worker gives it. Raises `HrkitError` where the worker cannot work at all."""
    record = json.loads(value)
    if "problem" in record:
        raise HrkitError(record["problem"])
    return Result(**record)


def forget_deaths(output: str) -> None:
    """To be called before a run."""
    shutil.rmtree(_notes(output), ignore_errors=True)


def _notes(output: str) -> Path:
    return Path(output, ".hrkit", "begun")


@contextlib.contextmanager
def _begun(output: str, what: str) -> Iterator[int]:
    """How often something was begun, this time included, since it was last ended; who dies does not end it."""
    note = _notes(output) / hashlib.sha256(os.fsencode(what)).hexdigest()
    note.parent.mkdir(parents=True, exist_ok=True)
    with note.open("ab") as file:
        file.write(b".")
    try:
        yield note.stat().st_size
    finally:
        note.unlink(missing_ok=True)
