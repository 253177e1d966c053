"""`hrkit export`: one clean page on the terminal, a file that works, mistakes in one line."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hrkit.cli import main

SMALL = ("timm/test_resnet", "--weights", "none", "--input-size", "64", "32")


def _run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["export", *arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.slow
def test_nothing_but_what_it_has_to_say(tmp_path: Path) -> None:
    kind = "network.onnx" if importlib.util.find_spec("onnxscript") else "network.pt2"
    command = [sys.executable, "-m", "hrkit", "export", *SMALL, "-o", kind]
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, difference, size = done.stdout.splitlines()
    assert first == "timm/test_resnet: images (N,3,64,32) -> heatmaps"
    assert difference.startswith("largest difference to PyTorch ")
    assert size == f"{kind}: {(tmp_path / kind).stat().st_size / 1e6:.1f} MB"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hrnt_w32", "-o", "a.pt2"), "unknown backbone or detector 'hrnt_w32'; did you mean hrnet_w32"),
        ((*SMALL, "-o", "a.trt"), "a.trt: end its name in .onnx"),
        ((*SMALL, "--format", "tensorrt", "-o", "a.onnx"), "unknown format 'tensorrt'; choices: onnx, openvino"),
        ((*SMALL, "--int8", "coco", "-o", "a.pt2"), "int8 is for the format openvino"),
        (("yolov3_tiny", "--weights", "none", "--head", "fpn", "-o", "a.pt2"), "yolov3_tiny is a detector; --head"),
        (("yolov3_tiny", "--weights", "none", "--input-size", "33", "32", "-o", "a.pt2"), "multiples of 32"),
        (("timm/test_resnet", "--input-size", "65", "32", "--weights", "none", "-o", "a.pt2"), "multiple of 32"),
        (("timm/test_resnet", "-o", "a.pt2"), "timm/test_resnet has no published pose weights"),
        ((*SMALL, "-o", "/proc/nowhere/a.pt2"), "nowhere"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_two(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = _run(*arguments, code=2)
    assert message in output
    assert output.startswith("error: ")
    assert len(output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "Permission denied" in _run(*SMALL, "-o", str(tmp_path / "a.pt2"), code=2)


@pytest.mark.slow
def test_int8_with_people_of_a_dataset(painted_coco: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    openvino = pytest.importorskip("openvino")
    output = _run(*SMALL, "--int8", f"coco:{painted_coco}", "-o", str(tmp_path / "a.xml"))
    assert "a.bin: " in output
    model = openvino.Core().read_model(tmp_path / "a.xml")
    assert sum(node.get_type_name() == "FakeQuantize" for node in model.get_ops()) > 10
    assert model.get_rt_info(["hrkit", "output"]).value == "heatmaps"
