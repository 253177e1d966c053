"""A few hundred hostile inputs of each kind, others if the seed below is changed. `make hostile` runs 10,000."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from campaign import attack
from kinds import KINDS

COUNT, SEED = 200, 0


@pytest.mark.parametrize("name", [*KINDS])
def test_hostile_input_is_refused_or_read(name: str, tmp_path: Path) -> None:
    outcome = attack(name, KINDS[name], COUNT, SEED, tmp_path)
    assert not outcome.faults, "\n".join(outcome.faults)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_runs_end_with_the_same_bytes(tmp_path: Path) -> None:
    """In a process of its own, because it forks; `python tests/hostile/kills.py` kills as often as it is told."""
    script = [sys.executable, str(Path(__file__).with_name("kills.py")), "--extract", "2", "--train", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the same bytes") == 2
