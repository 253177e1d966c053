"""The worker: it loads the networks once and processes one task after another."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import ray
from attrs import asdict
from numpy.typing import NDArray

from hrkit.errors import HrkitError
from hrkit.extraction.manifest import Result, manifest_path, reason_of
from hrkit.extraction.worker import Job
from hrkit.runtimes.allocator import keep_freed_memory

MOST_DEATHS = 3
"""How often workers may die while loading the networks, or on the same input, before it counts as failed."""


class Worker:
    """An actor of Ray Data. A batch is one task: packed names in `inputs`, and one result per name in the answer.

    If a worker dies, Ray restarts it with the same task. The inputs of that task are then processed one by one, which
    finds the input that kills workers. If a worker cannot work at all, it returns the reason in place of results.
    """

    def __init__(self, job: Job) -> None:
        self._output, self._problem = job.output, ""
        keep_freed_memory()
        try:
            if not manifest_path(job.output).exists():
                raise HrkitError(
                    f"{job.output} of this run does not exist on {platform.node()}; the machines of a cluster need a "
                    "shared folder"
                )
            with _begun(job.output, f"load {ray.get_runtime_context().get_actor_id()}") as times:
                if times > MOST_DEATHS:
                    raise HrkitError("workers die while they load the networks; use fewer workers or more memory")
                self._extract = job.load()
        except Exception as error:
            self._problem = reason_of(error)

    def __call__(self, batch: dict[str, NDArray[np.object_]]) -> dict[str, list[str]]:
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
                return Result(name, "every worker that processes it dies; is there enough memory?")
            return next(self._extract([name]))


def pack(names: Sequence[str]) -> bytes:
    """Packs names of inputs into one value that Arrow can hold, whatever bytes they contain."""
    return os.fsencode("\0".join(names))


def unpack(value: str) -> Result:
    """Reads a result of a worker. Raises `HrkitError` if the worker cannot work at all."""
    record = json.loads(value)
    if "problem" in record:
        raise HrkitError(record["problem"])
    return Result(**record)


def forget_deaths(output: str) -> None:
    """Deletes the notes of earlier runs."""
    shutil.rmtree(_notes(output), ignore_errors=True)


def _notes(output: str) -> Path:
    return Path(output, ".hrkit", "begun")


@contextlib.contextmanager
def _begun(output: str, what: str) -> Iterator[int]:
    """Counts how often something has begun, including now, without ending. A worker that dies does not end it."""
    note = _notes(output) / hashlib.sha256(os.fsencode(what)).hexdigest()
    note.parent.mkdir(parents=True, exist_ok=True)
    with note.open("ab") as file:
        file.write(b".")
    try:
        yield note.stat().st_size
    finally:
        note.unlink(missing_ok=True)
