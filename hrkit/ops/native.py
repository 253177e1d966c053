"""Operators in C++: built once for this machine, found again by version and flags, never in the way.

`HRKIT_OPS` chooses what is run: `native` (built on first use), `torch` or `reference`. Where it is not set, what was
built before is used and nothing is compiled unasked; `hrkit build-ops` does that once.

CUDA kernels come in where torch sees a GPU and nvcc is there. What their threads do is tested on the CPU, block by
block, and that they compile is tested too; they were never run on a GPU.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from attrs import define, field
from filelock import FileLock

from hrkit import __version__
from hrkit.errors import HrkitError, one_line
from hrkit.weights.downloads import cache_dir

CHOICES = ("native", "torch", "reference")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-ffp-contract=off")
"""For this processor, but to the last digit as written: fused products would decide ties another way."""
CUDA_FLAGS = ("-O3", "--fmad=false")
"""As written, too."""
LIBRARIES = (".so", ".pyd", ".dylib", ".dll")
"""Endings of what compilers make."""

logger = logging.getLogger("hrkit")


def _nothing() -> None:
    pass


@define(eq=False)
class Library:
    """Operators of one distribution, which appear in `torch.ops` when they are loaded."""

    name: str
    """Of the file, and in messages; letters, digits and _."""
    folder: Path
    """Of the sources: *.cpp, *.h, and *_cuda.cpp and *_cuda.cu, which are left out without CUDA."""
    register_fakes: Callable[[], None] = _nothing
    """Called after loading, to tell torch.compile what shapes come out."""
    _lock: threading.Lock = field(init=False, factory=threading.Lock)
    _state: Literal["unknown", "absent", "failed", "loaded"] = field(init=False, default="unknown")
    """What is known of the library in this process: failed is final, absent may still be built."""
    _devices: tuple[str, ...] = field(init=False, default=())
    """Where the loaded operators run, as torch names kinds of devices."""

    def implementation(self, device: str = "cpu") -> str:
        """Of `CHOICES`, what is to be run now on a kind of device. Raises `HrkitError` for another `HRKIT_OPS`."""
        wanted = os.environ.get("HRKIT_OPS", "")
        if wanted not in ("", *CHOICES):
            raise HrkitError(f"HRKIT_OPS={wanted!r}; choices: {', '.join(CHOICES)}")
        if wanted in ("torch", "reference"):
            return wanted
        return "native" if self.load(build=wanted == "native") and device in self._devices else "torch"

    def load(self, *, build: bool) -> bool:
        """Whether the operators are there now; builds them first if need be and `build` says so.

        Where that fails one line is logged, and it is not tried again.
        """
        with self._lock:
            if self._state == "unknown" or (self._state == "absent" and build):
                try:
                    self._state = self._loaded_or_absent(build)
                except Exception as error:  # compilers and loaders fail in all sorts of ways
                    reason = one_line(error)[:300]
                    logger.warning("native operators %s cannot be used, slower ones take over (%s)", self.name, reason)
                    self._state = "failed"
            return self._state == "loaded"

    def _loaded_or_absent(self, build: bool) -> Literal["loaded", "absent"]:
        path = self.found()
        if path is not None:
            torch.ops.load_library(str(path))
        elif build:
            path = self.build()
        else:
            return "absent"
        self._devices = self.devices(path)
        self.register_fakes()
        return "loaded"

    def path(self, capabilities: Sequence[str] = ()) -> Path:
        """Where the library of this version, of torch, of the sources and for this processor is, or is to be.

        With CUDA kernels for GPUs of those compute capabilities, or without.
        """
        parts = [__version__, torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability(), *FLAGS]
        parts += ["cuda", str(torch.version.cuda), *cuda_flags(capabilities)] if capabilities else []
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        parts += [path.name + path.read_text(encoding="utf-8") for path in files]
        key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
        return cache_dir() / "ops" / key / f"{self.name}.so"

    def found(self) -> Path | None:
        """The library that is there already, with CUDA kernels for the GPUs here before one without."""
        return next((path for path in (self.path(gpus()), self.path()) if path.is_file()), None)

    def devices(self, path: Path) -> tuple[str, ...]:
        """The kinds of devices that a built library runs on."""
        return ("cpu",) if path == self.path() else ("cpu", "cuda")

    def sources(self, *, cuda: bool) -> list[Path]:
        """What is compiled, with or without CUDA kernels."""
        every = sorted(path for path in self.folder.iterdir() if path.suffix in (".cpp", ".cu"))
        return [path for path in every if cuda or not path.stem.endswith("_cuda")]

    @property
    def has_kernels(self) -> bool:
        """Whether there are CUDA kernels to build at all."""
        return self.sources(cuda=True) != self.sources(cuda=False)

    def build(self, *, verbose: bool = False) -> Path:
        """Builds the library with ninja, and loads it. Raises whatever a compiler that is missing or fails leads to.

        CUDA kernels are left out where they cannot be built, and where that could not be foreseen one line is logged.
        """
        if self.has_kernels and not why_no_cuda():
            try:
                return self._build(gpus(), verbose)
            except Exception as error:  # compilers and loaders fail in all sorts of ways
                logger.warning("%s is built without CUDA kernels (%s)", self.name, one_line(error)[:300])
        return self._build((), verbose)

    def _build(self, capabilities: Sequence[str], verbose: bool) -> Path:
        """One process builds at a time.

        The lock is the operating system's, so that whoever is killed lets go of it, and the library appears whole.
        """
        from torch.utils import cpp_extension

        target = self.path(capabilities)
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / "build.lock"):
            if target.is_file():  # somebody else was quicker
                torch.ops.load_library(str(target))
                return target
            for left in target.parent.glob("build-*"):  # by a build that was killed
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as folder:
                cpp_extension.load(
                    self.name,
                    [str(path) for path in self.sources(cuda=bool(capabilities))],
                    extra_cflags=list(FLAGS),
                    extra_cuda_cflags=cuda_flags(capabilities),
                    build_directory=folder,
                    is_python_module=False,
                    verbose=verbose,
                )
                built = next(path for path in Path(folder).iterdir() if path.suffix in LIBRARIES)
                os.replace(built, target)  # still the file that is loaded, which is not loaded twice
        return target


def gpus() -> tuple[str, ...]:
    """Compute capabilities of the GPUs that torch sees with CUDA, such as "9.0"."""
    if torch.version.cuda is None or not torch.cuda.is_available():
        return ()
    every = {torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())}
    return tuple(f"{major}.{minor}" for major, minor in sorted(every))


def why_no_cuda() -> str:
    """Why CUDA kernels cannot be built here, in a few words; nothing where they can."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    if not torch.cuda.is_available():
        return "torch sees no GPU"
    from torch.utils import cpp_extension

    nvcc = shutil.which("nvcc", path=os.path.join(cpp_extension.CUDA_HOME or "", "bin"))
    if nvcc is None:
        return "there is no nvcc, which is part of the CUDA toolkit"
    told = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=False).stdout
    release, wanted = re.search(r"release (\d+)", told), torch.version.cuda.split(".")[0]
    if release is None or release[1] != wanted:
        return f"nvcc is not of CUDA {wanted}, as torch is"
    return ""


def cuda_flags(capabilities: Sequence[str]) -> list[str]:
    """What nvcc is told, to compile for GPUs of these compute capabilities."""
    numbers = [capability.replace(".", "") for capability in capabilities]
    return [*CUDA_FLAGS, *(f"-gencode=arch=compute_{number},code=sm_{number}" for number in numbers)]
