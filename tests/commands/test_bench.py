"""`hrkit bench` measures and adds up; how fast it is no test can say."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from hrkit.cli import main

ARGUMENTS = ["bench", "--train", "--backbone", "timm/test_resnet", "--input-size", "64", "64", "--batch-size", "2"]


def test_the_shares_add_up() -> None:
    result = CliRunner().invoke(main, [*ARGUMENTS, "--steps", "2", "--json"])
    assert result.exit_code == 0, result.output
    rates = json.loads(result.output)
    step = rates["prepare_seconds"] + rates["network_seconds"] + rates["metrics_seconds"]
    assert rates["step_rate"] == pytest.approx(2 / step)
    assert rates["network_share"] == pytest.approx(rates["network_seconds"] / step)
    assert rates["loader_rate"] > 0


def test_the_table_has_a_row_a_part() -> None:
    output = CliRunner().invoke(main, [*ARGUMENTS, "--steps", "1"]).output
    for word in ("samples/s a core", "forward, backward, optimizer", "normalise, targets", "metrics"):
        assert word in output
