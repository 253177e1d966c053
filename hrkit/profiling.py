"""Profiling: the time spent in named sections while a profile is active."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from torch import nn


@define
class Profile:
    """Seconds and calls per section, in the order of their first call."""

    seconds: dict[str, float] = field(factory=dict)
    calls: dict[str, int] = field(factory=dict)
    _lock: threading.Lock = field(factory=threading.Lock, repr=False)

    def add(self, name: str, seconds: float) -> None:
        """Adds one call of a section."""
        with self._lock:
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds
            self.calls[name] = self.calls.get(name, 0) + 1

    def table(self, frames: int) -> str:
        """One line per section: ms per frame, out of `frames`, and ms per call."""
        width = max((len(name) for name in self.seconds), default=0)
        return "\n".join(
            f"{name:<{width}}  {1000 * spent / max(frames, 1):8.2f} ms a frame  "
            f"{1000 * spent / self.calls[name]:8.2f} ms a call  {self.calls[name]:6d} calls"
            for name, spent in self.seconds.items()
        )


_active: Profile | None = None


@contextlib.contextmanager
def profiled(wanted: bool = True) -> Iterator[Profile | None]:
    """A profile of what all threads of the process do in the block; None if it is not `wanted`."""
    global _active
    if not wanted:
        yield None
        return
    before, _active = _active, Profile()
    try:
        yield _active
    finally:
        _active = before


@contextlib.contextmanager
def section(name: str) -> Iterator[None]:
    """Counts the block as a call of section `name` in the active profile, if there is one."""
    profile = _active
    if profile is None:
        yield
        return
    started = time.perf_counter()
    try:
        yield
    finally:
        profile.add(name, time.perf_counter() - started)


@contextlib.contextmanager
def network_seconds(*networks: nn.Module, clock: Callable[[], float] = time.perf_counter) -> Iterator[list[float]]:
    """A list to which each pass of the networks in the block adds its seconds. No network may contain another."""
    begun = 0.0
    seconds: list[float] = []

    def enter(network: nn.Module, images: object) -> None:
        nonlocal begun
        begun = clock()

    def leave(network: nn.Module, images: object, result: object) -> None:
        seconds.append(clock() - begun)

    with contextlib.ExitStack() as hooks:
        for network in networks:
            hooks.callback(network.register_forward_pre_hook(enter).remove)
            hooks.callback(network.register_forward_hook(leave).remove)
        yield seconds
