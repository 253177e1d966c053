"""Where the time goes: named sections of the way through, added up while a profile is on."""

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
    """Seconds and calls of each section, in the order in which they were first entered."""

    seconds: dict[str, float] = field(factory=dict)
    calls: dict[str, int] = field(factory=dict)
    _lock: threading.Lock = field(factory=threading.Lock, repr=False)

    def add(self, name: str, seconds: float) -> None:
        """Counts one call of a section."""
        with self._lock:
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds
            self.calls[name] = self.calls.get(name, 0) + 1

    def table(self, frames: int) -> str:
        """A line a section: ms a frame of `frames`, and ms a call."""
        width = max((len(name) for name in self.seconds), default=0)
        return "\n".join(
            f"{name:<{width}}  {1000 * spent / max(frames, 1):8.2f} ms a frame  "
            f"{1000 * spent / self.calls[name]:8.2f} ms a call  {self.calls[name]:6d} calls"
            for name, spent in self.seconds.items()
        )


_active: Profile | None = None


@contextlib.contextmanager
def profiled(wanted: bool = True) -> Iterator[Profile | None]:
    """A profile of all that the process does within the block, in whatever thread; None where none is `wanted`."""
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
    """What runs in the block counts as `name` in the profile that is on, if one is."""
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
    """Seconds of each pass of the networks within the block, in a list that grows; none may be part of another."""
    begun = 0.0
    seconds: list[float] = []

    def enter(network: nn.Module, images: object) -> None:
        nonlocal begun
        begun = clock()

    def leave(network: nn.Module, images: object, result: object) -> None:
        seconds.append(clock() - begun)

    hooks = [network.register_forward_pre_hook(enter) for network in networks]
    hooks += [network.register_forward_hook(leave) for network in networks]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()
