"""The commands of `hrkit`, one module each. A command parses options, calls the library and prints the results."""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Sequence
from typing import Any

import click

from hrkit.hookspecs import hookimpl

NAMES = {
    "demo": "Draws the skeletons of people in pictures, in a video or in front of a camera.",
    "extract": "Writes the keypoints of all people in pictures and videos to files.",
    "train": "Trains a pose network.",
    "test": "Measures a pose network on a dataset.",
    "browse": "Draws samples of a dataset as the network sees them.",
    "models": "Lists the published weights.",
    "download": "Downloads published weights.",
    "info": "Shows parameters and multiply-adds of a network.",
    "plugins": "Lists plugins with what each brings; checks and creates them.",
    "doctor": "Shows packages, devices and plugins, with advice.",
    "bench": "Measures speed on this machine.",
    "build-ops": "Compiles the native operators.",
    "export": "Writes a network to a file for another runtime.",
    "publish": "Publishes the weights of a training run.",
}
"""What `hrkit --help` says of each command."""


def _of_loaded(name: str) -> Any:  # a property, in place of attributes of many types
    """A property that forwards to the loaded command. Setting it, as click's constructor does, has no effect."""
    return property(lambda lazy: getattr(lazy.loaded, name), lambda lazy, value: None)


class LazyCommand(click.Command):
    """A command whose module is imported to run it or to read its options, but not to list it."""

    params: Any = _of_loaded("params")
    help: Any = _of_loaded("help")
    epilog: Any = _of_loaded("epilog")
    callback: Any = _of_loaded("callback")

    @functools.cached_property
    def loaded(self) -> click.Command:
        """The command itself."""
        command = pkgutil.resolve_name(f"hrkit.commands.{str(self.name).replace('-', '_')}:command")
        assert isinstance(command, click.Command)
        return command

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **settings: Any) -> click.Context:
        """The context of the command itself, which then runs in place of this one. Empty values are refused."""
        once = {name for option in self.params if not option.multiple for name in option.opts}
        for before, argument in zip(["", *args], args, strict=False):
            name = before if argument == "" else argument.removesuffix("=") if argument.endswith("=") else ""
            if name.startswith("-") and name in once:
                raise click.UsageError(f"{name} is empty; leave it out, or give a value")
        return self.loaded.make_context(info_name, args, *more, **settings)


@hookimpl
def register_commands() -> Sequence[click.Command]:
    """hrkit's own commands."""
    from hrkit.commands import plugins  # a group, whose commands click wants to know; it imports little

    return [
        plugins.command if name == "plugins" else LazyCommand(name, short_help=help_text)
        for name, help_text in NAMES.items()
    ]
