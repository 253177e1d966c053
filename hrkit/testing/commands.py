"""A command against the contract of `hrkit.hookspecs.register_commands`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click
from attrs import frozen
from click.testing import CliRunner

from hrkit import registry
from hrkit.errors import PluginError
from hrkit.testing.report import Check, Finding, Wrong, examine, wrong

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""Of a command."""


def check_command(command: Any, *, part: str = "command") -> list[Finding]:
    """What is wrong with a click command for the `hrkit` program; an empty list if nothing is.

    Only its help is run. `part` is what findings call it.
    """
    return wrong(examine_command(command, part=part))


def examine_command(command: Any, *, part: str = "command") -> Iterator[Finding]:
    """As `check_command`, with what is right too, each as soon as it is known."""
    yield from examine(part, _Trial(command), CHECKS)


@frozen(eq=False)
class _Trial:
    """A command."""

    command: Any


def _is_a_command(trial: _Trial) -> None:
    if not isinstance(trial.command, click.Command):
        raise Wrong(f"{type(trial.command).__name__} is no click.Command")


def _name(trial: _Trial) -> None:
    name = trial.command.name
    if not name or not NAME.fullmatch(name):
        raise Wrong(f"its name is {name!r}")


def _no_clash(trial: _Trial) -> None:
    try:
        taken = registry.commands.entries().get(trial.command.name)
    except PluginError as error:
        raise Wrong(str(error)) from None
    if taken is not None and taken.value is not trial.command:
        raise Wrong(f"the name {taken.name!r} is taken by plugin {taken.plugin!r}")


def _all_commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for sub_name, sub_command in command.commands.items():
            yield from _all_commands(sub_command, f"{name} {sub_name}")


def _help(trial: _Trial) -> None:
    for name, command in _all_commands(trial.command, trial.command.name):
        if not (command.help or "").strip():
            raise Wrong(f"hrkit {name} has no help")
        said = CliRunner().invoke(command, ["--help"])
        if said.exit_code != 0 or "Usage:" not in said.output:
            raise Wrong(f"hrkit {name} --help ends with {said.exit_code}: {said.exception or said.output[:200]!r}")


def _options(trial: _Trial) -> None:
    for name, command in _all_commands(trial.command, trial.command.name):
        said = CliRunner().invoke(command, ["--an-option-that-nobody-has"])
        if said.exit_code != 2:
            raise Wrong(f"hrkit {name} takes any option (exit code {said.exit_code})")


CHECKS: tuple[Check[_Trial], ...] = (
    Check("it is a command", _is_a_command, "give click.Command objects", vital=True),
    Check("name", _name, "name it in lower case, words joined by dashes", vital=True),
    Check("name is free", _no_clash, "take another name"),
    Check("help", _help, "write a docstring; --help prints it and does nothing else"),
    Check("unknown options", _options, "let click refuse options that the command does not have"),
)
