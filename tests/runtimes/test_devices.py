"""Replicas of a network on several devices."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from hrkit.runtimes.devices import Replicas

CPU = torch.device("cpu")


@pytest.fixture
def six_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    yield
    torch.set_num_threads(before)


def threads(network: str, job: int) -> int:
    """Of torch, in the thread of a job."""
    return torch.get_num_threads()


@pytest.mark.usefixtures("six_threads")
@pytest.mark.parametrize(
    ("replicas", "jobs", "wanted"), [(1, 3, 6), (2, 1, 6), (2, 2, 3), (2, 5, 3), (3, 2, 3), (3, 9, 2), (8, 8, 1)]
)
def test_replicas_on_the_cpu_share_its_threads(replicas: int, jobs: int, wanted: int) -> None:
    network = Replicas(str, [CPU] * replicas)
    assert list(network.run(threads, range(jobs))) == [wanted] * jobs
    assert torch.get_num_threads() == 6
    with ThreadPoolExecutor(1) as pool:  # a thread to come
        assert pool.submit(torch.get_num_threads).result() == 6


def test_no_jobs() -> None:
    assert list(Replicas(str, [CPU] * 2).run(threads, [])) == []


def test_jobs_run_side_by_side_and_come_in_order() -> None:
    together = threading.Barrier(2, timeout=30)

    def meet(network: str, job: int) -> int:
        together.wait()
        return job

    assert list(Replicas(str, [CPU] * 2).run(meet, range(6))) == list(range(6))


def test_what_goes_wrong_reaches_the_caller_and_frees_the_network() -> None:
    network = Replicas(str, [CPU] * 2)

    def divide(network: str, job: int) -> int:
        return 6 // job

    with pytest.raises(ZeroDivisionError):
        list(network.run(divide, [3, 0, 2, 1]))
    assert list(network.run(divide, [3, 2, 1])) == [2, 3, 6]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(("threads", "says"), [(1, "computed"), (2, "this process was forked after networks ran")])
@pytest.mark.slow
def test_a_fork_after_use_with_threads_is_told_instead_of_hanging(threads: int, says: str) -> None:
    script = f"""if True:
        import os, torch
        from hrkit.errors import HrkitError
        from hrkit.runtimes.devices import Replicas
        torch.set_num_threads({threads})
        replicas = Replicas(lambda device: torch.nn.Linear(2, 2), [torch.device("cpu")] * 2)
        compute = lambda network, job: network(job)
        list(replicas.run(compute, [torch.zeros(1, 2)] * 3))
        process = os.fork()
        if process:
            os.waitpid(process, 0)
            os._exit(0)
        try:
            for one in (replicas, Replicas(lambda device: torch.nn.Linear(2, 2), [torch.device("cpu")])):
                list(one.run(compute, [torch.zeros(1, 2)] * 3))
            print("computed", flush=True)
        except HrkitError as error:
            print(error, flush=True)
        os._exit(0)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert done.stdout.startswith(says), done.stderr
