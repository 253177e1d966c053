"""Hostile input of every kind, from a seed: nothing is executed, nothing is written elsewhere, and errors are hrkit's.

`KINDS` in kinds.py is the table. A kind makes good files, damages a copy of one, and reads it as hrkit does. `attack`
runs one kind. Run this file for a long campaign: `python tests/hostile/campaign.py --count 10000 --seed 1 [KIND...]`.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import json
import math
import os
import random
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import field, frozen

from hrkit.errors import HrkitError, one_line

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "fixtures")]

from watching import Watch, has_nan

Random = random.Random

# damage

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**31, -(2**63), 10**400, 0.5, -0.0, 1e308, math.nan, math.inf, -math.inf),
    *("", " ", "none", "nan", "-1", "\0", "\n\x1b[31m", "../../outside/x", "/etc/hostname", "é" * 300, "x" * 5000),
    *([], [[]], [None], {}, {"": []}, [1, "2", None], "__import__('os').system('x')", "{0.__class__}", "%s", "~", "*"),
]
"""What is put in the place of a value."""

NATIVE = ("onnx", "openvino")
"""Kinds that others' native code reads. What it does to its process must not reach tests."""

MEMORY = 5 * 10**9
"""Bytes of addresses that a process with such a kind may take."""

TOKENS = [
    *("nan", "inf", "-1", "0", "1e999", "9" * 400, "-9223372036854775809", "0x1p3", "1_000", "true", "None", "'", '"'),
    *("[", "]", "[[", "{", "=", "#", ",", "\0", "\r", "\x1b[31m", "../../outside/x", "é", "x" * 5000, "[" * 500, ""),
]
"""What is put in the place of a word of a text."""


def damage_bytes(content: bytes, rng: Random) -> bytes:
    """Flips, cuts, repeats, inserts and overwrites."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 8, 64, 1000))
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = rng.randbytes(1)
            case 1:
                del data[at:]
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
            case 4:
                data[at : at + length] = rng.choice((b"\0", b"\xff", b"\x80", b"\x7f")) * length
            case 5:
                data[at:at] = rng.randbytes(length)
    return bytes(data)


def damage_text(content: bytes, rng: Random) -> bytes:
    """Replaces words and lines, and seldom bytes."""
    text = content.decode()
    for _ in range(rng.choice((1, 1, 2, 5))):
        words = list(re.finditer(r"-?[\w.]+|[^\w\s]", text))
        lines = text.split("\n")
        if words and rng.random() < 0.7:
            word = rng.choice(words)
            text = text[: word.start()] + rng.choice(TOKENS) + text[word.end() :]
        else:
            at = rng.randrange(len(lines))
            lines[at : at + 1] = rng.choice(([], [lines[at]] * 2, [lines[-1 - at]], [lines[at] + rng.choice(TOKENS)]))
            text = "\n".join(lines)
    return damage_bytes(text.encode(), rng) if rng.random() < 0.15 else text.encode()


def _other(rng: Random) -> Any:
    return copy.deepcopy(rng.choice(VALUES))  # lists among them are changed later


def damage_value(value: Any, rng: Random) -> Any:
    """Replaces, removes, adds and moves values in a tree of JSON."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 4))):
        places: list[tuple[Any, Any]] = []
        todo = [value]
        while todo:
            node = todo.pop()
            keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
            places += [(node, key) for key in keys]
            todo += [node[key] for key in keys]
        if not places or rng.random() < 0.02:
            return _other(rng)
        node, key = rng.choice(places)
        match rng.randrange(6):
            case 0 if isinstance(node, dict):
                del node[key]
            case 1 if isinstance(node, dict):
                node[rng.choice(("", "x" * 5000, "id", "name"))] = node[key]
            case 2 if isinstance(node, list):
                node.insert(rng.randrange(len(node) + 1), _other(rng))
            case 3 if isinstance(node, list):
                node.extend(node[: rng.randrange(3)])
            case 4:
                other, key_of_other = rng.choice(places)
                node[key] = json.loads(json.dumps(other[key_of_other]))
            case _:
                node[key] = _other(rng)
    return value


def damage_json(content: bytes, rng: Random) -> bytes:
    """As `damage_value`, and seldom as text."""
    if rng.random() < 0.15:
        return damage_text(content, rng)
    return json.dumps(damage_value(json.loads(content), rng)).encode()


def damage_lines(content: bytes, rng: Random) -> bytes:
    """Lines of JSON: one is damaged, or lines are swapped, doubled or missing."""
    lines = content.splitlines(keepends=True)
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            lines[at], lines[other] = lines[other], lines[at]
        case 1:
            lines.insert(at, lines[other])
        case 2:
            del lines[at]
        case 3:
            return damage_bytes(content, rng)
        case _:
            lines[at] = damage_json(lines[at], rng) + b"\n"
    return b"".join(lines)


# kinds

Damage = Callable[[bytes, Random], bytes]


@frozen
class Kind:
    """A kind of input."""

    good: Callable[[Path, contextlib.ExitStack], dict[str, bytes]]
    """Writes what reading needs into a folder, and gives good content by name of file. The stack ends what it began."""
    damage: Damage
    read: Callable[[Path], Any]  # Any: whatever is read
    """Reads a damaged file, in the folder. Its result must hold no NaN."""
    allowed: tuple[type[BaseException], ...] = field(default=(HrkitError, OSError))


@frozen
class Outcome:
    """Counts of an attack."""

    inputs: int
    accepted: int
    """Read without an error."""
    faults: list[str]
    """Each with the kind, the seed and the last lines of a traceback."""
    seconds: float


def _limit_memory(name: str) -> None:
    """Leaves this process `MEMORY` bytes for a kind of `NATIVE`, where the system can.

    A damaged constant makes OpenVINO reserve all memory while it reads a model; with a limit it says so in a line.
    """
    if sys.platform == "linux":
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY if name in NATIVE else most, most))


def attack(name: str, kind: Kind, count: int, seed: int, folder: Path) -> Outcome:
    """Reads `count` damaged files. Each has its own seed, so a fault can be repeated alone."""
    inside, outside = folder / "inside", folder / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "x").write_text("untouched")
    accepted, faults, began = 0, [], time.monotonic()
    before = os.getcwd()
    os.chdir(inside)
    with contextlib.ExitStack() as stack:
        stack.callback(os.chdir, before)
        good = kind.good(inside, stack)
        watch = stack.enter_context(Watch(inside))
        for number in range(seed, seed + count):
            rng = Random(f"{name} {number}")
            file = rng.choice(sorted(good))
            path = inside / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(kind.damage(good[file], rng))
            watch.take()
            problem = _read(kind, path)
            accepted += problem is None
            found = [*watch.take(), *([problem] if problem else [])]
            if found:
                faults.append(f"{name}, seed {number}, {file}: {'; '.join(found)}")
            path.write_bytes(good[file])
    if [entry.name for entry in outside.iterdir()] != ["x"] or (outside / "x").read_text() != "untouched":
        faults.append(f"{name}: something was written outside the folder")
    return Outcome(count, accepted, faults, time.monotonic() - began)


def _read(kind: Kind, path: Path) -> str | None:
    """What is wrong with reading a file; an empty text if it was refused as it should be, None if it was read."""
    try:
        return "a result holds NaN" if has_nan(kind.read(path)) else None
    except kind.allowed as error:
        lines = (str(error) if isinstance(error, HrkitError) else one_line(error)).splitlines()  # as commands show it
        return "" if len(lines) == 1 and len(lines[0]) < 3000 else f"{len(lines)} lines: {str(error)[:200]!r}"
    except Exception:
        return "".join(traceback.format_exc().splitlines(keepends=True)[-6:])


def main() -> Iterator[str]:
    """The long campaign: prints a line per kind, and the faults."""
    from kinds import KINDS

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="All by default.")
    parser.add_argument("--count", type=int, default=10_000, help="Inputs of each kind.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    total: collections.Counter[str] = collections.Counter()
    for name in options.kinds or KINDS:
        _limit_memory(name)
        with tempfile.TemporaryDirectory() as folder:
            outcome = attack(name, KINDS[name], options.count, options.seed, Path(folder))
        total.update(inputs=outcome.inputs, accepted=outcome.accepted, faults=len(outcome.faults))
        counts = f"{outcome.inputs:6} inputs, {outcome.accepted:6} read, {len(outcome.faults):4} faults"
        yield f"{name:14} {counts}, {outcome.seconds:6.1f} s"
        yield from outcome.faults
    yield f"{'all':14} {total['inputs']:6} inputs, {total['accepted']:6} read, {total['faults']:4} faults"
    if total["faults"]:
        sys.exit(1)


if __name__ == "__main__":
    for line in main():
        print(line, flush=True)
