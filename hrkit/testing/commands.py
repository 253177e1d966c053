"""A command against the contract of `hrkit.hookspecs.register_commands`."""

from __future__ import annotations

from collections.abc import Iterator

import click
from click.testing import CliRunner

from hrkit import registry
from hrkit.errors import PluginError
from hrkit.testing.distributions import COMMAND_NAME
from hrkit.testing.report import Checking, Contract, Examining, Wrong, expect

CONTRACT: Contract = Contract("command")


@CONTRACT.rule("it is a command", "give click.Command objects", vital=True)
def _is_a_command(command: object) -> None:
    expect(isinstance(command, click.Command), f"{type(command).__name__} is no click.Command")


@CONTRACT.rule("name", "name it in lower case, words joined by dashes", vital=True)
def _name(command: click.Command) -> None:
    expect(COMMAND_NAME.fullmatch(command.name or ""), f"its name is {command.name!r}")


@CONTRACT.rule("name is free", "take another name")
def _no_clash(command: click.Command) -> None:
    try:
        taken = registry.commands.entries().get(str(command.name))
    except PluginError as error:
        raise Wrong(str(error)) from None
    if taken is not None:
        expect(taken.value is command, f"the name {taken.name!r} is taken by plugin {taken.plugin!r}")


def _all_commands(command: click.Command, name: str | None) -> Iterator[tuple[str | None, click.Command]]:
    yield name, command
    for sub_name, sub_command in getattr(command, "commands", {}).items():
        yield from _all_commands(sub_command, f"{name} {sub_name}")


@CONTRACT.rule("help", "write a docstring; --help prints it and does nothing else")
def _help(command: click.Command) -> None:
    for name, one in _all_commands(command, command.name):
        expect((one.help or "").strip(), f"hrkit {name} has no help")
        said = CliRunner().invoke(one, ["--help"])
        problem = f"hrkit {name} --help ends with {said.exit_code}: {said.exception or said.output[:200]!r}"
        expect(said.exit_code == 0 and "Usage:" in said.output, problem)


@CONTRACT.rule("unknown options", "let click refuse options that the command does not have")
def _options(command: click.Command) -> None:
    for name, one in _all_commands(command, command.name):
        said = CliRunner().invoke(one, ["--an-option-that-nobody-has"])
        expect(said.exit_code == 2, f"hrkit {name} takes any option (exit code {said.exit_code})")


check_command: Checking = CONTRACT.check
"""`check_command(command, *, part="command")`: what is wrong with a click command for the `hrkit` program.

Only its help is run.
"""
examine_command: Examining = CONTRACT.examine
