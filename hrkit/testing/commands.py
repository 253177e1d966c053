"""A command against the contract of `hrkit.hookspecs.register_commands`."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from click.testing import CliRunner

from hrkit import registry
from hrkit.errors import PluginError
from hrkit.testing.report import Check, Contract, Wrong

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""Valid names of commands."""


def _is_a_command(command: object) -> None:
    if not isinstance(command, click.Command):
        raise Wrong(f"{type(command).__name__} is no click.Command")


def _name(command: click.Command) -> None:
    if not command.name or not NAME.fullmatch(command.name):
        raise Wrong(f"its name is {command.name!r}")


def _no_clash(command: click.Command) -> None:
    try:
        taken = registry.commands.entries().get(str(command.name))
    except PluginError as error:
        raise Wrong(str(error)) from None
    if taken is not None and taken.value is not command:
        raise Wrong(f"the name {taken.name!r} is taken by plugin {taken.plugin!r}")


def _all_commands(command: click.Command, name: str | None) -> Iterator[tuple[str | None, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for sub_name, sub_command in command.commands.items():
            yield from _all_commands(sub_command, f"{name} {sub_name}")


def _help(command: click.Command) -> None:
    for name, one in _all_commands(command, command.name):
        if not (one.help or "").strip():
            raise Wrong(f"hrkit {name} has no help")
        said = CliRunner().invoke(one, ["--help"])
        if said.exit_code != 0 or "Usage:" not in said.output:
            raise Wrong(f"hrkit {name} --help ends with {said.exit_code}: {said.exception or said.output[:200]!r}")


def _options(command: click.Command) -> None:
    for name, one in _all_commands(command, command.name):
        said = CliRunner().invoke(one, ["--an-option-that-nobody-has"])
        if said.exit_code != 2:
            raise Wrong(f"hrkit {name} takes any option (exit code {said.exit_code})")


CONTRACT = Contract(
    "command",
    (
        Check("it is a command", _is_a_command, "give click.Command objects", vital=True),
        Check("name", _name, "name it in lower case, words joined by dashes", vital=True),
        Check("name is free", _no_clash, "take another name"),
        Check("help", _help, "write a docstring; --help prints it and does nothing else"),
        Check("unknown options", _options, "let click refuse options that the command does not have"),
    ),
)

check_command = CONTRACT.check
"""`check_command(command, *, part="command")`: what is wrong with a click command for the `hrkit` program.

Only its help is run.
"""
examine_command = CONTRACT.examine
