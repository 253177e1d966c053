"""`--help` of every command is one screen, and `--help-all` shows the options that it leaves out."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from hrkit.cli import main
from hrkit.commands import register_commands

SCREEN = 50
"""Lines."""
COMMANDS = {str(command.name): command for command in register_commands()}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_one_screen(name: str) -> None:
    said = CliRunner().invoke(main, [name, "--help"], terminal_width=80)
    assert said.exit_code == 0
    assert len(said.output.splitlines()) <= SCREEN


@pytest.mark.parametrize("name", ["demo", "extract", "test", "train"])
def test_all_options_are_shown_on_demand(name: str) -> None:
    few, every = (CliRunner().invoke(main, [name, flag]).output for flag in ("--help", "--help-all"))
    options = [option.opts[-1] for option in COMMANDS[name].params if isinstance(option, click.Option)]
    assert [option for option in options if f"{option} " not in every and f"{option}/" not in every] == []
    assert "--precision" in every
    assert "--help-all " in few
    assert len(few.splitlines()) < len(every.splitlines())
