"""The cfg language of Darknet: sections of `key = value` lines.

As read by Darknet (https://github.com/pjreddie/darknet, src/option_list.c and src/parser.c) and its continuation
(https://github.com/AlexeyAB/darknet).
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TypeVar

from attrs import field, frozen

from hrkit.errors import HrkitError
from hrkit.files import FilePath, decoded

SECTIONS = ("convolutional", "maxpool", "upsample", "route", "shortcut", "yolo")
"""The sections that a network may consist of."""
TRAINING_KEYS = {"stopbackward", "onlyforward", "dontload", "dontloadscales", "train_only_bn"}
"""Keys of a layer that do not change what it computes."""
LARGEST = 65536
"""Largest number of filters, size of a kernel and the like."""

T = TypeVar("T", int, float)


@frozen
class Section:
    """One `[section]` of a cfg."""

    name: str
    number: int
    """The layer's number as Darknet counts it; -1 is `[net]`."""
    line: int
    """Line of its `[name]`, counted from 1."""
    options: dict[str, str] = field(factory=dict)

    def error(self, what: str) -> HrkitError:
        """An error that names the line and section."""
        return HrkitError(f"cfg line {self.line}, section {self.number} [{self.name}]: {what}")

    def expect_keys(self, known: str) -> None:
        """Raises `HrkitError` for a key that is not `known` (words), as it could change what the layer computes."""
        unknown = sorted(set(self.options) - set(known.split()) - TRAINING_KEYS)
        if known and unknown:
            raise self.error(f"unknown key {unknown[0]!r}; known: {', '.join(known.split())}")

    def numbers(self, key: str, kind: type[T]) -> list[T]:
        """The comma-separated numbers of `key`, whole ones if `kind` is int, else finite ones. Raises `HrkitError`."""
        if key not in self.options:
            raise self.error(f"{key} is missing")
        try:
            numbers = [kind(part) for part in self.options[key].rstrip(", ").split(",")]
            if kind is int or all(map(math.isfinite, numbers)):
                return numbers
        except ValueError:
            pass
        raise self._wrong(key, f"{'whole' if kind is int else 'finite'} numbers, separated by commas")

    def integer(self, key: str, default: int | None = None, *, low: int = 1, high: int = LARGEST) -> int:
        """A whole number from `low` to `high`. Raises `HrkitError` for another, or if it and a default are missing."""
        if key not in self.options and default is not None:
            return default
        values = self.numbers(key, int)
        if len(values) != 1 or not low <= values[0] <= high:
            raise self._wrong(key, f"one whole number from {low} to {high}")
        return values[0]

    def real(self, key: str, default: float) -> float:
        """A finite number. Raises `HrkitError` for anything else."""
        values = self.numbers(key, float) if key in self.options else [default]
        if len(values) != 1:
            raise self._wrong(key, "one number")
        return values[0]

    def _wrong(self, key: str, wanted: str) -> HrkitError:
        return self.error(f"{key}={self.options[key][:60]!r} must be {wanted}")


def parse_cfg(text: str) -> list[Section]:
    """The sections of a cfg, `[net]` first. `#` and `;` start a comment; if a key is given twice, the first counts.

    Raises `HrkitError` that names the line if the text is not a cfg or has unknown sections.
    """
    sections: list[Section] = []
    for number, line in enumerate(text.splitlines(), 1):
        content = re.split("[#;]", line, maxsplit=1)[0].strip()
        if not content:
            continue
        if content.startswith("[") and content.endswith("]"):
            sections.append(Section(content[1:-1].strip(), len(sections) - 1, number))
            continue
        key, equals, value = (part.strip() for part in content.partition("="))
        if not equals or not key or not sections:
            raise HrkitError(f"cfg line {number}: wanted a [section], then lines 'key = value'; got {content[:60]!r}")
        sections[-1].options.setdefault(key, value)
    if not sections or sections[0].name not in ("net", "network"):
        raise HrkitError("a cfg begins with the section [net]; this is not a Darknet cfg")
    for section in sections[1:]:
        if section.name not in SECTIONS:
            raise section.error(f"unknown section; known: {', '.join(SECTIONS)}")
    return sections


def read_cfg(path: FilePath) -> list[Section]:
    """`parse_cfg` for a file. Raises `HrkitError` also if it cannot be read."""
    return parse_cfg(read_text(path, "cfg"))


def read_text(path: FilePath, what: str) -> str:
    """The text of a file, which may have comments in Latin-1. Raises `HrkitError` that says `what` cannot be read."""
    try:
        return decoded(Path(path).read_bytes(), "surrogateescape")
    except (OSError, UnicodeDecodeError) as error:
        raise HrkitError(f"cannot read the {what} {os.fspath(path)}: {error}; give another file") from error
