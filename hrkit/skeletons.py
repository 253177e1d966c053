"""Skeletons: those that hrkit knows by name (skeletons.toml), those of a file, and pairs of left and right by name."""

from __future__ import annotations

import functools
import itertools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrkit.errors import DatasetError, HrkitError, UnknownNameError
from hrkit.files import FilePath, read_toml
from hrkit.structures import Skeleton

logger: logging.Logger = logging.getLogger(__name__)

DEFAULT_SIGMA = 0.05
"""The spread in OKS of a joint for which nobody has published any."""
KEYS = {"name", "keypoints", "flip_pairs", "edges", "sigmas"}
"""What a file of `read_skeleton` says of its joints."""

_TABLES: dict[str, dict[str, str]] = read_toml(Path(__file__).with_suffix(".toml"))
_SIDES = {"left": 0, "l": 0, "right": 1, "r": 1}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # the words of LEFT_EYE, left eye, leftEye, LEye and eyeL
_NUMBERED = re.compile(r"(.*?)(\d+)\.\.(\d+)")

NAMES = tuple(_TABLES)
"""The names that `get_skeleton` knows."""


@functools.cache
def get_skeleton(name: str) -> Skeleton:
    """The skeleton `name`, such as "coco17", "crowdpose" or "coco_wholebody".

    Raises `UnknownNameError` with the choices.
    """
    if name not in _TABLES:
        raise UnknownNameError("skeleton", name, NAMES)
    table = _TABLES[name]
    table = _TABLES[table.get("like", name)]
    joints = [joint for part in table["joints"].split(",") for joint in _numbered(part.strip())]
    listed = [tuple(joints[place] for place in pair) for pair in _chains(table.get("mirrored", ""))]
    sigmas = [float(sigma) for sigma in table.get("sigmas", str(DEFAULT_SIGMA)).split()]
    return Skeleton(
        name,
        joints,
        [(joints[a], joints[b]) for chain in _chains(table.get("limbs", "")) for a, b in itertools.pairwise(chain)],
        [*pairs_by_name(joints)[0], *listed],
        sigmas * (len(joints) if len(sigmas) == 1 else 1),
    )


def _numbered(name: str) -> Iterator[str]:
    """The names that "kpt-0..3" stands for; any other name stands for itself."""
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None:
        yield name
    else:
        yield from (f"{numbered[1]}{number}" for number in range(int(numbered[2]), int(numbered[3]) + 1))


def _chains(text: str) -> list[list[int]]:
    return [[int(place) for place in chain.split("-")] for chain in text.split()]


def find_skeleton(given: Skeleton | FilePath) -> Skeleton:
    """A skeleton, the known one of a name, or the one of a TOML file, as `read_skeleton` reads it.

    Raises `UnknownNameError` for an unknown name, `DatasetError` for a file.
    """
    if isinstance(given, Skeleton):
        return given
    is_file = not isinstance(given, str) or given.lower().endswith(".toml")
    return read_skeleton(given) if is_file else get_skeleton(str(given))


def read_skeleton(path: FilePath) -> Skeleton:
    """The skeleton of a TOML file with the joints of a dataset (see `hrkit.datasets.custom`).

    Keys of the file: `name`, `keypoints` (names), `flip_pairs` and `edges` (pairs of names), `sigmas` (one per joint,
    or one for all). Without `flip_pairs`, the names tell them. Raises `DatasetError` with the file and the key.
    """
    return skeleton_of_table(read_toml(path, DatasetError), Path(path))


def skeleton_of_table(content: Mapping[str, Any], file: Path) -> Skeleton:
    """The skeleton of the content of `file`, as `read_skeleton`."""
    unknown = [key for key, value in content.items() if key not in KEYS and not isinstance(value, dict)]
    if unknown:
        raise DatasetError(f"{file}: unknown key {unknown[0]!r}; known keys: {', '.join(sorted(KEYS))}")
    names, sigmas = content.get("keypoints"), content.get("sigmas", DEFAULT_SIGMA)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DatasetError(f"{file}: keypoints must be a list of names")
    for key in ("flip_pairs", "edges"):
        listed = content.get(key, [])
        if not isinstance(listed, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in listed):
            raise DatasetError(f"{file}: {key} is {listed!r}; it must be a list of pairs of names")
    pairs = content.get("flip_pairs")
    try:
        return Skeleton(
            str(content.get("name", file.stem)),
            names,
            content.get("edges", ()),
            told_pairs(names, file) if pairs is None else pairs,
            sigmas if isinstance(sigmas, list) else [sigmas] * len(names),
        )
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{file}: {error}") from None


def pairs_by_name(names: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """(left, right) pairs that the names tell, and the names of one side that pair with nothing.

    Upper and lower case, the place of the side and what separates it make no difference: `Left_Wing`, `LEFT_EYE`,
    `l_eye`, `eye_l`, `eyeL` and `LEye` all name a left side.

    >>> pairs_by_name(["beak", "eyeL", "eyeR", "left_wing"])
    ([('eyeL', 'eyeR')], ['left_wing'])
    """
    sides: dict[str, tuple[list[str], list[str]]] = {}
    for name in names:
        side, rest = _side_and_rest(name)
        if side is not None:
            sides.setdefault(rest, ([], []))[side].append(name)
    pairs = [(left[0], right[0]) for left, right in sides.values() if len(left) == len(right) == 1]
    pairs += _written_together(names, {name for pair in pairs for name in pair})
    paired = {name for pair in pairs for name in pair}
    return pairs, [name for group in sides.values() for name in itertools.chain(*group) if name not in paired]


def _side_and_rest(name: str) -> tuple[int | None, str]:
    """0 for a name of the left, 1 for one of the right, else None; and the letters and digits of the rest."""
    found = [word for word in _WORD.finditer(name) if word[0].lower() in _SIDES]
    start, end = found[0].span() if len({_SIDES[word[0].lower()] for word in found}) == 1 else (0, 0)
    rest = re.sub(r"[\W_]+", "", name[:start] + name[end:]).lower()
    if end and (rest or end - start > 1):  # a joint may well be called l or r
        return _SIDES[found[0][0].lower()], rest
    return None, re.sub(r"[\W_]+", "", name).lower()


def same_joints(names: Sequence[str], others: Sequence[str]) -> NDArray[np.int64]:
    """(K,) the place in `others` of each of the K `names`, -1 if it is not there.

    Case and style make no difference: `left_eye`, `LEFT_EYE` and `eyeL` are the same joint.
    """
    places = {name: place for place, name in enumerate(others)}
    styles = [_side_and_rest(name) for name in others]
    unique = {style: place for place, style in enumerate(styles) if styles.count(style) == 1}
    return np.array([places.get(name, unique.get(_side_and_rest(name), -1)) for name in names], np.int64)


def _written_together(names: Sequence[str], paired: set[str]) -> Iterator[tuple[str, str]]:
    """Pairs such as lefteye and righteye, or lwrist and rwrist, in which no word is a side by itself."""
    rest = {name.lower(): name for name in names if name not in paired}
    for low, name in list(rest.items()):
        mirrored = low.replace("left", "right") if "left" in low else f"r{low[1:]}"
        if ("left" in low or (low.startswith("l") and len(low) > 2)) and mirrored in rest:
            yield name, rest.pop(mirrored)


def told_pairs(names: Sequence[str], where: object) -> list[tuple[str, str]]:
    """The pairs of `pairs_by_name`; warns of names that pair with nothing. `where` is the file that has the names."""
    pairs, alone = pairs_by_name(names)
    if alone:
        logger.warning("%s: no other side of %s; they keep their places in mirrored pictures", where, ", ".join(alone))
    return pairs


def known_skeleton(names: Sequence[str]) -> Skeleton | None:
    """The first known skeleton with exactly these joints in this order, if there is one."""
    wanted = tuple(names)
    return next((known for known in map(get_skeleton, NAMES) if known.keypoint_names == wanted), None)


def unnamed_skeleton(num_joints: int) -> Skeleton:
    """Joints called joint_0, joint_1, ..., of which nothing is known."""
    names = [f"joint_{i}" for i in range(num_joints)]
    return Skeleton(f"joints{num_joints}", names, (), (), [DEFAULT_SIGMA] * num_joints)


def check_named(skeleton: Skeleton) -> None:
    """Raises `HrkitError` if nothing names the joints: a flip test would average those of the left and the right."""
    if len(skeleton) > 1 and skeleton == unnamed_skeleton(len(skeleton)):
        problem = f"nothing names the {len(skeleton)} joints, so the flip test would average left with right"
        raise HrkitError(f"{problem}; name them (skeleton=, --skeleton NAME|FILE.toml), or leave the flip test out")


def check_flip_test(skeleton: Skeleton) -> None:
    """Raises as `check_named`, and warns if no joints of several change places in a mirrored picture."""
    check_named(skeleton)
    if len(skeleton) > 1 and not skeleton.flip_pairs:
        problem = f"{skeleton.name} has no pairs of left and right"
        logger.warning("%s: in mirrored pictures its joints keep their places", problem)


def skeleton_of(num_joints: int) -> Skeleton:
    """The default skeleton for a number of joints: COCO for 17, MPII for 16, LSP for 14, else unnamed joints."""
    defaults = (skeleton for skeleton in (coco17, mpii16, lsp14) if len(skeleton) == num_joints)
    return next(defaults, None) or unnamed_skeleton(num_joints)


def fitting_skeletons(num_joints: int) -> list[str]:
    """The names of the known skeletons with this number of joints."""
    return [name for name in NAMES if len(get_skeleton(name)) == num_joints]


coco17: Skeleton = get_skeleton("coco17")
mpii16: Skeleton = get_skeleton("mpii16")
lsp14: Skeleton = get_skeleton("lsp14")
