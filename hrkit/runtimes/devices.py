"""Which devices to run on, and replicas of a network on several of them."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Generic, TypeVar

import torch

from hrkit.errors import HrkitError

Part = TypeVar("Part")
Job = TypeVar("Job")
Result = TypeVar("Result")

_EXAMPLES = "auto, cpu, mps, cuda, cuda:1 or cuda:0,1"

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def parse_devices(device: str | torch.device | Sequence[str | torch.device]) -> list[torch.device]:
    """ "auto", "cpu", "mps", "cuda:1", "cuda:0,1" or "cpu,cpu" -> devices; "auto" takes CUDA, else MPS, else the CPU.

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
    kind = parts[0].split(":")[0]
    return [_checked(f"{kind}:{part}" if part.isdecimal() else part) for part in parts]


def check_precision(precision: str) -> None:
    """Raises `HrkitError` for what is neither "auto" nor one of `PRECISIONS`."""
    if precision != "auto" and precision not in PRECISIONS:
        raise HrkitError(f"unknown precision {precision!r}; choices: auto, {', '.join(PRECISIONS)}")


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
    if device.type not in ("cpu", "cuda", "mps"):
        _try(device)
    return device


def _try(device: torch.device) -> None:
    """Kinds of device that this page does not know may work all the same; see whether one does."""
    try:
        torch.ones(1, device=device).cpu()
    except Exception as error:
        reason = str(error).split(". ")[0].split("\n")[0] or type(error).__name__
        raise HrkitError(f"device {str(device)!r} does not work here ({reason}); use {_EXAMPLES}") from None


class Replicas(Generic[Part]):
    """The same network on several devices; jobs are dealt to whichever is free, one at a time a device.

    Callers queue. Their jobs run in threads of their own, one a device, so that what a thread keeps for calculating is
    kept once. Jobs of the thread that made the one network run in it, a fifth faster where cores are few. Where the CPU
    is named more than once, each takes its share of torch's threads, and a job that comes alone takes them all.
    """

    def __init__(self, make: Callable[[torch.device], Part], devices: Sequence[torch.device]) -> None:
        self.devices = tuple(devices)
        self.networks = [make(device) for device in devices]
        self._free: SimpleQueue[Part] = SimpleQueue()
        for network in self.networks:
            self._free.put(network)
        self._home = threading.get_ident()
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(len(self.networks), "hrkit-device")

    @property
    def first(self) -> Part:
        """The network on the first device."""
        return self.networks[0]

    def run(self, function: Callable[[Part, Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        """`function(network, job)` for every job, in order; side by side where there are several devices.

        At most twice as many jobs as devices are under way, so that memory stays bounded.
        """
        if len(self.networks) == 1 and threading.get_ident() == self._home:
            for job in jobs:
                yield self._run_one(function, job)
            return
        jobs = iter(jobs)
        first = list(itertools.islice(jobs, len(self.networks)))
        threads = self._threads_each(len(first))
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

    def _threads_each(self, jobs: int) -> int | None:
        """Of torch's, for each of so many jobs at one time; None where they need not share."""
        sharing = sum(device.type == "cpu" for device in self.devices)
        return max(1, self._threads // min(jobs, sharing)) if jobs and sharing > 1 else None

    def _run_one(self, function: Callable[[Part, Job], Result], job: Job, threads: int | None = None) -> Result:
        network = self._free.get()
        try:
            with contextlib.nullcontext() if threads is None else _torch_threads(threads, self._threads):
                return function(network, job)
        finally:
            self._free.put(network)


@contextlib.contextmanager
def _torch_threads(count: int, after: int) -> Iterator[None]:
    """So many for what this thread calculates; `after` is put back, since threads to come take the number set last."""
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(after)
