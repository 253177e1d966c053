"""What a hostile file must not bring about: programs, files written elsewhere, NaN, and noise of libraries."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch

STARTS = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn"}
CHANGES = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Watch(logging.Handler):
    """Notes, in all threads, which programs are started, which files are written outside of `folder`, and what is said.

    hrkit may log lines. Nobody may write to stdout or stderr itself. A context manager.
    """

    current: Watch | None = None

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.WARNING)
        self._inside = (os.path.join(folder, ""), "/dev/null", "/proc/")
        self._found: list[str] = []
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # closed at the end
        self._ending = contextlib.ExitStack()

    def __enter__(self) -> Watch:
        for name in ("hrkit", "hrkit_web"):
            logger = logging.getLogger(name)
            logger.addHandler(self)
            self._ending.callback(logger.removeHandler, self)
        self._ending.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # of libraries, for developers; the command line hides them
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number in (1, 2):
            kept = os.dup(number)
            os.dup2(self._output.fileno(), number)
            self._ending.callback(os.close, kept)
            self._ending.callback(os.dup2, kept, number)
        Watch.current = self
        return self

    def __exit__(self, *error: object) -> None:
        Watch.current = None
        self._ending.close()
        self._output.close()

    def take(self) -> list[str]:
        """What was wrong since the last time."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if length := os.fstat(self._output.fileno()).st_size:
            content = os.pread(self._output.fileno(), length, 0)
            os.ftruncate(self._output.fileno(), 0)
            os.lseek(self._output.fileno(), 0, os.SEEK_SET)
            self._found.append(f"written to stdout or stderr: {content[-2000:].decode(errors='replace')}")
        found, self._found = self._found, []
        return found

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info or len(message.splitlines()) != 1:
            self._found.append(f"logged by {record.name}: {self.format(record)[-2000:]}")

    def check_path(self, path: Any) -> None:
        """Notes a file that is written elsewhere."""
        if isinstance(path, (str, bytes, os.PathLike)):
            place = os.path.realpath(os.fsdecode(path))
            if not f"{place}/".startswith(self._inside) and "__pycache__" not in place:
                self._found.append(f"written elsewhere: {place}")

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Notes an event of `sys.addaudithook`."""
        if event in STARTS:
            self._found.append(f"executed: {event} {arguments!r}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            self.check_path(arguments[0])
        elif event in CHANGES:
            for path in arguments[event == "os.symlink" : 2 if event in ("os.rename", "os.symlink", "os.link") else 1]:
                self.check_path(path)


@sys.addaudithook
def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if (watch := Watch.current) is not None:
        watch.note(event, arguments)


def has_nan(value: Any) -> bool:
    """Whether there is a NaN in a result."""
    if isinstance(value, (float, np.floating)):
        return math.isnan(value)
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f" and bool(np.isnan(value).any())
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() and bool(value.isnan().any())
    if isinstance(value, dict):
        return any(map(has_nan, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(has_nan, value))
    return attrs.has(type(value)) and any(has_nan(getattr(value, one.name)) for one in attrs.fields(type(value)))
