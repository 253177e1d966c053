"""Files on disk. All lie in one temporary folder, and no name from a caller is used."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from attrs import frozen

from hrkit.errors import HrkitError
from hrkit.files import reserved
from hrkit_web.errors import RefusedError

PREFIX = "hrkit-web-"
"""The folders of servers begin like this, beside other temporary files."""

MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json", "mp4": "video/mp4"}
"""Media types by kind of file."""


@frozen
class _Kept:
    folder: Path
    files: dict[str, Path]
    """Files by kind, without those that were fetched."""
    until: float


class ResultStore:
    """Results that wait to be fetched once: at most `most` sets, each for at most `seconds`."""

    def __init__(self, *, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        _remove_stale()
        self.root = Path(tempfile.gettempdir(), PREFIX + secrets.token_hex(8))
        """The temporary folder."""
        self._reserved = contextlib.ExitStack()
        self._reserved.enter_context(reserved(self.root, _lock_of(self.root)))
        self.root.mkdir(mode=0o700)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """A folder for the block. It is deleted afterwards, with all files that `keep` has not moved."""
        folder = Path(tempfile.mkdtemp(dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, files: Iterable[Path]) -> dict[str, object]:
        """Moves files in; their suffixes are their kinds. Returns `id`, `files` (kind -> URL path) and `seconds`."""
        self.sweep()
        folder = Path(tempfile.mkdtemp(dir=self.root))
        moved = {file.suffix[1:]: file.replace(folder / f"poses{file.suffix}") for file in files}
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[name] = _Kept(folder, moved, self._clock() + self._seconds)
            surplus = list(self._kept)[: -self._most]
        for old in surplus:
            self.drop(old)
        addresses = {kind: f"/v1/results/{name}/{kind}" for kind in moved}
        return {"id": name, "files": addresses, "seconds": self._seconds}

    def take(self, name: str, kind: str) -> Path:
        """Hands out a file once; the caller deletes it. Raises `RefusedError` with 404."""
        self.sweep()
        with self._lock:
            kept = self._kept.get(name)
            file = None if kept is None else kept.files.pop(kind, None)
        if file is None:
            raise RefusedError(404, "no such result; results are kept for a limited time and can be fetched once")
        return file

    def drop(self, name: str) -> None:
        """Deletes a set of results, if there is one."""
        with self._lock:
            kept = self._kept.pop(name, None)
        if kept is not None:
            shutil.rmtree(kept.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Deletes results that were not fetched in time."""
        now = self._clock()
        for name in [name for name, kept in list(self._kept.items()) if kept.until <= now]:
            self.drop(name)

    def close(self) -> None:
        """Deletes everything."""
        self._kept.clear()
        shutil.rmtree(self.root, ignore_errors=True)
        self._reserved.close()


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _remove_stale() -> None:
    """Removes the folders of killed servers of this user. Living servers have theirs reserved."""
    user = getattr(os, "getuid", int)()  # Windows, where each user has a temporary folder, calls all of them 0
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, HrkitError):
            if folder.lstat().st_uid == user:
                with reserved(folder, _lock_of(folder)):
                    shutil.rmtree(folder)
