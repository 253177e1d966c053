"""Rows of files that people bring: which fields they have, and what each may hold.

A row class lists the fields of a row with a check for each. `read_records` makes its instances from plain rows, and
says which rows are faulty by file, id and field. null, NaN and a missing field are the same.
"""

from __future__ import annotations

import functools
import logging
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from hrkit.errors import DatasetError, HrkitError
from hrkit.files import FilePath
from hrkit.settings import Range

logger: logging.Logger = logging.getLogger("hrkit")

Id = int | str
Floats = NDArray[np.float64]
Check = Callable[[Any], Any]  # from a value of a json to that of a field; raises `ValueError` with what is wrong
Record = TypeVar("Record")

PIXELS = Range(-1e6, 1e6)
AREA = Range(0, 1e10)
"""The areas that COCO's evaluation knows."""
NAMED = 3
"""The number of faults that a message names."""


def read_records(
    kind: type[Record],
    rows: Sequence[Any],
    file: FilePath,
    what: str,
    judge: Callable[[Record], tuple[str, str] | None] = lambda record: None,
    *,
    skip_bad: bool | None = None,
    error: type[HrkitError] = DatasetError,
) -> dict[str, Record]:
    """The rows without faults, by label: "id 7" if `kind` has ids, which must be unique, else "row 7".

    `judge` gives the field and the problem of a record that contradicts something else. Raises `error` with the first
    faults and the number of faulty rows, of which `what` is the plural. With `skip_bad` they are left out with a
    warning; None means that no user can ask for that.
    """
    fields = attrs.fields(kind)  # type: ignore[arg-type]
    columns = [(one.name, one.metadata["check"], one.default) for one in fields if "check" in one.metadata]
    has_ids = columns[0][0] == "id"
    found: dict[str, Record] = {}
    faults: list[str] = []
    for place, row in enumerate(rows):
        label = f"id {shown(row['id'])}" if has_ids and isinstance(row, Mapping) and row.get("id") is not None else ""
        label, name = label or f"row {place}", "fields"
        try:
            if not isinstance(row, Mapping):
                raise ValueError(f"{reprlib.repr(row)} is no object")
            values = {}
            for name, check, default in columns:
                value = row.get(name)
                if value is not None and value == value:
                    values[name] = check(value)
                elif default is not attrs.NOTHING:
                    values[name] = default
                else:
                    raise ValueError("is missing" if name not in row else "is null" if value is None else "is NaN")
            record = kind(**values)
            key = f"id {values['id']}" if has_ids else label
            name, problem = ("id", "is there twice") if key in found else judge(record) or ("", "")
            if problem:
                raise ValueError(problem)
            found[key] = record
        except ValueError as problem:
            faults.append(f"{label}, {name}: {problem}")
    if faults:
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        told = f"{file}: {len(faults)} of {len(rows)} {what} are faulty: {'; '.join(faults[:NAMED])}{more}"
        _refuse(told, skip_bad, error)
    return found


def _refuse(told: str, skip_bad: bool | None, error: type[HrkitError]) -> None:
    """Raises `error` with the faults that are told, or warns of them with `skip_bad`."""
    if not skip_bad:
        raise error(told if skip_bad is None else f"{told}. Correct them, or leave them out with --skip-bad")
    logger.warning("%s. They are left out", told)


def shown(value: object) -> str:
    """A value as a message shows it: short and in one line."""
    text = str(value)
    return text if len(text) < 200 and text.isprintable() else reprlib.repr(value)


def column(check: Check, default: Any = attrs.NOTHING) -> Any:  # Any, as attrs' own `field`
    """A field of a row class. A value that is missing becomes `default`, or is a fault if there is none."""
    return field(default=default, metadata={"check": check})


def identity(value: Any) -> Id:
    """A number or a text. Ids are compared as texts, so 7 and "7" are the same."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise ValueError(f"{reprlib.repr(value)} is no id")
    return value if isinstance(value, str) or abs(value) < 2**63 else str(value)


def text(value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{reprlib.repr(value)} is no text")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Texts, each once."""
    if not isinstance(value, list):
        raise ValueError(f"{reprlib.repr(value)} is no list of names")
    twice = [one for place, one in enumerate(map(text, value)) if one in value[:place]]
    if twice:
        raise ValueError(f"{twice[0]!r} is there twice")
    return tuple(value)


def flag(value: Any) -> bool:
    """0 or 1, true or false."""
    if value not in (0, 1, "0", "1"):
        raise ValueError(f"{reprlib.repr(value)} is neither 0 nor 1")
    return bool(int(value))


def number(within: Range = PIXELS) -> Check:
    """A number in a range; its digits as a text are a number too."""

    def check(value: Any) -> float:
        try:
            converted = float("nan" if isinstance(value, bool) else value)
        except (TypeError, ValueError, OverflowError):
            converted = float("nan")
        if converted not in within:
            wanted = "" if converted == converted else "no number, "
            raise ValueError(f"{reprlib.repr(value)} is {wanted}not {within}")
        return converted

    return check


def numbers(*shape: int, within: Range | None = PIXELS) -> Check:
    """Numbers in lists of this shape. Without a range they may also be null or infinite."""

    def check(value: Any) -> Floats:
        try:
            array = np.array(value, np.float64)
        except (TypeError, ValueError, OverflowError):
            array = np.zeros(())
        if array.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape, array.shape, strict=True)):
            wanted = "x".join("" if size == -1 else str(size) for size in shape)
            raise ValueError(f"{reprlib.repr(value)} is no list of {wanted} numbers".replace("  ", " "))
        if within is not None and array.size and not (array.min() in within and array.max() in within):
            raise ValueError(f"{reprlib.repr(value)} has a value that is not {within}")
        return array

    return check


_TWO, _FOUR = numbers(2), numbers(4)
_FLAT, _POLYGON = numbers(-1, within=None), numbers(-1)
_PAIRS = numbers(-1, 2, within=Range(0, 1e6))


def box(value: Any) -> Floats | None:
    """x, y, width, height; None for an empty list."""
    if isinstance(value, list) and not value:
        return None
    xywh: Floats = _FOUR(value)
    if xywh[2:].min() < 0:
        raise ValueError(f"{reprlib.repr(value)} has a width or height below 0")
    return xywh


def triples(value: Any) -> Floats:
    """(K,3) x, y and flag of each joint. Coordinates of joints without a label may be null."""
    flat: Floats = _FLAT(value)
    if len(flat) % 3:
        raise ValueError(f"has {len(flat)} numbers, not 3 per joint")
    joints = flat.reshape(-1, 3)
    if not (np.abs(flat) <= PIXELS.high).all():  # also for NaN
        joints[np.isnan(joints).all(1)] = 0
        lost = ~(np.abs(joints[:, :2]) <= PIXELS.high).all(1)
        if (lost & (joints[:, 2] > 0)).any():
            raise ValueError(f"joint {(lost & (joints[:, 2] > 0)).argmax() + 1} is labelled, but is no point")
        joints[lost, :2] = 0
    wrong = ~((joints[:, 2] >= 0) & (joints[:, 2] <= 2))
    if wrong.any():
        raise ValueError(f"joint {wrong.argmax() + 1} has the flag {joints[wrong.argmax(), 2]:g}, not 0, 1 or 2")
    return joints


def region(value: Any) -> Any:  # Any: as COCO has it
    """Polygons, or run lengths with their size; None if there are none."""
    if isinstance(value, Mapping):
        _TWO(value.get("size"))
        if not isinstance(value.get("counts"), (str, list)):
            raise ValueError("has no counts")
    elif not isinstance(value, list):
        raise ValueError(f"{reprlib.repr(value)} is no region")
    else:
        value = [polygon for polygon in value if len(_POLYGON(polygon)) >= 6]
    return value or None


def edges(value: Any) -> tuple[tuple[int, int], ...]:
    """Pairs of numbers of joints."""
    pairs = _PAIRS(value) if value else np.zeros((0, 2))
    return tuple((int(a), int(b)) for a, b in pairs)


def _other_joints(keypoints: Floats, joints: int) -> tuple[str, str]:
    return "keypoints", f"has {keypoints.size} numbers, not 3 for each of {joints} joints"


def _unknown(
    image_id: Id, images: Collection[str], category_id: Id, categories: Collection[str]
) -> tuple[str, str] | None:
    if str(image_id) not in images:
        return "image_id", f"{image_id!r} is the id of no picture"
    unknown = category_id != "" and str(category_id) not in categories
    return ("category_id", f"{category_id!r} is no known category") if unknown else None


@frozen
class Listed:
    """A picture or category of which only the id matters."""

    id: Id = column(identity)


@frozen
class Picture:
    """A row of COCO's `images`."""

    id: Id = column(identity)
    file_name: str = column(text)
    width: float = column(number(Range(1, 1e6)), 0.0)
    height: float = column(number(Range(1, 1e6)), 0.0)
    """0 if it is not given."""
    path: str = ""
    """The file, once it is found; no column of the json."""


@frozen
class Category:
    """A row of COCO's `categories`."""

    id: Id = column(identity)
    name: str = column(text, "")
    keypoints: tuple[str, ...] = column(texts, ())
    skeleton: tuple[tuple[int, int], ...] = column(edges, ())

    def limbs(self) -> list[tuple[str, str]]:
        """The pairs of `skeleton` by name. Its numbers count from 1, or from 0 if there is a 0."""
        first = 0 if any(0 in pair for pair in self.skeleton) else 1
        last = first + len(self.keypoints) - 1
        inside = [pair for pair in self.skeleton if max(pair) <= last]
        if len(inside) < len(self.skeleton):
            logger.warning(
                "category %s: %d of %d limbs name joints that are not there, and are not drawn",
                *(self.name or self.id, len(self.skeleton) - len(inside), len(self.skeleton)),
            )
        return [(self.keypoints[a - first], self.keypoints[b - first]) for a, b in inside]


@frozen(eq=False, slots=False)
class Annotation:
    """A row of COCO's `annotations`: a person (or animal) or a crowd."""

    id: Id = column(identity)
    image_id: Id = column(identity)
    category_id: Id = column(identity, "")
    """Empty if it is not given."""
    iscrowd: bool = column(flag, False)
    bbox: Floats | None = column(box, None)
    area: float = column(number(AREA), 0.0)
    keypoints: Floats = column(triples, np.zeros((0, 3)))
    segmentation: Any = column(region, None)

    @functools.cached_property
    def labelled(self) -> bool:
        """Whether it is one person with at least one labelled joint."""
        return not self.iscrowd and bool((self.keypoints[:, 2] > 0).any())

    @property
    def filled_area(self) -> float:
        """The area, or that of the box if there is none."""
        return self.area or (0.0 if self.bbox is None else float(self.bbox[2] * self.bbox[3]))

    def problem(self, joints: int, images: Collection[str], categories: Collection[str]) -> tuple[str, str] | None:
        """The field and the problem of an annotation that contradicts the rest of its file.

        `joints` is the number of joints of a person; `images` and `categories` are the known ids, as texts.
        """
        if self.category_id == "" and len(categories) != 1:
            return "category_id", "is missing"
        if len(self.keypoints) not in (0, joints):
            return _other_joints(self.keypoints, joints)
        if self.labelled and self.bbox is None:
            return "bbox", "is missing, though joints are labelled"
        if self.labelled and 0 < self.area < 1:
            return "area", f"{self.area:g} is less than a pixel"
        return _unknown(self.image_id, images, self.category_id, categories)


@frozen(eq=False)
class Detection:
    """A row of a file of detections."""

    image_id: Id = column(identity)
    category_id: Id = column(identity)
    bbox: Floats = column(_FOUR)
    score: float = column(number())


@frozen(eq=False)
class Result:
    """A row of COCO's keypoint results."""

    image_id: Id = column(identity)
    category_id: Id = column(identity)
    keypoints: Floats = column(numbers(-1))
    score: float = column(number())

    def problem(self, joints: int, images: Collection[str], categories: Collection[str]) -> tuple[str, str] | None:
        """As that of an annotation."""
        if self.keypoints.size != 3 * joints:
            return _other_joints(self.keypoints, joints)
        return _unknown(self.image_id, images, self.category_id, categories)


@frozen(eq=False)
class MpiiPerson:
    """A row of MPII's json, as the official HRNet code has it. Coordinates count from 1."""

    image: str = column(text)
    center: Floats = column(numbers(2))
    scale: float = column(number(Range(1e-3, 1e4)))
    joints: Floats | None = column(numbers(16, 2, within=None), None)
    joints_vis: Floats | None = column(numbers(16, within=Range(0, 1)), None)

    def problem(self) -> tuple[str, str] | None:
        """The field and the problem of joints that contradict their flags."""
        if self.joints is None or self.joints_vis is None:
            missing = "joints" if self.joints is None else "joints_vis"
            return None if self.joints is self.joints_vis else (missing, "is missing")
        lost = (self.joints_vis > 0) & ~(np.abs(self.joints) <= 1e6).all(1)
        return ("joints", f"joint {lost.argmax() + 1} is labelled, but is no point") if lost.any() else None
