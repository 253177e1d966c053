"""The operators of `csrc`: how they are built and found, and no trouble where they cannot be."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from crowds import awkward_poses, scattered_boxes
from hrkit import ops
from hrkit.cli import main
from hrkit.errors import HrkitError
from hrkit.ops import native, suppression
from hrkit.skeletons import coco17


@pytest.fixture
def built(built_ops: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home with the native operators; they are in use."""
    monkeypatch.setenv("HRKIT_HOME", str(built_ops))
    monkeypatch.setenv("HRKIT_OPS", "native")
    return built_ops


@pytest.mark.slow
def test_torch_knows_their_contracts(built: Path) -> None:
    boxes, scores = (torch.from_numpy(values) for values in scattered_boxes(4, 12))
    poses, marks, areas = (torch.from_numpy(values).nan_to_num() for values in awkward_poses(5, 8))
    sigmas = torch.tensor(coco17.sigmas)
    for operator, arguments in (
        (torch.ops.hrkit.nms, (boxes, scores, 0.5)),
        (torch.ops.hrkit.batched_nms, (boxes, scores, torch.arange(12) % 3, 0.5)),
        (torch.ops.hrkit.oks_nms, (poses, marks, areas, 0.5, sigmas)),
    ):
        torch.library.opcheck(operator, arguments)


# building


def python(code: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own, with its own home and native operators asked for."""
    given = {**os.environ, "HRKIT_HOME": str(home), "HRKIT_OPS": "native", **environment}
    return subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False)


SUPPRESS = """
import numpy as np
from hrkit import ops
for _ in range(2):
    print(ops.nms(np.array([[0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30.]]), np.array([0.5, 0.9, 0.1]), 0.5).tolist())
"""
CHOSEN = """
from hrkit.ops import native
print(native.implementation())
"""


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without native operators, in which nothing has been tried yet."""
    monkeypatch.setenv("HRKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(native, "_loaded", functools.cache(native._loaded.__wrapped__))
    return tmp_path / "home"


def suppressed() -> list[int]:
    return ops.nms(np.array([[0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30.0]]), np.array([0.5, 0.9, 0.1]), 0.5).tolist()


@pytest.mark.slow
def test_what_is_built_is_found_again(built: Path) -> None:
    path = native.found()
    assert path is not None
    before = path.stat().st_mtime_ns
    asked = "import os\nos.environ['HRKIT_OPS'] = 'native'\nnative._loaded.cache_clear()\n"
    ended = python(SUPPRESS + CHOSEN + asked + SUPPRESS + CHOSEN, built, HRKIT_OPS="")
    assert ended.stdout.splitlines() == ["[1, 2]", "[1, 2]", "native"] * 2, ended.stderr
    assert path.stat().st_mtime_ns == before
    result = CliRunner().invoke(main, ["build-ops"])
    assert result.stdout.splitlines()[0] == f"there already: {path}"
    assert result.stdout.splitlines()[1].startswith("CUDA kernels: ")


def test_nothing_is_built_unasked(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("HRKIT_OPS", raising=False)
    assert suppressed() == [1, 2]
    assert native.implementation() == "torch"
    assert caplog.messages == []
    assert not fresh.exists()


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["compiler", "ninja", "source"])
def test_without_what_it_takes_torch_takes_over_and_one_line_says_so(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    from torch.utils import cpp_extension

    def no_ninja() -> None:
        raise RuntimeError("Ninja is required")

    monkeypatch.setenv("HRKIT_OPS", "native")
    if missing == "compiler":
        monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    elif missing == "ninja":
        monkeypatch.setattr(cpp_extension, "verify_ninja_availability", no_ninja)
    else:
        monkeypatch.setattr(native, "SOURCES", tmp_path / "csrc")
        native.SOURCES.mkdir()
        (native.SOURCES / "ops.cpp").write_text("this does not compile")
    assert suppressed() == suppressed() == [1, 2]
    assert len([line for line in caplog.messages if "slower ones take over" in line]) == 1
    assert not list(fresh.rglob("*.so"))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_build_that_is_killed_does_not_hang_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils import cpp_extension

    killed = (
        f"""
import os, signal
from torch.utils import cpp_extension
cpp_extension.load = lambda *a, build_directory, **k: (
    open(os.path.join(build_directory, "lock"), "w").close(), os.kill(os.getpid(), signal.{signal.SIGKILL.name})
)
"""
        + SUPPRESS
    )
    assert python(killed, tmp_path).returncode == -signal.SIGKILL
    assert len(list(tmp_path.rglob("build-*/lock"))) == 1
    monkeypatch.setenv("HRKIT_HOME", str(tmp_path))
    monkeypatch.setattr(cpp_extension, "load", Compiler())
    assert native.build_library().read_bytes() == b"built"
    assert not list(tmp_path.rglob("build-*/*"))


@pytest.mark.slow
def test_two_that_build_at_once_build_once(built: Path, tmp_path: Path) -> None:
    together = f"""
import os, shutil, time
from pathlib import Path
import torch
from torch.utils import cpp_extension
from hrkit.ops import native

home = Path(os.environ["HRKIT_HOME"])

class Lock(native.FileLock):
    def acquire(self, *args, **kwargs):
        (home / f"comes-{{os.getpid()}}").touch()
        return super().acquire(*args, **kwargs)

def compiled(*args, build_directory, **kwargs):
    with open(home / "builds", "a") as builds:
        builds.write("one ")
    deadline = time.monotonic() + 60
    while len(list(home.glob("comes-*"))) < 2:
        assert time.monotonic() < deadline, "the other never came"
        time.sleep(0.01)
    library = shutil.copy({str(native.found())!r}, Path(build_directory, "hrkit_ops.so"))
    torch.ops.load_library(library)

native.FileLock = Lock
cpp_extension.load = compiled
{SUPPRESS}
{CHOSEN}
"""
    environment = {**os.environ, "HRKIT_HOME": str(tmp_path), "HRKIT_OPS": "native"}
    both = [
        subprocess.Popen([sys.executable, "-c", together], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.communicate(timeout=120)[0].splitlines() == ["[1, 2]", "[1, 2]", "native"]
    assert (tmp_path / "builds").read_text() == "one "
    assert len(list(tmp_path.rglob("*.so"))) == 1
    assert not list(tmp_path.rglob("build-*"))


class Compiler:
    """Stands for `cpp_extension.load`: remembers what it was given, and fails with CUDA where told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.calls: list[tuple[set[str], list[str]]] = []

    def __call__(
        self, name: str, sources: list[str], *, build_directory: str, extra_cuda_cflags: list[str], **others: object
    ) -> None:
        suffixes = {Path(source).suffix for source in sources}
        self.calls.append((suffixes, extra_cuda_cflags))
        if self.fails and ".cu" in suffixes:
            raise RuntimeError("nvcc does not like it")
        number = f"_v{len(self.calls) - 1}" if len(self.calls) > 1 else ""  # as torch does after a failed build
        Path(build_directory, f"hrkit_ops{number}.so").write_bytes(b"built")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Compiler:
    """A GPU of compute capability 9.0, a home of its own and a compiler."""
    from torch.utils import cpp_extension

    compiler = Compiler()
    monkeypatch.setenv("HRKIT_HOME", str(tmp_path))
    monkeypatch.setattr(native, "gpus", lambda: ("9.0",))
    monkeypatch.setattr(native, "why_no_cuda", lambda: "")
    monkeypatch.setattr(cpp_extension, "load", compiler)
    return compiler


def test_with_a_gpu_and_nvcc_there_are_cuda_kernels(gpu: Compiler) -> None:
    result = CliRunner().invoke(main, ["build-ops"])
    path = native.found()
    assert result.stdout == f"built: {path}\nCUDA kernels: yes\n"
    ((suffixes, flags),) = gpu.calls
    assert suffixes == {".cpp", ".cu"}
    assert "-gencode=arch=compute_90,code=sm_90" in flags
    assert "--fmad=false" in flags
    assert path == native.library_path(("9.0",))
    assert native.devices(path) == ("cpu", "cuda")
    assert len({native.library_path(of) for of in ((), ("9.0",), ("8.0",), ("8.0", "9.0"))}) == 4
    result = CliRunner().invoke(main, ["build-ops"])
    assert result.stdout == f"there already: {path}\nCUDA kernels: yes\n"


def test_kernels_that_cannot_be_built_are_left_out(gpu: Compiler, caplog: pytest.LogCaptureFixture) -> None:
    gpu.fails = True
    result = CliRunner().invoke(main, ["build-ops"])
    path = native.found()
    assert path == native.library_path()
    assert native.devices(path) == ("cpu",)
    assert result.stdout == f"built: {path}\nCUDA kernels: no: they failed to compile\n"
    assert [suffixes for suffixes, _ in gpu.calls] == [{".cpp", ".cu"}, {".cpp"}]
    assert caplog.messages == ["hrkit_ops is built without CUDA kernels (nvcc does not like it)"]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_is_said_that_there_are_no_kernels(built: Path) -> None:
    assert native.gpus() == ()
    assert native.why_no_cuda() in ("torch sees no GPU", "this torch is built without CUDA")
    told = CliRunner().invoke(main, ["build-ops"]).stdout
    assert told.endswith(f"\nCUDA kernels: no: {native.why_no_cuda()}\n")


def test_nvcc_must_be_of_the_same_cuda_as_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torch.utils import cpp_extension

    monkeypatch.setattr(torch.version, "cuda", "12.4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(tmp_path))
    assert native.why_no_cuda() == "there is no nvcc, which is part of the CUDA toolkit"
    nvcc = tmp_path / "bin" / ("nvcc.bat" if os.name == "nt" else "nvcc")
    nvcc.parent.mkdir()
    for release, why in (("12.6", ""), ("11.8", "nvcc is not of CUDA 12, as torch is")):
        told = f"Cuda compilation tools, release {release}, V{release}.20"
        nvcc.write_text(f"@echo {told}\n" if os.name == "nt" else f"#!/bin/sh\necho '{told}'\n")
        nvcc.chmod(0o755)
        assert native.why_no_cuda() == why


@pytest.mark.slow
def test_tensors_go_to_the_kernels_of_their_device(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = SimpleNamespace(device=torch.device("cuda", 1))
    native_kernel = torch.ops.hrkit.oks_nms
    monkeypatch.setattr(native, "loaded", lambda build: ("cpu",))
    assert suppression._implementation(suppression._oks_nms, there) != native_kernel  # type: ignore[arg-type]
    monkeypatch.setattr(native, "loaded", lambda build: ("cpu", "cuda"))
    assert suppression._implementation(suppression._oks_nms, there) == native_kernel  # type: ignore[arg-type]
    assert suppression._implementation(suppression._oks_nms, torch.empty(0, device="meta")) != native_kernel


@pytest.mark.parametrize("name", ["nms", "batched_nms", "soft_nms", "oks", "oks_nms", "soft_oks_nms"])
def test_tensors_stay_on_their_device(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    seen: list[torch.Tensor] = []

    def kernel(*arguments: object) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        seen.extend(value for value in arguments if torch.is_tensor(value))
        return (arguments[1], arguments[1]) if name == "soft_nms" else arguments[1]  # type: ignore[return-value]

    monkeypatch.setattr(suppression, "_implementation", lambda *asked: kernel)
    boxes, poses, row = (torch.empty(shape, device="meta") for shape in ((3, 4), (3, 17, 3), (3,)))
    given: dict[str, tuple[object, ...]] = {
        "nms": (boxes, row, 0.5),
        "batched_nms": (boxes, row, [0, 0, 1], 0.5),
        "soft_nms": (boxes, row),
        "oks": (poses, np.zeros((3, 17, 3)), np.zeros(3), row, coco17.sigmas),
    }
    getattr(ops, name)(*given.get(name, (poses, np.zeros(3), row, 0.5, coco17.sigmas)))
    assert len(seen) >= 2
    assert {value.device.type for value in seen} == {"meta"}
    assert all(value.is_contiguous() for value in seen)


def test_another_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRKIT_OPS", "fast")
    with pytest.raises(HrkitError, match="choices: native, torch, reference"):
        ops.nms(np.zeros((0, 4)), np.zeros(0), 0.5)
