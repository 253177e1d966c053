"""The contract of detectors, and the checks that they share."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hrkit.errors import HrkitError, UnknownNameError
from hrkit.structures import Detections, Size

PERSON = ("person",)
"""The classes that detectors find by default."""


@runtime_checkable
class Detector(Protocol):
    """Finds people in frames.

    A detector may also have `prepared(device, precision, runtime)`, which returns a copy of it made fast for a device,
    for example by `runtimes.prepare.prepare`. Without it, a detector that is a `torch.nn.Module` is copied to the
    pipeline's device, and any other object is used as it is.
    """

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """One `Detections` for each (H,W,3) uint8 BGR frame, in order.

        Boxes are in frame px and inside the frame, best score first. Frames may differ in size; none is modified.
        """
        ...


def check_fraction(name: str, value: float) -> float:
    """`value` as a float. Raises `HrkitError` that names the setting if it is not from 0 to 1."""
    if not isinstance(value, numbers.Real) or not 0 <= value <= 1:
        raise HrkitError(f"{name}={value!r}; it must be from 0 to 1")
    return float(value)


def square_side(input_size: int | Size, multiple: int) -> int:
    """The side of a square input, given as that or as (height, width). Raises `HrkitError` if it is no `multiple`."""
    sides = [input_size] * 2 if isinstance(input_size, int) else list(input_size)
    if len(sides) != 2 or sides[0] != sides[1]:
        raise HrkitError(f"input_size={input_size}; this detector takes squares, as {max(sides, default=multiple)}")
    if sides[0] < multiple or sides[0] % multiple:
        raise HrkitError(f"input_size={input_size}; it must be a multiple of {multiple}")
    return sides[0]


def check_counts(**counts: int) -> None:
    """Raises `HrkitError` that names the setting if a number is below 1."""
    for name, number in counts.items():
        if number < 1:
            raise HrkitError(f"{name}={number}; it must be at least 1")


def find_classes(classes: str | Sequence[str | int] | None, names: Sequence[str], count: int) -> list[int]:
    """The numbers of `classes` (names in any case, or numbers; None for all) in a network with `count` classes.

    `names` are those of its classes. The only class of a network is the person, whatever its name. Raises `HrkitError`
    for a class that the network does not have.
    """
    if classes is None:
        return list(range(count))
    chosen = [classes] if isinstance(classes, (str, int)) else list(classes)
    if not chosen:
        raise HrkitError("classes is empty; name at least one, or None for every class")
    if tuple(chosen) == PERSON and count == 1:
        return [0]
    lower, ids = [name.lower() for name in names], []
    for wanted in chosen:
        if not isinstance(wanted, str):
            if not 0 <= wanted < count:
                raise HrkitError(f"class {wanted} is not there: the network has {count}, counted from 0")
            ids.append(int(wanted))
        elif wanted.lower() in lower:
            ids.append(names.index(wanted) if wanted in names else lower.index(wanted.lower()))
        elif tuple(chosen) == PERSON:
            named = f"called {', '.join(names)}" if names else "without names"
            advice = "choose some (classes)" if names else "name them (class_names, --detector-names)"
            raise HrkitError(f"the network has {count} classes {named}, none of them a person; {advice}")
        else:
            raise UnknownNameError("class", wanted, names)
    return list(dict.fromkeys(ids))
