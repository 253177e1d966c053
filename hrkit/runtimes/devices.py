"""Names of devices, and replicas of a network on several devices."""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Generic, TypeVar

import torch

from hrkit.errors import HrkitError

Network = TypeVar("Network")
Job = TypeVar("Job")
Result = TypeVar("Result")

_EXAMPLES = "auto, cpu, mps, cuda, cuda:1 or cuda:0,1"


def parse_devices(device: str | torch.device | Sequence[str | torch.device]) -> list[torch.device]:
    """The devices of "auto", "cpu", "mps", "cuda:1", "cuda:0,1" or "cpu,cpu"; "auto" is CUDA, else MPS, else the CPU.

    A number alone, as "0", is that of a CUDA device.

    Raises `HrkitError` for a device that does not exist or that this torch cannot use.
    """
    if isinstance(device, torch.device):
        return [_checked(str(device))]
    if not isinstance(device, str):
        if not isinstance(device, Sequence) or not device:
            raise HrkitError(f"a device is a name or several, {_EXAMPLES}; not {device!r}")
        return [one for part in device for one in parse_devices(part)]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    parts = [part.strip() for part in device.split(",")]
    kind = "cuda" if parts[0].isdecimal() else parts[0].split(":")[0]
    return [_checked(f"{kind}:{part}" if part.isdecimal() else part) for part in parts]


def _checked(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise HrkitError(f"no device is called {name!r}; use {_EXAMPLES}") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise HrkitError(f"device {name!r}: this torch sees no CUDA GPU; use device='cpu' or install a CUDA build")
        if device.index is not None and device.index >= torch.cuda.device_count():
            raise HrkitError(f"device {name!r}: there are only {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise HrkitError("device 'mps' is not available here; use device='cpu'")
    if device.type not in ("cpu", "cuda", "mps"):  # a kind of device that torch knows may work all the same
        try:
            torch.ones(1, device=device).cpu()
        except Exception as error:  # each kind of device has its own classes of errors
            reason = str(error).split(". ")[0].split("\n")[0] or type(error).__name__
            raise HrkitError(f"device {name!r} does not work here ({reason}); use {_EXAMPLES}") from None
    return device


_lost_threads: list[int] = []
"""The id of this process, if it was forked after torch's threads had worked."""


@functools.cache
def _watch_forks() -> None:
    """Makes processes that are forked from now on know that they lack torch's threads."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _lost_threads.append(os.getpid()))


class Replicas(Generic[Network]):
    """The same network on several devices. Each job goes to a free one; a device runs one job at a time.

    Jobs run in one thread per device, whichever thread calls, so thread-local buffers are allocated once per device.
    With a single device, jobs of the thread that made the network run in that thread: a fifth faster on few cores.
    Replicas on the CPU share torch's threads evenly; a job that runs alone gets all of them. torch's threads do not
    outlive a fork, and work for them would wait for ever: a process forked after they worked raises `HrkitError`.
    """

    def __init__(self, make: Callable[[torch.device], Network], devices: Sequence[torch.device]) -> None:
        self.devices: tuple[torch.device, ...] = tuple(devices)
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, threads // max(1, sum(device.type == "cpu" for device in devices))))
        try:
            # runtimes keep the threads that they are made with
            self.networks: list[Network] = [make(device) for device in devices]
        finally:
            torch.set_num_threads(threads)
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._free: SimpleQueue[Network] = SimpleQueue()
        for network in self.networks:
            self._free.put(network)
        self._home = threading.get_ident()
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(len(self.networks), "hrkit-device")

    @property
    def first(self) -> Network:
        """The network on the first device."""
        return self.networks[0]

    def run(self, function: Callable[[Network, Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        """`function(network, job)` for each job, in order. Several devices run jobs at the same time.

        At most twice as many jobs as devices are in progress, which bounds the memory.
        """
        if torch.get_num_threads() > 1:
            _watch_forks()
        if _lost_threads:
            raise HrkitError(
                "this process was forked after networks ran in several threads, which it has not; start it with "
                "multiprocessing's spawn, or call torch.set_num_threads(1) before the first network runs"
            )
        if os.getpid() != self._process:
            self._begin()
        if len(self.networks) == 1 and threading.get_ident() == self._home:
            for job in jobs:
                yield self._run_one(function, job)
            return
        jobs = iter(jobs)
        first = list(itertools.islice(jobs, len(self.networks)))
        sharing = sum(device.type == "cpu" for device in self.devices)
        threads = max(1, self._threads // min(len(first), sharing)) if first and sharing > 1 else None
        waiting: deque[Future[Result]] = deque()
        try:
            for job in itertools.chain(first, jobs):
                waiting.append(self._pool.submit(self._run_one, function, job, threads))
                if len(waiting) == 2 * len(self.networks):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _run_one(self, function: Callable[[Network, Job], Result], job: Job, threads: int | None = None) -> Result:
        network = self._free.get()
        if threads is not None:
            torch.set_num_threads(threads)  # of this thread, and the default of threads to come
        try:
            return function(network, job)
        finally:
            if threads is not None:
                torch.set_num_threads(self._threads)
            self._free.put(network)
