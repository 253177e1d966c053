"""A web page and an HTTP API for hrkit: the command `hrkit web`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from hrkit import hookimpl
from hrkit_web.command import command


@hookimpl
def register_commands() -> Sequence[click.Command]:
    """The command `hrkit web`."""
    return [command]
