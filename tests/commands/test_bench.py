"""`hrkit bench` measures and adds up; how fast it is no test can say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from click.testing import CliRunner

from hrkit.benchmark import inference
from hrkit.benchmark.inference import Pair, Speed
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


@pytest.mark.slow
def test_a_pair_is_measured() -> None:
    arguments = ["bench", "--backbone", "hrnet_w2", "--input-size", "64", "64", "--detector", "synthetic"]
    result = CliRunner().invoke(main, [*arguments, "--people", "2", "--rounds", "1", "--json"])
    assert result.exit_code == 0, result.output
    speed = json.loads(result.stdout)
    assert speed["parts"][0]["people"] == 2
    median, low, high = speed["parts"][0]["seconds"]["crops"]
    assert 0 < low <= median <= high
    assert set(speed["per_person"]) == {"hrnet_w2 64x64 + synthetic"}


def test_weights_of_the_detector_are_those_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Pair] = []

    def note(pairs: Sequence[Pair], **settings: Any) -> Speed:
        measured.extend(pairs)
        return Speed("a machine", [], [], {})

    monkeypatch.setattr(inference, "measure", note)
    for chosen in (["--backbone", "lite", "--detector", "lite_person"], []):
        result = CliRunner().invoke(main, ["bench", *chosen, "--detector-weights", "mine.pt"])
        assert result.exit_code == 0, result.output
    own, *standard = measured
    assert own == Pair("lite", None, "lite_person", "mine.pt")
    assert [pair.detector_weights for pair in standard] == ["mine.pt", "mine.pt", None]


def test_people_are_numbers() -> None:
    result = CliRunner().invoke(main, ["bench", "--people", "1,many"])
    assert result.exit_code == 2
    assert "'1,many' is no list of numbers" in result.output


@pytest.mark.parametrize("option", [("--detector", "lite_person"), ("--input-size", "256", "192")])
def test_a_part_of_a_pair_needs_its_network(option: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, ["bench", *option])
    assert result.exit_code == 2
    assert "name its --backbone" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "--photos", "photos/"], "--photos is not for --train"),
        (["--train", "--rounds", "2"], "--rounds is not for --train"),
        (["--steps", "2"], "--steps is for --train"),
    ],
)
def test_options_that_would_be_ignored_are_refused(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["bench", *arguments])
    assert result.exit_code == 2
    assert message in result.output
