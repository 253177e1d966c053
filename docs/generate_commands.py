"""Writes docs/commands.md from the commands' own help: `python docs/generate_commands.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from hrkit.cli import main
from hrkit.commands import register_commands
from hrkit.commands.short_help import ALL

PAGE = Path(__file__).with_name("commands.md")


def command_help(command: click.Command, name: str | None = None) -> str:
    """What `hrkit NAME --help` prints, or `--help-all`, if there is one."""
    context = click.Context(command, info_name=f"hrkit {name or command.name}", **main.context_settings)
    context.meta[ALL] = True
    return command.get_help(context)


def sections(command: click.Command, name: str, level: int = 2) -> Iterator[str]:
    """The help of a command, followed by that of its subcommands."""
    yield f"{'#' * level} hrkit {name}\n\n```text\n{command_help(command, name)}\n```\n"
    if isinstance(command, click.Group):
        for below in sorted(command.commands):
            yield from sections(command.commands[below], f"{name} {below}", level + 1)


def command_reference() -> str:
    """The help of all of hrkit's own commands as one page."""
    parts = [
        "# Commands\n\nWritten by `docs/generate_commands.py` from what `--help` prints, or `--help-all` where there "
        "is one. Exit codes:\n0 done; 1 some of several inputs failed; 2 an error that the message explains; 130 "
        "interrupted by Ctrl-C, 143 by\nSIGTERM, 129 by SIGHUP. Plugins add commands, as hrkit-web does `hrkit web`; "
        "`hrkit --help` lists all that are there.\n"
    ]
    for command in sorted(register_commands(), key=lambda command: command.name or ""):
        parts += sections(command, command.name or "")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(command_reference(), encoding="utf-8")
