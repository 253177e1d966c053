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
    for word in ("samples/s per core", "forward, backward, optimizer", "normalise, targets", "metrics"):
        assert word in output


def test_a_pair_is_measured() -> None:
    arguments = ["bench", "--backbone", "hrnet_w2", "--input-size", "64", "64", "--detector", "synthetic"]
    result = CliRunner().invoke(main, [*arguments, "--people", "2", "--rounds", "1", "--json"])
    assert result.exit_code == 0, result.output
    speed = json.loads(result.stdout)
    assert speed["parts"][0]["people"] == 2
    median, low, high = speed["parts"][0]["seconds"]["crops"]
    assert 0 < low <= median <= high
    assert set(speed["per_person"]) == {"hrnet_w2 64x64 + synthetic"}


def test_people_are_numbers() -> None:
    result = CliRunner().invoke(main, ["bench", "--people", "1,many"])
    assert result.exit_code == 2
    assert "'1,many' is no list of numbers" in result.output
