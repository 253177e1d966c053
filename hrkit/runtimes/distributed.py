"""The processes that torchrun starts. Without torchrun, each function works for a single process."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import TypeVar

import torch
import torch.distributed as dist
from attrs import frozen

LINGER = 10.0
"""Seconds that a failed rank waits to be ended by torchrun if another rank failed first."""

Item = TypeVar("Item")


@frozen
class World:
    """The place of this process among all processes."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0


@contextlib.contextmanager
def joined_world(device: torch.device) -> Iterator[World]:
    """Joins the processes of torchrun: by NCCL on CUDA, else by gloo.

    If several ranks fail, only the first raises its error; the others exit silently, as they made the same mistake or
    lost their peers.
    """
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield current_world()
        return
    if device.type == "cuda":  # NCCL needs one device per rank, and gathers objects on the current device
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    store, rank, size = next(iter(dist.rendezvous("env://")))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=size)
    try:
        yield current_world()
    except Exception:
        if store.add("failed", 1) > 1:
            time.sleep(LINGER)  # exiting before the first rank would make torchrun report this one
            raise SystemExit(2) from None
        raise
    finally:
        dist.destroy_process_group()


def current_world() -> World:
    """The place of this process in the world that `joined_world` joined."""
    if not dist.is_initialized():
        return World()
    return World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", 0)))


def gather_lists(own: list[Item]) -> list[Item]:
    """The lists of all ranks joined in order, on each rank."""
    if not dist.is_initialized():
        return own
    lists: list[list[Item]] = [[]] * dist.get_world_size()
    dist.all_gather_object(lists, own)
    return [item for part in lists for item in part]


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor(float(flag), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return bool(value)
