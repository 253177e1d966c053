"""The errors that hrkit raises for problems that a caller can solve.

Each message is one line: what is wrong, and what to do. All errors are `ValueError`s, so code that does not know hrkit
can catch them. The command line prints the message and exits with status 2.
"""

import difflib
from collections.abc import Iterable


class HrkitError(ValueError):
    """Base of all errors of hrkit."""


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

    The message lists `choices`, the closest of `names` (by default of the choices) and a `hint`. Patterns may be
    choices but are never suggested.
    """

    def __init__(
        self, kind: str, name: str, choices: Iterable[str], *, names: Iterable[str] | None = None, hint: str = ""
    ) -> None:
        choices = sorted(set(choices))
        close = close_names(name, choices if names is None else names)
        parts = (f"did you mean {' or '.join(close)}? " if close else "", f"{hint}; " if hint else "")
        super().__init__(f"unknown {kind} {name!r}; {''.join(parts)}choices: {', '.join(choices) or 'none'}")


def close_names(name: str, names: Iterable[str]) -> list[str]:
    """At most three of `names` that are similar to `name`, the closest first. Patterns are left out."""
    return difflib.get_close_matches(name, sorted(n for n in names if "*" not in n), n=3)


def one_line(error: BaseException) -> str:
    """The message of an error in one line, or its type if it has none."""
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip()) or type(error).__name__


def plugin_hint(distribution: str) -> str:
    """A plugin of hrkit and how to install it, for a message."""
    return f"{distribution} (in a clone: pip install ./plugins/{distribution})"
