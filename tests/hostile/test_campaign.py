"""A few hundred hostile inputs of each kind, others if the seed below is changed. `make hostile` runs 10,000."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from campaign import attack
from kinds import KINDS

COUNT, SEED = 200, 0


@pytest.mark.parametrize("name", [*KINDS])
def test_hostile_input_is_refused_or_read(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of decoders
        outcome = attack(name, KINDS[name], COUNT, SEED, tmp_path)
    assert outcome.inputs >= COUNT * KINDS[name].share
    assert not outcome.faults, "\n".join(outcome.faults)
