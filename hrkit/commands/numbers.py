"""Types of options: paths, and numbers in a range, which the help shows. NaN and infinity are in no range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hrkit.settings import SIDE, Range

PATH = click.Path(path_type=Path)
"""The type of a file or folder, given as a `Path`."""


class Number(click.ParamType):
    """The type of an int or float in a range. If it is `optional`, "none" stays as it is."""

    def __init__(self, kind: type, within: Range, *, optional: bool = False) -> None:
        self.kind: type = kind
        self.within: Range = within
        self.optional: bool = optional
        self.name = "integer" if kind is int else "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Fails with what it must be."""
        if self.optional and value == "none":
            return value
        try:
            number = self.kind(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no {self.name}", param, ctx)
        if number not in self.within:
            self.fail(f"{value!r} is out of range; it must be {self.within}", param, ctx)
        return number


def number_option(name: str, kind: type, within: Range, help: str = "", **more: Any) -> Any:  # Any: as `click.option`
    """`click.option` with the type `Number`. Its help ends with the range, if there is one."""
    shown = f"{help}  [{within}]".strip() if within != Range() else help
    return click.option(name, type=Number(kind, within), help=shown, **more)


SIZE = (Number(int, SIDE), Number(int, SIDE))
"""The type of height and width, px."""
