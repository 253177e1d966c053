"""The operators of `csrc`: the same answers as the plain versions, and no trouble where they cannot be built."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hrkit import native, ops, ops_reference
from hrkit.cli import main
from hrkit.errors import HrkitError
from hrkit.skeletons import coco17

needs_compiler = pytest.mark.skipif(
    not (shutil.which("c++") or shutil.which("cl")), reason="there is no C++ compiler to build the operators with"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the operators lie, built once, which are then used."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HRKIT_HOME", str(home))
        patch.setenv("HRKIT_OPS", "native")
        assert native.load(build=True)
        yield home


def scattered(seed: int, count: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes that overlap a good deal, and scores of which some are equal."""
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 300, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0, 80, (count, 2))], axis=1)
    return torch.tensor(boxes, dtype=dtype), torch.tensor(random.integers(0, 50, count) / 50, dtype=dtype)


def crowd(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses of which many are alike, scores and areas."""
    random = np.random.default_rng(seed)
    poses = random.uniform(0, 60, (count, 1, 2)) + random.normal(0, 8, (count, 17, 2))
    return poses, random.integers(0, 20, count) / 20, random.uniform(500, 5000, count)


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("count", [0, 1, 2, 33, 500])
def test_boxes_as_torchvision(built: Path, dtype: torch.dtype, count: int) -> None:
    boxes, scores = scattered(count, count, dtype)
    wide = torch.float32 if dtype == torch.float16 else dtype
    for threshold in (0.0, 0.3, 0.5, 1.0):
        expected = torchvision.ops.nms(boxes.to(wide), scores.to(wide), threshold)
        assert ops.nms(boxes, scores, threshold).tolist() == expected.tolist()


@needs_compiler
def test_many_boxes(built: Path) -> None:
    boxes, scores = scattered(1, 20_000)
    assert ops.nms(boxes, scores, 0.45).tolist() == torchvision.ops.nms(boxes, scores, 0.45).tolist()


@needs_compiler
def test_boxes_without_area_and_scores_that_are_no_numbers(built: Path) -> None:
    boxes = torch.tensor([[5.0, 5, 5, 5], [5, 5, 5, 5], [0, 0, 9, 9], [0, 0, 9, 9], [1, 1, 8, 8]])
    scores = torch.tensor([0.5, 0.4, 0.9, float("nan"), 0.8])
    assert ops.nms(boxes, scores, 0.5).tolist() == [2, 0, 1]


@needs_compiler
def test_an_overlap_of_just_the_threshold_is_none_too_many(built: Path) -> None:
    for dtype in (torch.float32, torch.float64):
        boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 3]], dtype=dtype)  # IoU 0.3, which neither type holds exactly
        scores = torch.tensor([1.0, 0.5], dtype=dtype)
        for threshold in (0.3, float(np.float32(0.3)), np.nextafter(0.3, 0), np.nextafter(0.3, 1)):
            assert ops.nms(boxes, scores, threshold).tolist() == torchvision.ops.nms(boxes, scores, threshold).tolist()


@needs_compiler
def test_memory_in_another_order(built: Path) -> None:
    boxes, scores = scattered(2, 100)
    turned = boxes.t().contiguous().t()
    assert not turned.is_contiguous()
    assert ops.nms(turned, scores.flip(0).flip(0), 0.4).tolist() == ops.nms(boxes, scores, 0.4).tolist()
    poses, marks, areas = crowd(3, 30)
    assert ops.oks_nms(np.asfortranarray(poses), marks, areas, 0.5, coco17.sigmas).tolist() == (
        ops_reference.oks_nms(poses, marks, areas, 0.5, coco17.sigmas).tolist()
    )


@needs_compiler
@given(seed=st.integers(0, 10**6), count=st.integers(0, 40))
def test_everything_as_the_plain_versions(built: Path, seed: int, count: int) -> None:
    boxes, scores = (values.numpy() for values in scattered(seed, count, torch.float64))
    classes = np.random.default_rng(seed).integers(-1, 2, count)
    assert ops.batched_nms(boxes, scores, classes, 0.4).tolist() == (
        ops_reference.batched_nms(boxes, scores, classes, 0.4).tolist()
    )
    for method in ("linear", "gaussian"):
        rows, left = ops.soft_nms(boxes, scores, method=method)  # type: ignore[arg-type]
        plain_rows, plain_left = ops_reference.soft_nms(boxes, scores, 0.3, 0.5, 0.001, method)
        assert rows.tolist() == plain_rows.tolist()
        np.testing.assert_allclose(left, plain_left, rtol=1e-12)
    poses, marks, areas = crowd(seed, count)
    np.testing.assert_allclose(
        ops.oks(poses, poses, areas, areas, coco17.sigmas),
        ops_reference.oks(poses, poses, areas, areas, coco17.sigmas),
        rtol=1e-12,
        atol=1e-300,
    )
    for threshold in (0.0, 0.4, 0.9):
        assert ops.oks_nms(poses, marks, areas, threshold, coco17.sigmas).tolist() == (
            ops_reference.oks_nms(poses, marks, areas, threshold, coco17.sigmas).tolist()
        )
    assert ops.soft_oks_nms(poses, marks, areas, 0.5, coco17.sigmas).tolist() == (
        ops_reference.soft_oks_nms(poses, marks, areas, 0.5, coco17.sigmas).tolist()
    )


@needs_compiler
def test_torch_knows_their_contracts(built: Path) -> None:
    boxes, scores = scattered(4, 12)
    poses, marks, areas = (torch.from_numpy(values) for values in crowd(5, 8))
    sigmas = torch.tensor(coco17.sigmas)
    for operator, arguments in (
        (torch.ops.hrkit.nms, (boxes, scores, 0.5)),
        (torch.ops.hrkit.batched_nms, (boxes, scores, torch.arange(12) % 3, 0.5)),
        (torch.ops.hrkit.soft_nms, (boxes, scores, 0.3, 0.5, 0.001, "linear")),
        (torch.ops.hrkit.oks, (poses, poses, areas, areas, sigmas)),
        (torch.ops.hrkit.oks_nms, (poses, marks, areas, 0.5, sigmas)),
        (torch.ops.hrkit.soft_oks_nms, (poses, marks, areas, 0.5, sigmas, 20)),
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


@needs_compiler
def test_what_is_built_is_found_again(built: Path) -> None:
    before = native.library_path().stat().st_mtime_ns
    for chosen in ("native", ""):
        ended = python(SUPPRESS + "from hrkit import native; print(native.implementation())", built, HRKIT_OPS=chosen)
        assert ended.stdout.splitlines() == ["[1, 2]", "[1, 2]", "native"], ended.stderr
    assert native.library_path().stat().st_mtime_ns == before
    result = CliRunner().invoke(main, ["build-ops"])
    assert result.stdout == f"there already: {native.library_path()}\n"


def test_nothing_is_built_unasked(tmp_path: Path) -> None:
    ended = python(SUPPRESS + "from hrkit import native; print(native.implementation())", tmp_path, HRKIT_OPS="")
    assert ended.stdout.splitlines() == ["[1, 2]", "[1, 2]", "torch"]
    assert ended.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["compiler", "ninja", "source"])
def test_without_what_it_takes_torch_takes_over_and_one_line_says_so(tmp_path: Path, missing: str) -> None:
    setup, environment = "", {}
    if missing == "compiler":
        environment = {"CXX": str(tmp_path / "no-compiler")}
    elif missing == "ninja":
        setup = "from torch.utils import cpp_extension\ndef no(): raise RuntimeError('Ninja is required')\n"
        setup += "cpp_extension.verify_ninja_availability = no\n"
    else:
        sources = tmp_path / "csrc"
        sources.mkdir()
        (sources / "ops.cpp").write_text("this does not compile")
        setup = f"from pathlib import Path\nfrom hrkit import native\nnative.SOURCES = Path({str(sources)!r})\n"
    ended = python(setup + SUPPRESS, tmp_path / "home", **environment)
    assert ended.stdout.splitlines() == ["[1, 2]", "[1, 2]"], ended.stderr
    told = [line for line in ended.stderr.splitlines() if "torch's take over" in line]
    assert len(told) == 1
    assert not list((tmp_path / "home").rglob("*.so"))


@needs_compiler
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_build_that_is_killed_does_not_hang_the_next(tmp_path: Path) -> None:
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
    quick = """
from pathlib import Path
import torch
from torch.utils import cpp_extension
cpp_extension.load = lambda *a, build_directory, **k: Path(build_directory, "hrkit_ops.so").write_bytes(b"built")
from hrkit import native
print(native.build_library().read_bytes())
"""
    ended = python(quick, tmp_path)
    assert ended.stdout == "b'built'\n", ended.stderr
    assert not list(tmp_path.rglob("build-*/*"))


def test_another_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRKIT_OPS", "fast")
    with pytest.raises(HrkitError, match="choices: native, torch, reference"):
        ops.nms(np.zeros((0, 4)), np.zeros(0), 0.5)


@pytest.mark.parametrize("chosen", ["torch", "reference"])
def test_soft_suppression_of_every_version(monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    monkeypatch.setenv("HRKIT_OPS", chosen)
    for seed in range(5):
        boxes, scores = (values.numpy() for values in scattered(seed, 30, torch.float64))
        for method in ("linear", "gaussian"):
            rows, left = ops.soft_nms(boxes, scores, method=method)  # type: ignore[arg-type]
            plain_rows, plain_left = ops_reference.soft_nms(boxes, scores, 0.3, 0.5, 0.001, method)
            assert rows.tolist() == plain_rows.tolist()
            np.testing.assert_allclose(left, plain_left, rtol=1e-12)
    with pytest.raises(HrkitError, match="method"):
        ops.soft_nms(boxes, scores, method="cubic")  # type: ignore[arg-type]
    with pytest.raises(HrkitError, match="sigma"):
        ops.soft_nms(boxes, scores, sigma=0)
