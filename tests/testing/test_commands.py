"""The kit finds what is wrong with commands."""

from __future__ import annotations

from typing import Any

import click
import pytest

from hrkit.testing import check_command, describe


def command(name: str | None = "kit-hello", help: str | None = "Says hello.", **options: Any) -> click.Command:
    return click.Command(name, callback=lambda: click.echo("hello"), help=help, **options)


def group(*commands: click.Command) -> click.Group:
    return click.Group("kit-group", commands=list(commands), help="Greets.")


FAULTS: dict[str, tuple[Any, str]] = {
    "no command": (print, "it is a command"),
    "no name": (command(None), "name"),
    "a name in capitals": (command("Hello World"), "name"),
    "a name that is taken": (command("demo"), "name is free"),
    "no help": (command(help=None), "help"),
    "empty help": (command(help=" "), "help"),
    "no help below": (group(command(), command("bye", None)), "help"),
    "help that is turned off": (command(add_help_option=False), "help"),
    "any option": (
        command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True}),
        "unknown options",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    broken, check = FAULTS[fault]
    findings = check_command(broken)
    assert check in [finding.check for finding in findings], describe(findings)


def test_sound_commands_pass() -> None:
    assert check_command(command()) == []
    assert check_command(group(command(), command("bye"))) == []
