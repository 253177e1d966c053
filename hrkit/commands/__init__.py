"""The commands of `hrkit`, one module each. A command parses options, calls the library and prints the results."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

from hrkit.hookspecs import hookimpl

NAMES = (
    *("demo", "extract", "train", "test", "browse", "models", "download", "info", "plugins", "doctor", "bench"),
    *("build_ops", "export", "publish"),
)


@hookimpl
def register_commands() -> Sequence[click.Command]:
    """hrkit's own commands."""
    return [importlib.import_module(f"hrkit.commands.{name}").command for name in NAMES]
