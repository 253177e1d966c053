"""The runtimes give what PyTorch gives, of any batch and memory format, and say what they cannot do."""

from __future__ import annotations

import copy
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hrkit import create_pose_model, list_names, registry
from hrkit.errors import HrkitError
from hrkit.export import export, exportable_pose_model
from hrkit.pose_model import PoseModel
from hrkit.runtimes import exported
from trained_like import trained_like

PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}
EXAMPLE = torch.zeros(1, 3, 64, 32)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> PoseModel:
    return trained_like(create_pose_model("timm/test_resnet", input_size=(64, 32)))


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.slow) for name in PACKAGES])
def runtime(request: pytest.FixtureRequest, model: PoseModel) -> torch.nn.Module:
    pytest.importorskip(PACKAGES[request.param])
    return registry.runtimes.build(request.param, network=model, example=EXAMPLE, precision="float32")


def _close(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


INTERRUPTED = """
import gc, os, signal
import torch
from hrkit.runtimes.conversion import to_openvino
from hrkit.runtimes.exported import OpenvinoNetwork

model = to_openvino(torch.nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 8, 8))
first, second = OpenvinoNetwork(model), OpenvinoNetwork(model)
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGINT, lambda number, frame: print("heard"))
os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends itself a signal")
def test_a_signal_is_heard_after_openvino_is_done() -> None:
    """OpenVINO leaves the thread a stack for signals, which it would free with its last model."""
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


@pytest.mark.slow
def test_openvino_sends_and_keeps_nothing(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    code = 'from hrkit.runtimes.conversion import require; require("openvino"); import openvino; print(openvino.Core())'
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    assert not list(tmp_path.rglob("*"))


def test_names() -> None:
    assert {"onnx", "openvino"} <= set(list_names("runtimes"))


@pytest.mark.parametrize("size", [3, 1, 19])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@torch.inference_mode()
def test_the_same_as_pytorch(
    runtime: torch.nn.Module, model: PoseModel, size: int, memory_format: torch.memory_format
) -> None:
    images = torch.randn(size, 3, 64, 32).contiguous(memory_format=memory_format)
    expected = model(images)
    assert expected.abs().max() > 1
    _close(runtime(images), expected)


@torch.inference_mode()
def test_results_stay_when_the_next_come(runtime: torch.nn.Module, model: PoseModel) -> None:
    first, second = torch.randn(2, 2, 3, 64, 32)
    found = runtime(first)
    _close(runtime(second), model(second))
    _close(found, model(first))


@torch.inference_mode()
def test_copies_work_side_by_side(runtime: torch.nn.Module, model: PoseModel) -> None:
    batches = torch.randn(2, 4, 3, 64, 32)
    found: dict[int, list[Tensor]] = {0: [], 1: []}

    def work(index: int, network: torch.nn.Module) -> None:
        found[index] = [network(batches[index]) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(i, copy.deepcopy(runtime))) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for index, results in found.items():
        assert len(results) == 20
        expected = model(batches[index])
        for result in results:
            _close(result, expected)


def test_onnx_is_float32() -> None:
    with pytest.raises(HrkitError, match="the runtime onnx computes in float32, not in bfloat16"):
        registry.runtimes.build("onnx", network=torch.nn.Identity(), example=EXAMPLE, precision="bfloat16")


@pytest.mark.slow
def test_openvino_precisions(model: PoseModel) -> None:
    pytest.importorskip("openvino")
    known = exported._core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    with pytest.raises(HrkitError, match="unknown precision 'int4'; choices: auto, "):
        registry.runtimes.build("openvino", network=model, example=EXAMPLE, precision="int4")
    images = torch.rand(2, 3, 64, 32)
    with torch.inference_mode():
        expected = model(images)
    for name, capability in (("bfloat16", "BF16"), ("float16", "FP16")):
        if capability not in known:
            with pytest.raises(HrkitError, match=f"this CPU does not compute in {name}"):
                registry.runtimes.build("openvino", network=model, example=EXAMPLE, precision=name)
            continue
        found = registry.runtimes.build("openvino", network=model, example=EXAMPLE, precision=name)(images)
        difference = (found - expected).abs().max() / expected.abs().max()
        assert 1e-5 < difference < 0.1  # rounded, and right


@pytest.mark.parametrize("name", PACKAGES)
def test_missing_packages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(HrkitError, match=rf"not installed: .*; pip install 'hrkit-pose\[{name}\]'"):
        registry.runtimes.build(name, network=torch.nn.Identity(), example=EXAMPLE, precision="auto")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ending"), [("onnx", ".onnx"), ("openvino", ".xml")])
def test_exported_files(name: str, ending: str, model: PoseModel, tmp_path: Path) -> None:
    pytest.importorskip(PACKAGES[name])
    path = tmp_path / f"network{ending}"
    export(exportable_pose_model(model, "none"), path)
    found = registry.runtimes.build(f"{name}:{path}", network=model, example=EXAMPLE, precision="float32")
    images = torch.randn(3, 3, 64, 32)
    with torch.inference_mode():
        _close(found(images), model(images))
    hands = create_pose_model("timm/test_resnet", input_size=(64, 32), num_joints=21)
    with pytest.raises(HrkitError, match=r"gives \(1, 17, 16, 8\), the network \(1, 21, 16, 8\)"):
        registry.runtimes.build(f"{name}:{path}", network=hands, example=EXAMPLE, precision="float32")
    with pytest.raises(HrkitError, match=r"does not run with inputs of \(1, 3, 64, 64\)"):
        registry.runtimes.build(f"{name}:{path}", network=model, example=torch.zeros(1, 3, 64, 64), precision="float32")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(HrkitError, match="does not run with inputs") as caught:
        registry.runtimes.build(f"{name}:{path}", network=model, example=EXAMPLE, precision="float32")
    assert "\n" not in str(caught.value)
    with pytest.raises(HrkitError, match=r"there is no file .*nobody; `hrkit export` writes it"):
        registry.runtimes.build(f"{name}:{tmp_path / 'nobody'}", network=model, example=EXAMPLE, precision="float32")
