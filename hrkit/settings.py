"""Fields of config classes: default value, help text and range."""

from __future__ import annotations

import math
from typing import Any

from attrs import Attribute, field, frozen

from hrkit.errors import HrkitError


@frozen
class Range:
    """The numbers from `low` to `high`; with `above` or `below`, without that end. A validator of attrs fields.

    None and infinite ends: `Range(0)` is every finite number from 0. In a list or tuple each value is checked.

    >>> str(Range(0, 1, below=True))
    'from 0 to below 1'
    """

    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, (int, float)) or not -math.inf < value < math.inf:
            return False
        if isinstance(value, int) and abs(value) >= 2**63:  # the integers of torch and NumPy
            return False
        low = self.low is None or (value > self.low if self.above else value >= self.low)
        return low and (self.high is None or (value < self.high if self.below else value <= self.high))

    def __str__(self) -> str:
        low = "" if self.low is None else f"above {self.low:g}" if self.above else f"from {self.low:g}"
        high = "" if self.high is None else f"to below {self.high:g}" if self.below else f"to {self.high:g}"
        return " ".join(part for part in (low, high) if part) or "any number"

    def __call__(self, instance: object, attribute: Attribute[Any], value: Any) -> None:
        """Raises `HrkitError` with the name and value of a field that is out of range. None is always allowed."""
        values = value if isinstance(value, (list, tuple)) else (value,)
        if not all(one is None or one in self for one in values):
            raise HrkitError(f"{attribute.name} is {value!r}; it must be {self}")


SIDE = Range(1, 8192)
"""Sides of a network's input, px. Larger ones fit into no memory."""

SIGMA = Range(1e-3, 1e3)
"""Deviations of training targets, in cells of the network's output."""


def setting(default: Any, text: str, within: Range | None = None) -> Any:  # Any, as attrs' own `field`
    """A config field with its default value, or a class that creates it, its help text, and the range of its values."""
    metadata = {"help": text, "range": within}
    if isinstance(default, type):
        return field(factory=default, metadata=metadata)
    return field(default=default, metadata=metadata, validator=within)
