"""Several processes as torchrun starts them; everything here also works in one."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from attrs import frozen

LINGER = 10.0
"""Seconds that a rank waits to be ended, after another one has failed."""


@frozen
class World:
    """This process among the others."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0


@contextlib.contextmanager
def joined_world(device: torch.device) -> Iterator[World]:
    """Joins the processes of torchrun (NCCL on CUDA, else gloo); a process of its own where there is no torchrun.

    Of several ranks that fail, the first raises its error. The others, which made the same mistake or see no more than
    that somebody is gone, keep quiet until torchrun ends them.
    """
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield current_world()
        return
    if device.type == "cuda":  # NCCL wants a device a rank, and gathers objects on the current one
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    store, rank, size = next(iter(dist.rendezvous("env://")))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=size)
    try:
        yield current_world()
    except Exception:
        if store.add("failed", 1) > 1:
            time.sleep(LINGER)  # torchrun ends it as soon as the first is gone; before that it would end the first
            raise SystemExit(2) from None
        raise
    finally:
        dist.destroy_process_group()


def current_world() -> World:
    """Who this process is."""
    if not dist.is_initialized():
        return World()
    return World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", 0)))


def gather_lists(own: list[Any]) -> list[Any]:
    """The lists of all ranks, one after another, on every rank."""
    if not dist.is_initialized():
        return own
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, own)
    return [item for part in everyone for item in part]


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank."""
    if not dist.is_initialized():
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return bool(value.item())
