"""The `hrkit` program: commands from the registry, errors in one line.

Exit codes: 0 done; 1 some of several inputs failed; 2 a mistake that the message explains; 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import click

from hrkit import __version__, registry
from hrkit.errors import HrkitError


class Program(click.Group):
    """A group whose commands are whatever is registered."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return registry.commands.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = registry.commands.entries().get(cmd_name)
        return None if entry is None else entry.value

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except BrokenPipeError:
            raise
        except (HrkitError, OSError) as error:
            if os.environ.get("HRKIT_DEBUG"):
                raise
            click.echo(f"error: {error}", err=True)
            sys.exit(2)

    def invoke(self, ctx: click.Context) -> Any:
        for plugin, error in registry.plugins.failed.items():
            click.echo(f"warning: plugin {plugin!r} is left out: {error} (see `hrkit plugins`)", err=True)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)


@click.command(cls=Program, context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="hrkit")
def main() -> None:
    """People and their keypoints in pictures and videos.

    Set HRKIT_DEBUG=1 to see the traceback behind an error.

    Example: hrkit demo --image photo.jpg
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
