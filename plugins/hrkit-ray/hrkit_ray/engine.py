"""The engine `ray`: tasks of a few inputs, dealt by Ray Data to actors that have loaded the networks."""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import ray
import ray.data
from attrs import frozen
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from hrkit.errors import HrkitError, one_line
from hrkit.extraction.inputs import in_batches
from hrkit.extraction.manifest import Result
from hrkit.extraction.many_inputs import Job
from hrkit_ray.worker import Worker, forget_deaths, pack, unpack

PICTURES_A_TASK = 64
"""A task is so many pictures, or one video: what is done again when a worker dies."""

TASKS_A_WORKER = 1000
"""Ray has so many at a time, so that what it keeps of tasks does not grow with the inputs."""

CPUS_A_WORKER = 4
"""Where nobody says how many workers there are, and there are no GPUs."""

OBJECT_STORE = 256 * 2**20
"""Bytes, where Ray is started for the run: there is nothing in it but names and results."""


@frozen
class Pool:
    """The workers, and what each has."""

    workers: int
    cpus: int
    gpus: float


def run(inputs: Sequence[str], job: Job, *, workers: int | None = None, address: str | None = None) -> Iterator[Result]:
    """A result for each of `inputs`, as they come.

    `workers` processes load the networks once each: by default one a GPU, or else one for 4 CPUs. `address` is that of
    a cluster ("auto": the one that this machine is of); by default Ray is started on this machine, and ended.

    Raises `HrkitError` where there is no such cluster or no room for the workers, where a worker cannot load the
    networks, and where Ray fails.
    """
    forget_deaths(job.output)
    with _connected(address):
        pool = _pool(workers, str(job.model.get("device", "auto")))
        DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        tasks = in_batches(inputs, PICTURES_A_TASK)
        while some := list(itertools.islice(tasks, TASKS_A_WORKER * pool.workers)):
            yield from _results(some, job, pool)


def _results(tasks: Sequence[list[str]], job: Job, pool: Pool) -> Iterator[Result]:
    """What workers, started for these tasks, give."""
    items = [{"inputs": pack(names)} for names in tasks]
    results = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Worker,
        fn_constructor_args=(job,),
        batch_size=None,
        compute=ActorPoolStrategy(size=min(pool.workers, len(items)), max_tasks_in_flight_per_actor=2),
        num_cpus=pool.cpus,  # Ray tells torch to use so many threads
        num_gpus=pool.gpus,
    )
    try:
        for row in results.iter_rows():
            yield unpack(row["result"])
    except RayError as error:
        raise HrkitError(f"Ray failed: {one_line(error)}") from error


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Ray, where it is not there already: of a cluster, or started here and ended."""
    if ray.is_initialized():
        yield
        return
    here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    try:
        ray.init(
            address or "local", log_to_driver=False, logging_level=logging.ERROR, **(here if address is None else {})
        )
    except Exception as error:  # Ray raises all sorts, bare ones too
        raise HrkitError(f"no Ray at {address or 'this machine'}: {one_line(error)}") from None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where Ray tells of workers that died
            yield
    finally:
        ray.shutdown()


def _pool(workers: int | None, device: str) -> Pool:
    """As many workers as asked for, with an even share of the cluster. Raises `HrkitError` without room for them."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    gpus = 0 if device == "cpu" else sum(int(node.get("GPU", 0)) for node in nodes)
    workers = workers or gpus or max(1, sum(cpus) // CPUS_A_WORKER)
    for each in range(max(cpus), 0, -1):
        if sum(one // each for one in cpus) >= workers:
            return Pool(workers, each, min(1, 1 / -(-workers // gpus)) if gpus else 0)
    raise HrkitError(f"no room for {workers} workers: each needs a CPU of its own, and Ray has {sum(cpus)}")
