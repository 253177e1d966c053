"""benchmarks/figures.py prints the rows it says, for small networks here."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner

from hrkit import create_pose_model
from hrkit.benchmark.inference import Pair
from hrkit.runtimes.prepare import choose_precision

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    module = importlib.import_module("figures")
    pair = Pair("hrnet_w2", (64, 64), "synthetic")
    for name in ("W32", "W48", "LITE"):
        monkeypatch.setattr(module, name, pair)
    monkeypatch.setattr(module, "BATCHES", {"hrnet_w2@64x64": (1, 2)})
    monkeypatch.setattr(module.compare, "LIMIT_SIDE", 512)
    monkeypatch.setenv("HRKIT_MEASURE", "0")
    return module


@pytest.mark.slow
def test_networks_photos_and_what_is_around_them(figures: ModuleType, shallow: None) -> None:
    result = CliRunner().invoke(figures.main, ["--only", "networks,naive,small", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    rows = [line.split(" | ") for line in result.stdout.splitlines() if line.startswith("| hrnet_w2")]
    kind = str(choose_precision(create_pose_model("hrnet_w2"), torch.device("cpu"))).removeprefix("torch.")
    assert [row[1].split(";")[0].split(",")[0].split(" (")[0] for row in rows] == [
        "auto",
        "auto",
        *[f"network over the {kind} matrix product"] * 2,
        *["end to end over the naive way"] * 2,
        "end to end",
        "outside both networks without drawing",
        "drawing",
    ]
    assert all(float(row[2]) > 0 for row in rows)


@pytest.mark.slow
def test_memory(figures: ModuleType, shallow: None) -> None:
    assert 0.1 < figures.largest_memory(figures.W48, 2, 1, 1) < 100


def test_a_part_that_is_none(figures: ModuleType) -> None:
    result = CliRunner().invoke(figures.main, ["--only", "network"])
    assert result.exit_code == 2
    assert "networks" in result.output
