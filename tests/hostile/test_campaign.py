"""Hostile inputs of each kind, others if the seed below is changed. `make hostile` runs 10,000."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from campaign import NATIVE, Kind, attack
from hrkit.errors import HrkitError
from kinds import KINDS

COUNT, SEED = 300, 0


@pytest.mark.parametrize("name", [name for name in KINDS if name not in NATIVE])
@pytest.mark.slow
def test_hostile_input_is_refused_or_read(name: str, tmp_path: Path) -> None:
    outcome = attack(name, KINDS[name], COUNT, SEED, tmp_path)
    assert not outcome.faults, "\n".join(outcome.faults)


@pytest.mark.slow
@pytest.mark.parametrize("name", NATIVE)
def test_hostile_input_of_native_code(name: str) -> None:
    if name not in KINDS:
        pytest.skip(f"the packages of {name} are not installed")
    script = [sys.executable, str(Path(__file__).with_name("campaign.py")), name]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    options = ["--count", str(COUNT), "--seed", str(SEED)]
    done = subprocess.run([*script, *options], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def _error(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("read", "heard"),
    [
        (lambda path: path.write_text("x"), None),
        (lambda path: _error(HrkitError("refused")), None),
        (lambda path: [{"score": np.array([float("nan")])}], "a result holds NaN"),
        (lambda path: (path.parents[1] / "new").write_text("x"), "written elsewhere: .*/new"),
        (lambda path: (path.parents[1] / "outside/x").unlink(), "written elsewhere: .*/outside/x"),
        (lambda path: subprocess.run([sys.executable, "--version"], stdout=subprocess.DEVNULL), "executed: subprocess"),
        (lambda path: os.write(2, b"noise"), "written to stdout or stderr: noise"),
        (lambda path: logging.getLogger("hrkit").warning("two\nlines"), "logged by hrkit: two"),
        (lambda path: _error(KeyError("traceback")), "KeyError: 'traceback'"),
        (lambda path: _error(OSError("two\rlines")), None),
    ],
)
def test_what_must_not_happen_is_heard(read: Callable[[Path], object], heard: str | None, tmp_path: Path) -> None:
    kind = Kind(lambda folder, stack: {"a": b"good"}, lambda content, rng: content, read)
    faults = attack("made", kind, 1, 0, tmp_path).faults
    assert faults == [] if heard is None else re.match(f"made, seed 0, a: (.|\n)*{heard}", faults[0])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_runs_end_with_the_same_bytes(tmp_path: Path) -> None:
    """In a process of its own, because it forks; `python tests/hostile/kills.py` kills as often as it is told."""
    script = [sys.executable, str(Path(__file__).with_name("kills.py")), "--extract", "2", "--train", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the same bytes") == 2
