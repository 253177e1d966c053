"""What became of the inputs of a folder: a line each in `FOLDER/.hrkit/manifest.jsonl`, added as it is known.

The first line is the header, `{"hrkit": version, "settings": {...}}`, for a folder holds the files of one setting. Then
come lines such as `{"input": "a/x.jpg", "reason": "", "frames": 1, "people": 2, "seconds": 0.03}`, where the last of an
input counts. One process writes it. What failed when it was tried last is in `FOLDER/failures.csv`.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from attrs import asdict, frozen
from filelock import FileLock, Timeout

from hrkit import __version__
from hrkit.errors import HrkitError, one_line
from hrkit.extraction.part_file import difference
from hrkit.files import atomic_path

FAILURES = "failures.csv"
_HEADER = ("input", "reason")

META = "meta.json"
"""What all files of a folder have in common: the networks, the skeleton, the settings."""


@frozen
class Result:
    """What became of one input."""

    input: str
    """Its name among the inputs."""
    reason: str = ""
    """Why it failed, in a line; empty where it did not."""
    frames: int = 0
    """In its file; where it failed, those before that."""
    people: int = 0
    """Rows that were added to its file."""
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether anything is missing."""
        return bool(self.reason)


def reason_of(error: Exception) -> str:
    """In one line; what hrkit does not say itself with the type of the error."""
    known = isinstance(error, (HrkitError, OSError))
    return one_line(error) if known else f"{type(error).__name__}: {one_line(error)}"


def manifest_path(folder: str | os.PathLike[str]) -> Path:
    """Where the manifest of a folder lies."""
    return Path(folder, ".hrkit", "manifest.jsonl")


def unfinished_path(output: str) -> Path:
    """Where what is not whole yet lies: of processes that were killed, too."""
    return Path(output, ".hrkit", "unfinished")


@contextlib.contextmanager
def held(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps a folder of files to one run at a time, until that ends or is killed; the folder is made if missing.

    Raises `HrkitError` where another run holds it, and where nothing can be written.
    """
    lock = FileLock(manifest_path(folder).with_name("lock"))
    try:
        manifest_path(folder).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(NotImplementedError):  # a file system without locks
            lock.acquire(timeout=0)
    except Timeout:
        raise HrkitError(f"{folder}: another run is writing there; let it end, or name another folder") from None
    except OSError as error:
        raise HrkitError(f"{folder}: cannot be written ({one_line(error)})") from None
    try:
        yield
    finally:
        lock.release()


class Manifest:
    """The manifest of a folder: read first; written from entering it as a context manager on.

    `done` are the inputs of which nothing is missing, by the runs before; `failed` are those that failed when they
    were tried last, with the reasons, whichever run that was. Raises `HrkitError` for a folder that was begun with
    other settings and holds anything, and for what is no manifest; not with `overwrite`, which begins anew. The folder
    is to be `held` meanwhile.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.folder = folder
        self.begun = False
        """Whether there is one from a run before, which this run goes on with."""
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        self._settings = json.loads(json.dumps(dict(settings)))
        self._end = 0
        self._outdated = False
        path = manifest_path(folder)
        if not overwrite and path.exists():
            with path.open("rb") as lines:
                self._read(lines, path)

    def __enter__(self) -> Manifest:
        self._file = manifest_path(self.folder).open("r+b" if self._end else "wb")
        self._file.truncate(self._end)  # a line that was cut short
        self._file.seek(self._end)
        if not self._end:
            self._append({"hrkit": __version__, "settings": self._settings})
        self._list_failures()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if self._outdated:
            self._list_failures()

    def add(self, result: Result) -> None:
        """Writes down what became of an input.

        A failure that is new is listed at once. What is in the list and does not hold any more stays there until the
        manifest is left, or entered by the next run: to write a long list anew for each input would take for ever.
        """
        self._append(asdict(result))
        listed = self.failed.pop(result.input, None)
        if result.failed:
            self.failed[result.input] = result.reason
        if listed is not None:
            self._outdated = self._outdated or listed != result.reason
        elif result.failed:
            path = self.folder / FAILURES
            rows = [(result.input, result.reason)] if path.exists() else [_HEADER, (result.input, result.reason)]
            _write_rows(path, "a", rows)

    def _list_failures(self) -> None:
        path = self.folder / FAILURES
        if self.failed:
            with atomic_path(path) as temporary:
                _write_rows(temporary, "w", [_HEADER, *self.failed.items()])
        else:
            path.unlink(missing_ok=True)
        self._outdated = False

    def _append(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()

    def _read(self, lines: BinaryIO, path: Path) -> None:
        header = lines.readline()
        if not header.endswith(b"\n"):
            return  # killed while it began
        try:
            before = json.loads(header)["settings"]
        except (ValueError, LookupError, TypeError):
            raise HrkitError(f"{path} is no manifest; remove it, or pass --overwrite") from None
        end, made = len(header), False
        for line in lines:
            if not line.endswith(b"\n"):
                break  # killed while it was written
            end += len(line)
            with contextlib.suppress(ValueError, LookupError, TypeError):  # a damaged line: an input is made once more
                record = json.loads(line)
                made = made or record["frames"] > 0
                name, reason = record["input"], record["reason"]
                self.failed.pop(name, None)
                if reason:
                    self.done.discard(name)
                    self.failed[name] = reason
                else:
                    self.done.add(name)
        differing = difference(before, self._settings)
        if differing and made:
            raise HrkitError(
                f"{self.folder} was begun with other settings: {differing}; pass those again, name another folder, or "
                "pass --overwrite to begin anew"
            )
        if differing:
            self.done, self.failed = set(), {}
        else:
            self.begun, self._end = True, end


def _write_rows(path: Path, mode: str, rows: Iterable[tuple[str, str]]) -> None:
    with path.open(mode, encoding="utf-8", errors="surrogateescape", newline="") as file:  # names may be any bytes
        csv.writer(file, lineterminator="\n").writerows(rows)
