"""benchmarks/compare.py compares what it says; what it finds no test can say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner
from torch import nn

import synthetic_pipelines
from hrkit import Pipeline
from hrkit.benchmark.inference import Pair
from hrkit.images import read_image
from hrkit.pipeline import create_detector
from hrkit.pose_model import create_pose_model
from hrkit.structures import Detections
from painted import TWO_PEOPLE, two_people

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "compare.py"


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare"] = module
    spec.loader.exec_module(module)
    return module


def test_the_naive_way_finds_the_same_people(compare: ModuleType) -> None:
    """To the cell that its peaks are rounded to."""
    pipeline = synthetic_pipelines.pipeline()
    model = create_pose_model("synthetic", input_size=(256, 192))
    frame = two_people()
    found = pipeline.detect([frame])[0]
    wide = Detections.from_boxes(found.xyxy + np.array([-8, -8, 8, 8], np.float32))
    keypoints = compare.NaiveBaseline(model)(frame, wide)
    assert keypoints.shape == (2, 17, 3)
    np.testing.assert_allclose(keypoints[..., :2], TWO_PEOPLE, atol=5)


@pytest.mark.slow
def test_what_is_outside_the_networks(compare: ModuleType, shallow: None) -> None:
    detector = create_detector("yolov3_tiny", weights=None, input_size=64)
    pipeline = Pipeline(create_pose_model("hrnet_w2", input_size=(64, 64)), detector, device="cpu")
    networks = [pipeline.pose_model, pipeline.detector.network]  # type: ignore[union-attr]  # it is a Yolov3
    assert min(compare.outside_networks(pipeline, 3)) > 0
    assert not any(network._forward_hooks or network._forward_pre_hooks for network in networks)


@pytest.mark.slow
def test_operations_are_two_a_multiply_add(compare: ModuleType) -> None:
    model = create_pose_model("pose_resnet_18", input_size=(64, 64))
    first = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    only_first = 2 * first.weight.numel() * 32 * 32
    assert compare.network_operations(model) > only_first
    # 1.8e9 / (224/64)^2, and deconvolutions
    assert compare.network_operations(model) == pytest.approx(2 * 0.28e9, rel=0.2)


@pytest.mark.slow
def test_a_pair_is_compared(
    compare: ModuleType, shallow: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "CROWDS", (1, 2))
    monkeypatch.setattr(compare, "LIMIT_SIDE", 512)
    arguments = ["--backbone", "hrnet_w2", "--input-size", "64", "64", "--detector", "synthetic", "--rounds", "1"]
    result = CliRunner().invoke(compare.main, [*arguments, "--skip-others", "--plot", str(tmp_path / "cost.png")])
    assert result.exit_code == 0, result.output
    name = str(Pair("hrnet_w2", (64, 64), "synthetic"))
    rows = [line for line in result.output.splitlines() if line.startswith(f"| {name} |")]
    whats = [row.split(" | ")[1] for row in rows]
    assert "outside both networks, 4 people in 1280x720" in whats
    assert "end to end over the naive way, a photo of 640x480, 2 people" in whats
    assert any("matrix product, batch 8" in what for what in whats)
    assert all(float(row.split(" | ")[2]) > 0 for row in rows)
    drawn = read_image(tmp_path / "cost.png")
    assert (drawn != 255).any()
