"""What hrkit raises when the caller can do something about it.

Every message is one line: what was wrong, and what to do. All of them are `ValueError`s, so that code which does not
know hrkit can still catch them; the command line prints the line and exits with 2.
"""

import difflib
from collections.abc import Iterable


class HrkitError(ValueError):
    """Base of all of hrkit's own errors."""


class ImageError(HrkitError):
    """A picture cannot be read, or an array is no picture."""


class VideoError(HrkitError):
    """A camera, stream or video cannot be opened, read to its end or written."""


class BoxError(HrkitError):
    """Boxes are no boxes: NaN, inverted, without area, or of the wrong shape."""


class WeightsError(HrkitError):
    """A weights file cannot be read, or does not fit the network."""


class DownloadError(HrkitError):
    """A file could not be fetched, or is not what was published."""


class PluginError(HrkitError):
    """A plugin breaks the contract: a name taken twice, an unknown hook, a part of the wrong kind."""


class UnknownNameError(HrkitError, LookupError):
    """A name that nobody registered.

    Close ones are offered of `names` (None: of `choices`); patterns, which are no names, are only among the choices.
    `hint` is what else may help.
    """

    def __init__(
        self, kind: str, name: str, choices: Iterable[str], *, names: Iterable[str] | None = None, hint: str = ""
    ) -> None:
        choices = sorted(set(choices))
        close = close_names(name, choices if names is None else names)
        parts = (f"did you mean {' or '.join(close)}? " if close else "", f"{hint}; " if hint else "")
        super().__init__(f"unknown {kind} {name!r}; {''.join(parts)}choices: {', '.join(choices) or 'none'}")


def close_names(name: str, names: Iterable[str]) -> list[str]:
    """At most three of `names` that look like `name`, the closest first; patterns are left out."""
    return difflib.get_close_matches(name, sorted(n for n in names if "*" not in n), n=3)


def one_line(error: BaseException) -> str:
    """What an error says, in one line; its type where it says nothing."""
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip()) or type(error).__name__


def plugin_hint(distribution: str) -> str:
    """One of hrkit's own plugins, and how to install it, to stand in a message."""
    return f"{distribution} (in a clone: pip install ./plugins/{distribution})"


class DatasetError(HrkitError):
    """A dataset is missing, damaged or breaks its own rules; says the file, the id and how many."""
