"""The engine `ray`: Ray Data distributes tasks of a few inputs to actors that have loaded the networks."""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
from collections.abc import Iterator, Sequence

import ray
import ray.data
from attrs import frozen
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from hrkit.errors import HrkitError, one_line
from hrkit.extraction.inputs import in_batches
from hrkit.extraction.manifest import Result
from hrkit.extraction.worker import Job
from hrkit_ray.worker import Worker, forget_deaths, pack, unpack

PICTURES_A_TASK = 64
"""Pictures per task; a video is a task of its own. If a worker dies, its task is repeated."""

TASKS_A_WORKER = 1000
"""Tasks given to Ray at one time, so that its memory does not grow with the number of inputs."""

CPUS_A_WORKER = 4
"""CPUs per worker if the number of workers is not given and there are no GPUs."""

OBJECT_STORE = 256 * 2**20
"""Size in bytes if Ray is started for the run. The store holds names and results only."""


@frozen
class Pool:
    """The number of workers, and the CPUs and GPUs of each."""

    workers: int
    cpus: int
    gpus: float


def run(inputs: Sequence[str], job: Job, *, workers: int | None = None, address: str | None = None) -> Iterator[Result]:
    """Yields one result per input, in order of completion.

    Each of the `workers` processes loads the networks once; by default there is one per GPU, or one per 4 CPUs without
    GPUs. `address` is that of a cluster ("auto": the cluster of this machine). By default Ray is started on this
    machine and stopped at the end.

    Raises `HrkitError` if there is no such cluster, if the workers do not fit into it, if a worker cannot load the
    networks, or if Ray fails.
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
    """Starts workers for `tasks` and yields their results."""
    items = [{"inputs": pack(names)} for names in tasks]
    results = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Worker,
        fn_constructor_args=(job,),
        batch_size=None,
        compute=ActorPoolStrategy(size=min(pool.workers, len(items)), max_tasks_in_flight_per_actor=2),
        num_cpus=pool.cpus,  # also the number of threads that torch uses
        num_gpus=pool.gpus,
    )
    try:
        for row in results.iter_rows():
            yield unpack(row["result"])
    except RayError as error:
        raise HrkitError(f"Ray failed: {one_line(error)}") from error


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connects to a cluster, or starts Ray for the block. Does nothing if Ray is connected already."""
    if ray.is_initialized():
        yield
        return
    here = address is None
    try:
        ray.init(
            address or "local",
            include_dashboard=False if here else None,
            object_store_memory=OBJECT_STORE if here else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray raises errors of many types, also bare `Exception`
        raise HrkitError(f"no Ray at {address or 'this machine'}: {one_line(error)}") from None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Ray prints about workers that died
            yield
    finally:
        ray.shutdown()


def _pool(workers: int | None, device: str) -> Pool:
    """Workers with an even share of the cluster. Raises `HrkitError` if they do not fit."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    gpus = 0 if device == "cpu" else sum(int(node.get("GPU", 0)) for node in nodes)
    workers = workers or gpus or max(1, sum(cpus) // CPUS_A_WORKER)
    for each in range(max(cpus), 0, -1):
        if sum(one // each for one in cpus) >= workers:
            return Pool(workers, each, min(1, 1 / -(-workers // gpus)) if gpus else 0)
    raise HrkitError(f"{workers} workers do not fit: each needs a CPU, and Ray has {sum(cpus)}")
