"""Which pictures and videos are meant: folders, globs and lists, each file once, named from the folder they share."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen

from hrkit.errors import HrkitError, one_line
from hrkit.images import ENDINGS as PICTURES

VIDEOS = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv"),
    *(".ts", ".mts", ".m2ts", ".3gp"),
)
"""Endings that count as videos in a folder."""


@frozen
class Inputs:
    """Files under one folder."""

    root: str
    """Absolute."""
    names: Sequence[str]
    """Relative to it, parts joined by `/`; each once."""


def is_picture(name: str) -> bool:
    """Whether an input is a picture, by its ending; any other is a video."""
    return os.path.splitext(name)[1].lower() in PICTURES


def in_batches(names: Iterable[str], size: int) -> Iterator[list[str]]:
    """Names in order: at most `size` pictures, or one video, at a time."""
    batch: list[str] = []
    for name in names:
        if batch and not (is_picture(name) and is_picture(batch[0]) and len(batch) < size):
            yield batch
            batch = []
        batch.append(name)
    if batch:
        yield batch


def find_inputs(sources: Iterable[str | os.PathLike[str]]) -> Inputs:
    """The pictures and videos that files, folders and globs stand for.

    Of a folder, with all below it, and of a glob that ends in `*`, files of other endings and hidden ones are left out;
    what is named is taken as it is, there or not. The root is the folder, that before the first sign of a glob, or that
    of a file; of several, what they have in common. So a name stays when files are added to a folder. Links to folders
    are followed, but no folder is gone through twice.

    Raises `HrkitError` where nothing fits, and for an empty name.
    """
    roots: set[str] = set()
    paths: dict[str, None] = {}
    for source in sources:
        root, found = _find(os.fspath(source))
        if not found:
            raise HrkitError(f"{source}: no pictures or videos there")
        roots.add(root)
        paths.update(dict.fromkeys(found))
    if not paths:
        raise HrkitError("there are no inputs")
    try:
        root = os.path.commonpath(roots)
    except ValueError:  # on Windows
        raise HrkitError("the inputs lie on several drives; take those of one at a time") from None
    start = len(os.path.join(root, ""))
    return Inputs(root, [path[start:].replace(os.sep, "/") for path in paths])


def read_list(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a text file, without the empty ones. Raises `HrkitError` if it cannot be read."""
    try:
        # names may be any bytes; editors of Windows put a mark in front
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
            return [line.rstrip("\n") for line in lines if line.strip()]
    except OSError as error:
        raise HrkitError(f"{path}: cannot be read ({one_line(error)})") from None


def _find(source: str) -> tuple[str, list[str]]:
    """The root of a source and its files, all absolute."""
    if not source:
        raise HrkitError("the name of an input is empty")
    path = os.path.abspath(source)
    if os.path.isdir(path):
        return path, list(_below(path))
    if os.path.exists(path) or not glob.has_magic(source):
        return os.path.dirname(path), [path]
    pattern = os.path.normpath(source)
    plain = pattern
    while glob.has_magic(plain):
        plain = os.path.dirname(plain)
    root = os.path.abspath(plain)  # of which the signs are part of names
    pattern = pattern[len(plain) :].lstrip(os.sep)
    found: list[str] = []
    for fitting in sorted(os.path.join(root, name) for name in glob.iglob(pattern, root_dir=root, recursive=True)):
        if os.path.isdir(fitting):
            found += _below(fitting)
        elif not source.endswith("*") or _counts(os.path.basename(fitting)):
            found.append(fitting)
    return root, found


def _below(folder: str) -> Iterator[str]:
    """Its files that count. Links come after the rest, so that what has a name without them keeps it."""
    tops = [folder]
    seen: set[str] = set()
    for top in tops:
        for parent, folders, files in os.walk(top):
            real = os.path.realpath(parent)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            tops += filter(os.path.islink, (os.path.join(parent, name) for name in folders))  # not gone into here
            yield from (os.path.join(parent, name) for name in sorted(files) if _counts(name))


def _counts(name: str) -> bool:
    return not name.startswith(".") and (is_picture(name) or os.path.splitext(name)[1].lower() in VIDEOS)
