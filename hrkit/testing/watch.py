"""What a part does to its process: it should print nothing, and leave settings that all share as they are."""

from __future__ import annotations

import contextlib
import io
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any  # values of settings

import cv2
import numpy as np
import torch
from attrs import define, field

from hrkit.errors import shown

SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "torch.get_num_threads()": (torch.get_num_threads, torch.set_num_threads),
    "torch.is_grad_enabled()": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch.get_default_dtype()": (torch.get_default_dtype, torch.set_default_dtype),
    "torch.get_float32_matmul_precision()": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "torch.are_deterministic_algorithms_enabled()": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "cv2.getNumThreads()": (cv2.getNumThreads, cv2.setNumThreads),
    "the state of np.random": (
        lambda: [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
        lambda state: np.random.set_state(tuple(state)),
    ),
    "the handler of Ctrl-C": (
        lambda: signal.getsignal(signal.SIGINT),
        lambda handler: signal.signal(signal.SIGINT, handler),
    ),
    "the working directory": (os.getcwd, os.chdir),
}
"""How the settings of a process are read and written, by name."""


@define(eq=False)
class Watch:
    """Looks after the process while a part is checked."""

    begins: Callable[[str, str], None] = lambda part, check: None
    """Called with the part and the check before each check."""
    _changed: dict[str, str] = field(factory=dict, init=False)
    """Settings that were changed, with the first check that changed them."""
    _printed: str = field(default="", init=False)

    @contextlib.contextmanager
    def over(self, part: str, check: str) -> Iterator[None]:
        """Runs a check, and undoes what it does to the settings.

        Threads stay as they are: more of them than processors wait for each other most of the time.
        """
        self.begins(part, check)
        usual = {name: read() for name, (read, _) in SETTINGS.items()}
        np.random.seed(12345)
        torch.set_grad_enabled(True)
        before = {name: read() for name, (read, _) in SETTINGS.items()}
        try:
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                yield
        finally:
            for name, (read, write) in SETTINGS.items():
                if read() != before[name]:
                    self._changed.setdefault(name, check)
                if read() != usual[name]:
                    write(usual[name])
            if not self._printed and printed.getvalue().strip():
                self._printed = f"{shown(printed.getvalue())[:100]!r} is, while checking {check!r}"

    def faults(self) -> Iterator[tuple[str, str, str]]:
        """For each thing watched: its name, the problem (empty if there is none) and what to do about it."""
        changed = "; ".join(f"{name} is changed while checking {check!r}" for name, check in self._changed.items())
        yield (
            "the process stays as it is",
            changed,
            "use with torch.inference_mode() and numpy.random.default_rng(), and set nothing that all share",
        )
        yield "nothing is printed", self._printed, "leave stdout to the results of commands, and use logging"
