"""The manifest of an output folder: one line per result in `FOLDER/.hrkit/manifest.jsonl`, written as it is known.

The first line is the header, `{"hrkit": version, "settings": {...}}`; a folder holds files of one setting only. Lines
such as `{"input": "a/x.jpg", "reason": "", "frames": 1, "people": 2, "seconds": 0.03}` follow, and the last line of an
input counts. Only one process writes it. `FOLDER/failures.csv` lists the inputs that failed when last tried.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from attrs import asdict, frozen

from hrkit import __version__
from hrkit.errors import HrkitError, one_line
from hrkit.extraction.part_file import Meta, as_json, difference
from hrkit.files import FilePath, atomic_path, read_json, reserved

FAILURES = "failures.csv"
_HEADER = ("input", "reason")

META = "meta.json"
"""What all files of a folder have in common: networks, skeleton, settings."""


@frozen
class Result:
    """The outcome of one input."""

    input: str
    """Its name among the inputs."""
    reason: str = ""
    """Why it failed, in one line; empty if it did not."""
    frames: int = 0
    """Frames in its file; for a damaged video, those before the damage."""
    people: int = 0
    """Rows added to its file."""
    seconds: float = 0.0
    mark: str = ""
    """What `provenance.mark` gives for the input, by which another one of the same name is noticed."""

    @property
    def failed(self) -> bool:
        """Whether anything is missing."""
        return bool(self.reason)


def reason_of(error: Exception) -> str:
    """The error in one line, preceded by its type unless the message says enough."""
    known = isinstance(error, (HrkitError, OSError))
    return one_line(error) if known else f"{type(error).__name__}: {one_line(error)}"


def read_common(folder: FilePath) -> dict[str, Any] | None:
    """What all files of a folder have in common, as an earlier run wrote it; None if there is nothing."""
    with contextlib.suppress(HrkitError, ValueError, TypeError):
        return dict(read_json(Path(folder, META)))
    return None


def manifest_path(folder: FilePath) -> Path:
    """The path of a folder's manifest."""
    return Path(folder, ".hrkit", "manifest.jsonl")


def unfinished_path(output: str) -> Path:
    """The folder of unfinished files, including those of killed processes."""
    return Path(output, ".hrkit", "unfinished")


def held(folder: FilePath) -> contextlib.AbstractContextManager[None]:
    """Reserves an output folder for one run, until the block ends or the process dies. A missing folder is made.

    Raises `HrkitError` if another run has it, and if nothing can be written there.
    """
    return reserved(folder, manifest_path(folder).with_name("lock"))


class Manifest:
    """The manifest of a folder. Creating it reads the file; entering it as a context manager starts writing.

    `done` holds the inputs that earlier runs finished, with their marks, and `failed` those that failed when last
    tried, with the reasons. Reserve the folder with `held` first.

    Raises `HrkitError` for a file that is no manifest, and for one with other settings if any file was made. With
    `overwrite` an existing manifest is ignored.
    """

    def __init__(self, folder: Path, settings: Meta, *, overwrite: bool = False) -> None:
        self.folder = folder
        self.begun: bool = False
        """Whether this run continues an earlier one."""
        self.done: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self._settings = as_json(settings)
        self._end = 0
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

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._list_failures()

    def add(self, result: Result) -> None:
        """Records a result.

        A new failure is listed at once. Entries of the list that no longer hold stay until the manifest is left,
        because rewriting a long list for each input would take too long.
        """
        self._append(asdict(result))
        listed = self.failed.pop(result.input, None)
        if result.failed:
            self.failed[result.input] = result.reason
            if listed is None:
                path = self.folder / FAILURES
                row = (result.input, result.reason)
                _write_rows(path, "a", [row] if path.exists() else [_HEADER, row])

    def _list_failures(self) -> None:
        path = self.folder / FAILURES
        if self.failed:
            with atomic_path(path) as temporary:
                _write_rows(temporary, "w", [_HEADER, *self.failed.items()])
        else:
            path.unlink(missing_ok=True)

    def _append(self, record: Meta) -> None:
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()

    def _read(self, lines: BinaryIO, path: Path) -> None:
        header = lines.readline()
        if not header.endswith(b"\n"):
            return  # the run was killed at its start
        try:
            before = json.loads(header)["settings"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise HrkitError(f"{path} is no manifest; remove it, or pass --overwrite") from None
        end, made = len(header), False
        for line in lines:
            if not line.endswith(b"\n"):
                break  # the run was killed while it wrote this line
            end += len(line)
            # after a damaged line its input is redone
            with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
                record = json.loads(line)
                name, reason = record["input"], record["reason"]
                if not isinstance(name, str) or not isinstance(reason, str):
                    continue
                made = made or record["frames"] > 0
                self.done.pop(name, None)
                self.failed.pop(name, None)
                if reason:
                    self.failed[name] = reason
                else:
                    self.done[name] = record.get("mark", "")
        changed = difference(before, self._settings)
        if not changed:
            self.begun = True
            self._end = end
        elif made:
            raise HrkitError(
                f"{self.folder} was begun with other settings: {changed}; pass those again, name another folder, or "
                "pass --overwrite to begin anew"
            )
        else:
            self.done, self.failed = {}, {}


def _write_rows(path: Path, mode: str, rows: Iterable[tuple[str, str]]) -> None:
    with path.open(mode, encoding="utf-8", errors="surrogateescape", newline="") as file:  # names may hold any bytes
        csv.writer(file, lineterminator="\n").writerows(rows)
