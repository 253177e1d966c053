"""The errors that hrkit raises for problems that a caller can solve.

Each message is one line: what is wrong, and what to do. Long names from outside are shortened in it, and characters
that a terminal would obey are written as escapes. All errors are `ValueError`s, so code that does not know hrkit
can catch them. The command line prints the message and exits with status 2.
"""

import difflib
import importlib
import math
import numbers
import re
from collections.abc import Iterable
from typing import Any

LONGEST_WORD = 150
"""Of a longer word in a message, its first and its last letters are shown, this many each."""

LONGEST_LINE = 20_000
"""Letters of the longest message. Lists of what there is are long."""


MOST_CHOICES, CLOSEST = 60, 20
"""How many names a message lists at most, and how many of the closest if there are more."""


TORCHVISION_MISFIT = "torchvision does not fit torch; install both anew, together: pip install -U torch torchvision"


class HrkitError(ValueError):
    """Base of all errors of hrkit."""

    def __str__(self) -> str:
        return shown(super().__str__())


class ImageError(HrkitError):
    """A picture cannot be read, or an array is not a picture."""


class VideoError(HrkitError):
    """A camera, stream or video cannot be opened, read to its end or written."""


class BoxError(HrkitError):
    """Boxes are invalid: NaN, inverted, without area, or of the wrong shape."""


class WeightsError(HrkitError):
    """A weights file cannot be read, or does not fit the network."""


class DownloadError(HrkitError):
    """A file cannot be downloaded, or is not the one that was published."""


class DatasetError(HrkitError):
    """A dataset is missing, damaged or inconsistent. The message names the file, the id and how many there are."""


class PluginError(HrkitError):
    """A plugin breaks the contract: a name that is taken, an unknown hook, a part of the wrong kind."""


class UnknownNameError(HrkitError, LookupError):
    """A name that is not registered.

    The message lists `choices` (of many the closest), the closest of `names` (by default of the choices) and a `hint`.
    Patterns may be choices but are never suggested.
    """

    def __init__(
        self, kind: str, name: str, choices: Iterable[str], *, names: Iterable[str] | None = None, hint: str = ""
    ) -> None:
        choices = sorted(set(choices))
        close = close_names(name, choices if names is None else names)
        parts = (f"did you mean {' or '.join(close)}? " if close else "", f"{hint}; " if hint else "")
        if len(choices) > MOST_CHOICES:
            closest = difflib.get_close_matches(name, choices, CLOSEST, cutoff=0)
            choices = [*closest, f"and {len(choices) - CLOSEST} others"]
        super().__init__(f"unknown {kind} {name!r}; {''.join(parts)}choices: {', '.join(choices) or 'none'}")


def close_names(name: str, names: Iterable[str]) -> list[str]:
    """At most three of `names` that are similar to `name`, the closest first. Patterns are left out."""
    return difflib.get_close_matches(name, sorted(n for n in names if "*" not in n), n=3)


def one_line(error: BaseException) -> str:
    """The message of an error as `shown`, or its type if it has none."""
    return shown(str(error)) or type(error).__name__


def shown(text: str) -> str:
    """A text in one line for a terminal or a log: without control characters, and with the middle of long names cut."""
    line = " ".join(line.strip() for line in text.splitlines() if line.strip())
    if not line.isprintable():
        line = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line)
    line = re.sub(rf"(\S{{{LONGEST_WORD}}})\S+(\S{{{LONGEST_WORD}}})", r"\1...\2", line)
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"


def counted(count: int, one: str, many: str) -> str:
    """A number with its noun: `counted(1, "person", "people")` is "1 person"."""
    return f"{count} {one if count == 1 else many}"


def check_whole(name: str, value: object, least: int = 1) -> int:
    """`value` as a whole number. Raises `HrkitError` that names the setting if it is none, or less than `least`."""
    if not isinstance(value, numbers.Integral) or value < least:
        raise HrkitError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def check_number(name: str, value: object, most: float = math.inf) -> float:
    """`value` as a finite number. Raises `HrkitError` that names the setting if it is not from 0 to `most`."""
    try:
        number = float(value) if isinstance(value, numbers.Real) else math.nan
    except OverflowError:  # an integer that is too large
        number = math.inf
    if not 0 <= number <= most or number == math.inf:
        wanted = "a number of at least 0" if most == math.inf else f"from 0 to {most:g}"
        raise HrkitError(f"{name} must be {wanted}, not {value!r}")
    return number


def installed(
    package: str, what: str, install: str | None = None, error: type[HrkitError] = HrkitError
) -> Any:  # Any: a module
    """A package that hrkit does without. Raises `error` that `what` needs it, and how to `install` it."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise error(f"{what} needs {package}: pip install '{install or package}'") from None


def plugin_hint(distribution: str) -> str:
    """A plugin of hrkit and how to install it, for a message."""
    return f"{distribution} (in a clone: pip install ./plugins/{distribution})"
