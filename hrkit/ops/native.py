"""Native operators: `hrkit/csrc`, compiled once per machine and kept in hrkit's cache folder.

`HRKIT_OPS` selects the implementation: `native` (compiled on first use), `torch` or `reference`. If it is not set,
native operators run if `hrkit build-ops` has built them; nothing is compiled without being asked for.

CUDA kernels are included if torch sees a GPU and nvcc is installed. Tests run their logic on the CPU, block by block,
and compile them; they have never run on a GPU.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from hrkit import __version__
from hrkit.errors import HrkitError, one_line
from hrkit.files import cache_dir

CHOICES = ("native", "torch", "reference")
OPERATORS = ("nms", "batched_nms", "oks_nms")
"""The native operators, members of `torch.ops.hrkit`."""
SOURCES = Path(__file__).parents[1] / "csrc"
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-ffp-contract=off")
"""Compiler flags. Fused multiply-adds are off because their rounding would break ties differently."""
CUDA_FLAGS = ("-O3", "--fmad=false")

_NAME = "hrkit_ops"
_lock = threading.Lock()

logger: logging.Logger = logging.getLogger("hrkit")


def implementation(device: str = "cpu") -> str:
    """The member of `CHOICES` to run on a device type, such as "cuda". Raises `HrkitError` for a bad `HRKIT_OPS`."""
    wanted = os.environ.get("HRKIT_OPS", "")
    if wanted not in ("", *CHOICES):
        raise HrkitError(f"HRKIT_OPS={wanted!r}; choices: {', '.join(CHOICES)}")
    if wanted in ("torch", "reference"):
        return wanted
    return "native" if device in loaded(build=wanted == "native") else "torch"


def loaded(*, build: bool) -> tuple[str, ...]:
    """The device types of the loaded operators; an empty tuple if there are none.

    Loads them on the first call, after building them if `build` is true and they are missing. A failure is logged once
    and not tried again.
    """
    with _lock:
        return _loaded(build)


@functools.cache
def _loaded(build: bool) -> tuple[str, ...]:
    try:
        library = found()
        if library is not None:
            torch.ops.load_library(str(library))
        elif build:
            library = build_library()
        else:
            return ()
        _register_fakes()
        return devices(library)
    except Exception as error:  # compilers and loaders raise errors of many classes
        reason = one_line(error)[:300]
        logger.warning("native operators cannot be used, slower ones take over (%s)", reason)
        return ()


@functools.cache
def _register_fakes() -> None:
    """Tells torch.compile and torch.export the shapes of the outputs."""

    def rows(first: Tensor, *others: object) -> Tensor:
        return first.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)

    for name in OPERATORS:
        torch.library.register_fake(f"hrkit::{name}", rows)


def library_path(capabilities: Sequence[str] = ()) -> Path:
    """The path of the library for this processor and these versions of hrkit, torch and the sources.

    It has CUDA kernels for GPUs of the given compute capabilities; with no capabilities it has none.
    """
    parts = [__version__, torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability(), *FLAGS]
    parts += ["cuda", str(torch.version.cuda), *cuda_flags(capabilities)] if capabilities else []
    parts += [path.name + path.read_text(encoding="utf-8") for path in sorted(SOURCES.iterdir()) if path.is_file()]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return cache_dir() / "ops" / key / f"{_NAME}.so"


def found() -> Path | None:
    """The library that has been built; one with CUDA kernels for the GPUs of this machine is preferred."""
    return next((path for path in (library_path(gpus()), library_path()) if path.is_file()), None)


def devices(library: Path) -> tuple[str, ...]:
    """The device types that a built library runs on."""
    return ("cpu",) if library == library_path() else ("cpu", "cuda")


def build_library(*, verbose: bool = False) -> Path:
    """Builds the library with ninja and loads it. Raises the errors of a missing or failing compiler.

    If the CUDA kernels fail to compile, a warning is logged and the library is built without them.
    """
    if not why_no_cuda():
        try:
            return _build(gpus(), verbose)
        except Exception as error:  # compilers and loaders raise errors of many classes
            logger.warning("%s is built without CUDA kernels (%s)", _NAME, one_line(error)[:300])
    return _build((), verbose)


def _build(capabilities: Sequence[str], verbose: bool) -> Path:
    from torch.utils import cpp_extension

    target = library_path(capabilities)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / "build.lock"):  # the operating system releases it when a process is killed
        if target.is_file():  # another process has built it meanwhile
            torch.ops.load_library(str(target))
            return target
        for left in target.parent.glob("build-*"):  # left behind by a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as folder:
            cpp_extension.load(
                _NAME,
                [str(path) for path in sources(cuda=bool(capabilities))],
                extra_cflags=list(FLAGS),
                extra_cuda_cflags=cuda_flags(capabilities),
                build_directory=folder,
                is_python_module=False,
                verbose=verbose,
            )
            # torch numbers the name after a build that failed
            (built,) = Path(folder).glob(_NAME + "*" + cpp_extension.LIB_EXT)
            os.replace(built, target)  # the same file, so it is not loaded twice
    return target


def sources(*, cuda: bool) -> list[Path]:
    """The files to compile, with or without CUDA kernels."""
    files = sorted(path for path in SOURCES.iterdir() if path.suffix in (".cpp", ".cu"))
    return [path for path in files if cuda or not path.stem.endswith("_cuda")]


def gpus() -> tuple[str, ...]:
    """The compute capabilities of the CUDA GPUs that torch sees, such as "9.0"."""
    if torch.version.cuda is None or not torch.cuda.is_available():
        return ()
    every = {torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())}
    return tuple(f"{major}.{minor}" for major, minor in sorted(every))


def why_no_cuda() -> str:
    """Why CUDA kernels cannot be built on this machine, in a few words; empty if they can."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    if not torch.cuda.is_available():
        return "torch sees no GPU"
    from torch.utils import cpp_extension

    nvcc = shutil.which("nvcc", path=os.path.join(cpp_extension.CUDA_HOME or "", "bin"))
    if nvcc is None:
        return "there is no nvcc, which is part of the CUDA toolkit"
    version = subprocess.run([nvcc, "--version"], capture_output=True, check=False).stdout.decode(errors="replace")
    release, wanted = re.search(r"release (\d+)", version), torch.version.cuda.split(".")[0]
    if release is None or release[1] != wanted:
        return f"nvcc is not of CUDA {wanted}, as torch is"
    return ""


def cuda_flags(capabilities: Sequence[str]) -> list[str]:
    """Flags of nvcc for GPUs of the given compute capabilities."""
    numbers = [capability.replace(".", "") for capability in capabilities]
    return [*CUDA_FLAGS, *(f"-gencode=arch=compute_{number},code=sm_{number}" for number in numbers)]
