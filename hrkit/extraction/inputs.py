"""The pictures and videos that folders, globs and lists stand for: each file once, named relative to a common root."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from attrs import frozen

from hrkit.errors import HrkitError, one_line
from hrkit.files import FilePath, decoded, find_files
from hrkit.images import ENDINGS as PICTURES

VIDEOS = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv"),
    *(".ts", ".mts", ".m2ts", ".m2t", ".3gp", ".3g2", ".qt", ".f4v", ".vob", ".asf", ".mxf", ".dv", ".divx", ".mpe"),
    *(".m2v", ".mjpg", ".mjpeg", ".y4m", ".ivf", ".nut", ".rm", ".rmvb", ".wtv", ".tod", ".mod", ".dav"),
    *(".h264", ".264", ".h265", ".265", ".hevc"),
)
"""Endings that count as videos in a folder."""
LISTS = (".txt", ".csv")
"""Endings of files that list sources."""
COLUMNS = ("file", "path", "source", "image", "video", "url", "filename", "file_name")
"""Names of the column of a table that lists sources."""


@frozen
class Inputs:
    """Files under one folder."""

    root: str
    """Absolute path of the folder."""
    names: Sequence[str]
    """Paths relative to it, with `/` between parts; each once."""

    @property
    def paths(self) -> Iterator[str]:
        """The absolute paths."""
        return (os.path.join(self.root, name) for name in self.names)


def is_picture(name: str) -> bool:
    """Whether the ending is that of a picture. Every other input is a video."""
    return os.path.splitext(name)[1].lower() in PICTURES


def with_lists(sources: Iterable[str]) -> list[str]:
    """The sources, and in the place of a text file or table (`.txt`, `.csv`) those it lists. Raises as `read_list`."""
    lists = (read_list(name) if name.lower().endswith(LISTS) and os.path.isfile(name) else [name] for name in sources)
    return [name for names in lists for name in names]


def in_batches(names: Iterable[str], size: int) -> Iterator[list[str]]:
    """The names in order, in lists of at most `size` pictures or of one video."""
    batch: list[str] = []
    for name in names:
        if batch and not (is_picture(name) and is_picture(batch[0]) and len(batch) < size):
            yield batch
            batch = []
        batch.append(name)
    if batch:
        yield batch


def find_inputs(sources: Iterable[FilePath], *, photos: bool = False, deep: bool = True) -> Inputs:
    """The pictures and videos, or only the `photos`, that files, folders and globs stand for.

    With `deep` folders include everything below them. Files with other endings and hidden files are left out of folders
    and of globs that end in `*`. A file that is named is taken as it is, whether or not it exists. The root is the
    folder itself, a glob's fixed prefix, or a file's parent; for several sources it is their common parent. So a name
    stays the same when files are added to a folder. Links to folders are followed, but no folder is searched twice.

    One of several sources that stands for nothing is an input that cannot be read. Raises `HrkitError` if all of them
    stand for nothing, and for an empty name.
    """
    endings, what = (PICTURES, "pictures") if photos else ((*PICTURES, *VIDEOS), "pictures or videos")
    roots: set[str] = set()
    paths: dict[str, None] = {}
    nothing: list[str] = []
    for source in [os.fspath(source) for source in sources]:
        if not source:
            raise HrkitError("the name of an input is empty")
        root, found = find_files(source, endings, deep=deep)
        if not found:
            nothing.append(source)
            root, found = os.path.dirname(source), [source]  # the run goes on without it, and says so
        roots.add(os.path.abspath(root))
        paths.update(dict.fromkeys(map(os.path.abspath, found)))
    if paths.keys() == set(map(os.path.abspath, nothing)):
        raise HrkitError(f"{nothing[0]}: no {what} there" if nothing else "there are no inputs")
    try:
        root = os.path.commonpath(roots)
    except ValueError:  # on Windows
        raise HrkitError("the inputs are on several drives; extract those of one drive at a time") from None
    start = len(os.path.join(root, ""))
    return Inputs(root, [path[start:].replace(os.sep, "/") for path in paths])


def read_list(path: FilePath) -> list[str]:
    """The lines of a text file, in UTF-8 or UTF-16, without empty ones; of a `.csv` file the names in it, each once.

    They are in the column with one of the names in `COLUMNS`, else in the first. Raises `HrkitError` if the file cannot
    be read, or lists nothing.
    """
    try:
        text = decoded(Path(path).read_bytes(), "surrogateescape")  # file names may hold any bytes
        lines = [line for line in re.split(r"\r\n|\n|\r", text) if line.strip()]
        rows = list(csv.reader(lines)) if os.fspath(path).lower().endswith(".csv") else []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HrkitError(f"{path}: cannot be read ({one_line(error)})") from None
    if rows:
        known = [place for place, head in enumerate(rows[0]) if head.strip().lower() in COLUMNS]
        cells = ((row[known[0] :] or [""])[0] if known else row[0] for row in rows[bool(known) :])
        lines = list(dict.fromkeys(cell.strip() for cell in cells if cell.strip()))
    if not lines:
        raise HrkitError(f"{path}: lists nothing")
    return lines
