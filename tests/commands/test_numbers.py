"""Every number and word on the command line obeys one rule: numbers are finite and in the range that the help shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from hrkit.cli import main
from hrkit.commands import register_commands
from hrkit.commands.numbers import Number
from hrkit.training.config import Augmentation, TrainConfig, settings_of


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def refused(result: Result, says: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert says in result.stderr


def _numbers() -> Iterator[tuple[str, str, Number]]:
    """Every option with a number: the command, the option and its type."""
    for command in register_commands():
        for option in command.params:
            kinds = option.type.types if isinstance(option.type, click.Tuple) else [option.type]
            if isinstance(kinds[0], (click.types.IntParamType, click.types.FloatParamType)):
                raise AssertionError(f"{command.name} {option.name} takes numbers without a range")
            if isinstance(kinds[0], Number):
                yield str(command.name), option.opts[0], kinds[0]


def _in_words(part: str | Number) -> str:
    return part if isinstance(part, str) else str(part.within)


@pytest.mark.parametrize(("command", "option", "kind"), [*_numbers()], ids=_in_words)
def test_numbers_are_finite_and_in_their_range(command: str, option: str, kind: Number) -> None:
    low = kind.within.low
    wrong = ["nan", "inf", "-inf", "x", "1e999", ""]
    wrong += [] if low is None else [str(low if kind.within.above else low - 1)]
    wrong += [] if kind.within.high is None else [str(kind.within.high + 1)]
    for text in wrong:
        values = [text] * (2 if option == "--input-size" else 1)
        refused(run(command, option, *values), option)


def test_the_help_shows_the_ranges() -> None:
    shown = " ".join(CliRunner().invoke(main, ["train", "--help-all"]).stdout.split())
    for config in (TrainConfig, Augmentation):
        for name, setting in settings_of(config).items():
            if setting.within is not None:
                assert f"[{setting.within}]" in shown.split(f"--{name.replace('_', '-')} ")[1].split(" --")[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["extract", "a.mp4", "-o", "a.csv", "--engine", ""],
        ["extract", "a.mp4", "-o", ""],
        ["extract", "a.mp4", "--output="],
        ["demo", "--image", "a.png", "--detector", ""],
        ["demo", "--image", "a.png", "--output", ""],
        ["test", "--backbone", "", "--dataset", "coco:data"],
        ["train", "--backbone", ""],
        ["train", "--output="],
        ["train", "--config", ""],
        ["browse", "--split", ""],
        ["export", "lite", "-o", "a.onnx", "--format", ""],
        ["publish", "run", "--to", ""],
    ],
)
def test_empty_words(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run(*arguments), "is empty")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_none_and_long_names_and_control_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nothing = ["train", "--dataset", "coco:nowhere", "--output", "run"]
    refused(run(*nothing, "--clip-norm", "none", "--joint-weights", "none", "--sigma", "none"), "nowhere")
    refused(run(*nothing, "--epochs", "none"), "'none' is no integer")
    refused(run("info", "x" * 5000), "unknown backbone")
    for name in ("x" * 5000, "\x1b[31mred", "two\nlines", "\udcff"):
        result = run("extract", name, "-o", "a.csv")
        refused(result, "error: ")
        assert len(result.stderr) < 1000
        assert result.stderr.rstrip("\n").isprintable()
