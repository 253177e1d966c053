"""Each input has one result, whatever happens to workers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from hrkit_ray.engine import ray, run

from hrkit.errors import HrkitError
from hrkit.extraction.manifest import Manifest, Result, held
from hrkit.extraction.worker import Job

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.slow]
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@frozen
class Stub(Job):
    """A job that does nothing, unless a name tells it to die or fail."""

    def load(self) -> Any:
        if self.model.get("problem"):
            raise HrkitError(self.model["problem"])
        return work


def work(names: Iterable[str]) -> Iterator[Result]:
    for name in names:
        if "broken" in name:
            raise RuntimeError("it\nfell over")
        if "deadly" in name:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Result(name, "" if "wrong" not in name else "wrong", frames=1)


@pytest.fixture
def stub(tmp_path: Path) -> Callable[..., Stub]:
    """Makes a job whose output folder is prepared as in a run."""

    def make(**model: Any) -> Stub:
        with held(tmp_path / "out"), Manifest(tmp_path / "out", {}):
            return Stub("/nowhere", str(tmp_path / "out"), "csv", {"device": "cpu", **model}, {})

    return make


def test_each_input_has_one_result_and_the_deadly_one_fails_alone(stub: Callable[..., Stub]) -> None:
    strange = os.fsdecode(b"caf\xe9.jpg")
    names = [*(f"{number}.jpg" for number in range(300)), "a/walk.mp4", strange, "wrong.jpg", "deadly.jpg", "last.mp4"]
    job = stub()
    results = list(run(names, job, workers=2))
    assert sorted(result.input for result in results) == sorted(names)
    reasons = {result.input: result.reason for result in results if result.failed}
    assert reasons.pop("wrong.jpg") == "wrong"
    assert reasons.pop("deadly.jpg").startswith("every worker that processes it dies")
    assert reasons == {}
    assert not list(Path(job.output, ".hrkit", "begun").iterdir())


def test_problems_of_workers_are_one_line(stub: Callable[..., Stub]) -> None:
    with pytest.raises(HrkitError, match=r"^unknown backbone$"):
        list(run(["a.jpg", "b.mp4"], stub(problem="unknown backbone"), workers=1))
    with pytest.raises(HrkitError, match=r"^RuntimeError: it fell over$"):
        list(run(["a.jpg", "broken.mp4"], stub(), workers=1))


def test_a_folder_that_is_not_shared(stub: Callable[..., Stub]) -> None:
    job = stub()
    Path(job.output, ".hrkit", "manifest.jsonl").unlink()
    with pytest.raises(HrkitError, match=r"does not exist on .*; the machines of a cluster need a shared folder"):
        list(run(["a.jpg"], job, workers=1))


def test_no_room_for_the_workers(stub: Callable[..., Stub]) -> None:
    with pytest.raises(HrkitError, match="3 workers do not fit: each needs a CPU, and Ray has 2"):
        list(run(["a.jpg"], stub(), workers=3))
