"""Downloads: each file is fetched once, resumed after an interruption, checked, and in place whole or not at all.

Three files may lie beside `weights.pth`: `weights.pth.part` (a download to be resumed), `weights.pth.lock` (held by the
process that downloads, and freed by the system if it dies) and `weights.pth.ok` (size and time at the last check).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import AcquireReturnProxy, FileLock, Timeout
from tqdm import tqdm

from hrkit.errors import DownloadError, one_line, plugin_hint
from hrkit.files import beside

TIMEOUT = 30.0
"""Seconds without an answer or a byte after which a server counts as unreachable."""

_CHUNK = 1 << 18
_OFFLINE = f"{plugin_hint('hrkit-lite')} works offline as Pipeline.from_names('lite', 'lite_person')"


class DeniedError(DownloadError):
    """A server asks for a login, or refuses the file to this user."""


def download(
    url: str,
    target: str | Path,
    *,
    checksum: str | None = None,
    size: int | None = None,
    progress: bool | str = True,
    hub_headers: Mapping[str, str] | None = None,
) -> Path:
    """Fetches `url` to `target` and returns `target`; a file that is already there is checked once and kept.

    `checksum` is "sha256:<hex>" or "sha1:<hex>", in full or its first digits; `size` is in bytes; `progress` shows a
    bar on stderr, and may be its title. `hub_headers` go to a Hub with the request; its ETags are digests, and one with
    a path in it is refused. A second process that wants the same file waits for the first. Raises `DownloadError` if
    the file cannot be fetched or written, or is not the published one, and `DeniedError` for the statuses 401 and 403.
    """
    target = Path(target)
    title = (target.name if progress is True else progress) or None
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"only http and https are downloaded, not {url}; put the file at {target} by hand")
    try:
        if not target.exists():  # before any lock, so that a read-only cache that holds the file works
            target.parent.mkdir(parents=True, exist_ok=True)
            with _locked(target, title):
                if not target.exists():
                    _download(url, target, checksum, size, title, hub_headers or {})
        if found := _problem_once(target, target, checksum, size):
            raise DownloadError(f"{target} {found}; remove it to download it again, or put the file of {url} there")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room, or set HRKIT_HOME to a folder with more" if full else "set HRKIT_HOME to a writable folder"
        reason = error.strerror or one_line(error)
        raise DownloadError(f"cannot write {target} ({reason}); {advice}, or put {url} there by hand") from error
    return target


def _locked(target: Path, title: str | None) -> AcquireReturnProxy:
    lock = FileLock(beside(target, ".lock"))
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        if title is not None:
            print(f"waiting for another process to download {title}", file=sys.stderr, flush=True)
        return lock.acquire()


def _download(
    url: str, target: Path, checksum: str | None, size: int | None, title: str | None, headers: Mapping[str, str]
) -> None:
    """Goes on as long as each try brings new bytes. Raises `DownloadError` at the first that brings none."""
    part = beside(target, ".part")
    while not (size and _length(part) == size):
        before = _length(part)
        if size and before > size:
            part.unlink()
            before = 0
        broken = _transfer(url, part, size, target, title, headers)
        if broken is None:
            break
        if _length(part) <= before:  # else it makes progress, if in steps
            raise DownloadError(f"cannot download {url} ({broken}); put the file at {target} by hand, or {_OFFLINE}")
    if found := _problem_once(part, target, checksum, size):
        part.unlink()
        raise DownloadError(f"{target}: the download of {url} {found} and was removed; try again")
    os.replace(part, target)


def _transfer(
    url: str, part: Path, size: int | None, target: Path, title: str | None, headers: Mapping[str, str]
) -> str | None:
    """Appends the missing bytes to `part`; returns None once it is complete (or too long), else the reason."""
    start = _length(part)
    wanted = {"User-Agent": "hrkit", **headers} | ({"Range": f"bytes={start}-"} if start else {})
    ask = urllib.request.build_opener(_Redirects, _Tags).open if headers else urllib.request.urlopen
    try:
        response = ask(urllib.request.Request(url, headers=wanted), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            if error.headers.get("Content-Range") == f"bytes */{start}":
                return None
            part.unlink()
            return _transfer(url, part, size, target, title, headers)
        if error.code in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
            advice = f"put the file at {target} by hand"
            raise DeniedError(f"you may not download {url} ({error.code} {error.reason}); {advice}") from None
        return f"{error.code} {error.reason}"
    except DownloadError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an address that cannot be one
        return one_line(getattr(error, "reason", error))
    with response:
        if urlsplit(response.url).scheme not in ("https", "http" if urlsplit(url).scheme == "http" else ""):
            raise DownloadError(f"{url} leads to the unsafe {response.url}; put the file at {target} by hand")
        if response.headers.get_content_type() == "text/html":
            advice = f"download it with a browser and put it at {target}"
            raise DownloadError(f"{url} gives a web page instead of the file, perhaps about a quota; {advice}")
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink(missing_ok=True)
            return "the server sent another part of the file"
        return _receive(response, part, start, size, title)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Sends the token only to the server that it is for."""

    def redirect_request(self, req: urllib.request.Request, *answer: Any) -> urllib.request.Request | None:
        redirected = super().redirect_request(req, *answer)
        if redirected is not None and urlsplit(redirected.full_url)[:2] != urlsplit(req.full_url)[:2]:
            redirected.remove_header("Authorization")
        return redirected


class _Tags(urllib.request.BaseHandler):
    """Refuses answers whose ETag holds a path: other programs name files by it."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        """The response, one that leads elsewhere too."""
        for name in ("ETag", "X-Linked-ETag"):
            tag = response.headers.get(name, "").removeprefix("W/")
            if re.search(r"[/\\]|\.\.", tag):
                response.close()
                raise DownloadError(f"{request.full_url}: the server's {name} {tag} is a path, not a digest")
        return response

    https_response = http_response


def _receive(
    response: http.client.HTTPResponse, part: Path, start: int, size: int | None, title: str | None
) -> str | None:
    """Writes the response to `part` from `start` on, with a bar if there is a title; returns as `_transfer`."""
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() and len(length) < 20 else None
    written = start
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(desc=title, total=total, initial=start, unit="B", unit_scale=True, disable=title is None) as bar,
    ):
        while size is None or written <= size:  # a faulty server must not fill the disk
            try:
                chunk = response.read1(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                return one_line(error)
            if not chunk:
                return "the connection was cut" if total is not None and written < total else None
            written += file.write(chunk)
            bar.update(len(chunk))
    return None


def _problem_once(path: Path, target: Path, checksum: str | None, size: int | None) -> str | None:
    """`problem`, but a file that has not changed since it was found right is not read again."""
    marker, stat = beside(target, ".ok"), path.stat()
    state = f"{stat.st_size} {stat.st_mtime_ns} {checksum}\n"
    with contextlib.suppress(OSError):
        if marker.read_text() == state:
            return None
    found = problem(path, checksum, size)
    if found is None:
        with contextlib.suppress(OSError):  # a read-only cache is checked every time
            marker.write_text(state)
    return found


def problem(path: Path, checksum: str | None, size: int | None) -> str | None:
    """What is wrong with a file, worded to follow its name; None if nothing is."""
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "is a web page, not the published file"
    length = _length(path)
    if size is not None and length != size:
        return f"has {length:,} bytes instead of {size:,}"
    if checksum is not None:
        algorithm, expected = checksum.split(":")
        actual = digest(path, algorithm)
        if not actual.startswith(expected.lower()):
            return f"has the {algorithm} {actual[: len(expected)]} instead of {expected}"
    return None


def digest(path: Path, algorithm: str) -> str:
    """The hexadecimal digest of a file; `algorithm` is a name of hashlib."""
    summed = hashlib.new(algorithm)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            summed.update(chunk)
    return summed.hexdigest()


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
