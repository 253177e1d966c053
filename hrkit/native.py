"""hrkit's own operators: built once for this machine, found again by version and flags, never in the way.

`HRKIT_OPS` chooses what `ops` runs: `native` (built on first use), `torch` or `reference`. Where it is not set, what
was built before is used and nothing is compiled unasked; `hrkit build-ops` does that once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Literal

import torch
from filelock import FileLock
from torch import Tensor

from hrkit import __version__
from hrkit.downloads import cache_dir
from hrkit.errors import HrkitError, one_line

CHOICES = ("native", "torch", "reference")
SOURCES = Path(__file__).parent / "csrc"
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-ffp-contract=off")
"""For this processor, but to the last digit as written: fused products would decide ties another way."""

logger = logging.getLogger("hrkit")

_lock = threading.Lock()
_state: Literal["unknown", "absent", "failed", "loaded"] = "unknown"
"""What is known of the library in this process: failed is final, absent may still be built."""


def implementation() -> str:
    """Of `CHOICES`, what is to be run now. Raises `HrkitError` for another value of `HRKIT_OPS`."""
    wanted = os.environ.get("HRKIT_OPS", "")
    if wanted not in ("", *CHOICES):
        raise HrkitError(f"HRKIT_OPS={wanted!r}; choices: {', '.join(CHOICES)}")
    if wanted in ("torch", "reference"):
        return wanted
    return "native" if load(build=wanted == "native") else "torch"


def load(*, build: bool) -> bool:
    """Whether the operators `torch.ops.hrkit.*` are there now; builds them first if need be and `build` says so.

    Where that fails one line is logged, and it is not tried again.
    """
    global _state
    with _lock:
        if _state == "unknown" or (_state == "absent" and build):
            try:
                _state = _loaded_or_absent(build)
            except Exception as error:  # compilers and loaders fail in all sorts of ways
                logger.warning("hrkit's own operators cannot be used, torch's take over (%s)", one_line(error)[:300])
                _state = "failed"
        return _state == "loaded"


def _loaded_or_absent(build: bool) -> Literal["loaded", "absent"]:
    path = library_path()
    if path.is_file():
        torch.ops.load_library(str(path))
    elif build:
        build_library()
    else:
        return "absent"
    _register_fakes()
    return "loaded"


def library_path() -> Path:
    """Where the library of this version, of torch, of the sources and for this processor is, or is to be."""
    parts = [__version__, torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability(), *FLAGS]
    parts += [path.name + path.read_text(encoding="utf-8") for path in sorted(SOURCES.iterdir())]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return cache_dir() / "ops" / key / "hrkit_ops.so"


def build_library(*, verbose: bool = False) -> Path:
    """Builds the library with ninja, and loads it. Raises whatever a compiler that is missing or fails leads to.

    One process builds at a time. The lock is the operating system's, so that whoever is killed lets go of it, and the
    library appears whole.
    """
    from torch.utils import cpp_extension

    target = library_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / "build.lock"):
        if target.is_file():  # somebody else was quicker
            torch.ops.load_library(str(target))
            return target
        for left in target.parent.glob("build-*"):  # by a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as folder:
            sources = [str(path) for path in sorted(SOURCES.glob("*.cpp"))]
            cpp_extension.load(
                "hrkit_ops",
                sources,
                extra_cflags=list(FLAGS),
                build_directory=folder,
                is_python_module=False,
                verbose=verbose,
            )
            built = next(path for path in Path(folder).iterdir() if path.suffix in (".so", ".pyd", ".dylib", ".dll"))
            shutil.copy(built, target.with_suffix(".new"))
            os.replace(target.with_suffix(".new"), target)
    return target


def _register_fakes() -> None:
    """Shapes without numbers, for torch.compile and torch.export."""

    def some(like: Tensor, dtype: torch.dtype = torch.int64) -> Tensor:
        return like.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=dtype)

    def soft(boxes: Tensor, scores: Tensor, *settings: object) -> tuple[Tensor, Tensor]:
        rows = some(boxes)
        return rows, scores.new_empty(rows.shape)

    for name in ("nms", "batched_nms", "oks_nms", "soft_oks_nms"):
        torch.library.register_fake(f"hrkit::{name}", lambda first, *others: some(first))
    torch.library.register_fake("hrkit::soft_nms", soft)
    torch.library.register_fake(
        "hrkit::oks", lambda points, others, *more: points.new_empty(points.shape[0], others.shape[0])
    )
