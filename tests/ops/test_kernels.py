"""The CUDA kernels: that they compile, and that what each of their threads does leads to the plain versions' answers.

There need be no GPU: `csrc/kernels_on_cpu.cpp` runs the same functions on the CPU, block by block, thread by thread.
"""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from crowds import awkward_boxes, awkward_poses
from hrkit.ops import native, reference
from hrkit.skeletons import coco17

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
SIGMAS = np.array(coco17.sigmas)

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    library = tmp_path_factory.mktemp("kernels") / "kernels.so"
    flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-Wall", "-Werror", "-shared", "-fPIC"]
    source = str(HERE / "csrc" / "kernels_on_cpu.cpp")
    subprocess.run([compiler, *flags, f"-I{native.SOURCES}", source, "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def kept(function: Any, *arguments: Any, rows: int, threads: int) -> list[int]:
    """The rows that a kernel keeps."""
    room = np.full(rows, -1)
    given = [
        value.ctypes.data_as(ctypes.c_void_p)
        if isinstance(value, np.ndarray)
        else ctypes.c_double(value)
        if isinstance(value, float)
        else ctypes.c_void_p(None)
        if value is None
        else ctypes.c_int64(value)
        for value in (*arguments, threads, room)
    ]
    function.restype = ctypes.c_int64
    count = function(*given)
    assert 0 <= count <= rows
    assert (room[count:] == -1).all()
    return room[:count].tolist()


def falling(scores: Array) -> Array:
    """Rows as the operators sort them on a device."""
    return torch.from_numpy(scores).sort(stable=True, descending=True).indices.numpy()


def nms(
    kernels: ctypes.CDLL,
    boxes: Array,
    scores: Array,
    threshold: float,
    classes: Array | None = None,
    threads: int = 256,
) -> list[int]:
    order = falling(scores)
    function = kernels.nms_float if boxes.dtype == np.float32 else kernels.nms_double
    groups = None if classes is None else classes[order]
    arguments = (boxes[order], scores[order], groups, order, len(boxes), float(threshold))
    return kept(function, *arguments, rows=len(boxes), threads=threads)


def oks_nms(
    kernels: ctypes.CDLL, poses: Array, scores: Array, areas: Array, threshold: float, threads: int = 256
) -> list[int]:
    order = falling(scores)
    arguments = (poses[order], areas[order], SIGMAS, poses.shape[1], scores[order], order, len(poses), threshold)
    return kept(kernels.oks_nms, *arguments, rows=len(poses), threads=threads)


THREADS = (1, 32, 256)


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 128, 300])
def test_every_thread_on_boxes(kernels: ctypes.CDLL, count: int) -> None:
    given, marks, classes = awkward_boxes(count, count)
    for dtype, threshold in itertools.product((np.float32, np.float64), (0.0, 0.25, 0.5, 1.0)):
        boxes, scores = given.astype(dtype), marks.astype(dtype)
        plain = reference.nms(boxes.astype(np.float64), scores, threshold).tolist()
        batched = reference.batched_nms(boxes.astype(np.float64), scores, classes, threshold).tolist()
        for threads in THREADS:
            assert nms(kernels, boxes, scores, threshold, threads=threads) == plain
            assert nms(kernels, boxes, scores, threshold, classes, threads) == batched


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 150])
def test_every_thread_on_poses(kernels: ctypes.CDLL, count: int) -> None:
    poses, scores, areas = awkward_poses(count, count)
    for threshold in (0.0, 0.4, 0.9):
        plain = reference.oks_nms(poses, scores, areas, threshold, SIGMAS).tolist()
        for threads in THREADS:
            assert oks_nms(kernels, poses, scores, areas, threshold, threads) == plain


def test_many_rows(kernels: ctypes.CDLL) -> None:
    boxes, scores, classes = awkward_boxes(1, 1000)
    boxes += np.arange(1000.0)[:, None] % 7 * 20
    plain = reference.batched_nms(boxes, scores, classes, 0.5).tolist()
    assert nms(kernels, boxes, scores, 0.5, classes) == plain
    assert 100 < len(plain) < 950
    alike = np.repeat(boxes[:1], 1000, axis=0)
    assert nms(kernels, np.nan_to_num(alike) + [0, 0, 9, 9], np.ones(1000), 0.5) == [0]
    apart = np.arange(1000.0)[:, None] * 10 + [0, 0, 5, 5]
    assert nms(kernels, apart, np.ones(1000), 0.5) == list(range(1000))


def test_an_overlap_or_similarity_of_just_the_threshold(kernels: ctypes.CDLL) -> None:
    scores = np.array([1.0, 0.5])
    for dtype in (np.float32, np.float64):
        boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 3]], dtype)  # IoU 0.3, which neither type holds exactly
        for threshold in (0.3, float(np.float32(0.3)), np.nextafter(0.3, 0), np.nextafter(0.3, 1)):
            marks = scores.astype(dtype)
            expected = torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(marks), threshold)
            assert nms(kernels, boxes, marks, threshold) == expected.tolist()
    poses, areas = np.ones((2, 17, 2)), np.ones(2)
    assert oks_nms(kernels, poses, scores, areas, 1.0) == [0, 1]
    assert oks_nms(kernels, poses, scores, areas, np.nextafter(1.0, 0)) == [0]


@pytest.mark.skipif(not shutil.which("nvcc"), reason="there is no nvcc to compile the kernels with")
@pytest.mark.skipif(torch.version.cuda is None, reason="this torch knows no CUDA: its headers for it are not there")
def test_they_compile(tmp_path: Path) -> None:
    from torch.utils import cpp_extension

    sources = [str(path) for path in native.sources(cuda=True) if "cuda" in path.name]
    flags = ["-std=c++20", *native.cuda_flags(("9.0",)), "-Xcompiler=-fPIC"]
    headers = [f"-isystem={path}" for path in cpp_extension.include_paths()]
    command = ["nvcc", "-c", "--threads=2", *flags, *headers, *sources, f"--output-directory={tmp_path}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""  # nor is there a warning
    assert b"sm_90" in (tmp_path / "nms_cuda.o").read_bytes()
