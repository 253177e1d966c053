"""Weights in repositories of the Hugging Face Hub (https://huggingface.co/docs/hub), by the address
`hf-hub:owner/name[@revision]`.

Of a repository the one file `model.safetensors` is read, whatever else it holds; so nothing in it can be executed. It
lies in the Hub's own cache, from which it is taken where there is no network. HF_TOKEN, HF_HOME, HF_ENDPOINT and
HF_HUB_OFFLINE mean what they mean to huggingface_hub.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import urlsplit

from attrs import frozen

from hrkit.errors import DownloadError, HrkitError, one_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf-hub:"
FILE = "model.safetensors"
"""What is read of a repository."""

TIMEOUT = 10.0
"""Seconds after which a silent Hub counts as out of reach."""

_ADDRESS = re.compile(r"hf-hub:(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?", re.ASCII)
_PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl", ".pickle")


@frozen
class Address:
    """`hf-hub:owner/name[@revision]`."""

    repository: str
    revision: str | None = None
    """A branch, tag or commit; None is the main branch."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises `HrkitError` for what is no such address."""
        matched = _ADDRESS.fullmatch(text)
        if matched is None or ".." in text:
            raise HrkitError(f"{text!r} is no address of the Hub; that is hf-hub:owner/name[@revision]")
        return cls(**matched.groupdict())

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_address(weights: object) -> TypeGuard[str]:
    """Whether it is meant for the Hub."""
    return isinstance(weights, str) and weights.startswith(SCHEME)


def fetch(text: str) -> Path:
    """The weights file of the repository at an address, in the Hub's cache.

    It is what the Hub says that it is, in size and sha256. Without network it is what was fetched last. Raises
    `HrkitError` for what is no address, `DownloadError` where the file cannot be had or is not what it should be.
    """
    import huggingface_hub

    address = Address.parse(text)
    try:
        with _errors_in_words(address):
            info = _api().model_info(
                address.repository, revision=address.revision, files_metadata=True, timeout=TIMEOUT
            )
    except _OutOfReachError as error:
        cached = huggingface_hub.try_to_load_from_cache(address.repository, FILE, revision=address.revision)
        if isinstance(cached, str):
            return Path(cached)
        raise DownloadError(f"{error}; nothing of it is in the cache") from None
    files = {file.rfilename: file for file in info.siblings or ()}
    if FILE not in files:
        raise DownloadError(_without_weights(address, sorted(files)))
    with _errors_in_words(address):
        path = Path(
            huggingface_hub.hf_hub_download(
                address.repository, FILE, revision=address.revision, endpoint=_endpoint(), library_name="hrkit"
            )
        )
    large = files[FILE].lfs  # a small file may be in git itself, which has no sha256 of it
    problem = _problem(path, files[FILE].size, None if large is None else large.sha256)
    if problem:
        path.resolve().unlink()  # or it would be taken for good the next time
        path.unlink(missing_ok=True)
        raise DownloadError(f"{address}: {FILE} {problem} and was removed; try again")
    return path


def upload(folder: Path, names: tuple[str, ...], text: str, *, private: bool = False) -> str:
    """Commits files of a folder to the repository at an address; the commit's URL.

    The repository and its branch are made if they are not there; not for `refs/...`, as of a pull request. Raises
    `HrkitError` for what is no address, `DownloadError` where the Hub does not take them.
    """
    from huggingface_hub import CommitOperationAdd

    address, api = Address.parse(text), _api()
    with contextlib.ExitStack() as opened:
        files = []
        for name in names:
            content: Any = folder / name
            if not _speaks_xet():  # huggingface_hub uploads files that come open by HTTP alone
                content = opened.enter_context(content.open("rb"))
            files.append(CommitOperationAdd(path_in_repo=name, path_or_fileobj=content))
        with _errors_in_words(address, "write to it"):
            if not (address.revision or "").startswith("refs/"):
                api.create_repo(address.repository, private=private, exist_ok=True)
                if address.revision is not None:
                    api.create_branch(address.repository, branch=address.revision, exist_ok=True)
            commit = api.create_commit(
                address.repository, files, commit_message="Weights of a pose network", revision=address.revision
            )
    return str(commit.commit_url)


class _OutOfReachError(DownloadError):
    """There is no network, or no Hub at its end that is well."""


@contextlib.contextmanager
def _errors_in_words(address: Address, wish: str = "read it") -> Iterator[None]:
    """Turns what huggingface_hub raises into a `DownloadError`, an `_OutOfReachError` where the Hub is not there."""
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    login = "log in (`hf auth login`) or set HF_TOKEN"
    try:
        yield
    except RevisionNotFoundError:
        raise DownloadError(f"{address}: the repository has no such revision") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 404):
            raise DownloadError(
                f"{address}: there is no such repository, or it is private; check its name, or {login}"
            ) from None
        if status == 403:
            raise DownloadError(f"{address}: you may not {wish}; {login} as somebody who may") from None
        raise _OutOfReachError(f"{address}: the Hub answered with an error ({one_line(error)[:200]})") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DownloadError(f"{address}: the Hub's answer makes no sense ({one_line(error)[:200]})") from None
    except Exception as error:  # of whatever client the library has, and its own
        reason = one_line(error.__cause__ or error)[:200]
        if "onsistency check" in reason:
            raise DownloadError(f"{address}: {FILE} is not of the size that the Hub says; try again") from None
        raise _OutOfReachError(f"{address}: the Hub cannot be reached ({reason})") from None


def _api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=_endpoint(), library_name="hrkit")


def _endpoint() -> str | None:
    """Another Hub, where HF_ENDPOINT names one; huggingface_hub looks there too, but only when it is imported."""
    return os.environ.get("HF_ENDPOINT") or None


def _speaks_xet() -> bool:
    """Whether the Hub is that of huggingface.co, whose servers for large files others do not have."""
    host = urlsplit(_endpoint() or "https://huggingface.co").hostname or ""
    return host == "huggingface.co" or host.endswith(".huggingface.co")


def _without_weights(address: Address, names: list[str]) -> str:
    pickles = [name for name in names if name.endswith(_PICKLES)]
    there = f"only {pickles[0]}, and pickles are not read" if pickles else f"{len(names)} files"
    return f"{address} has no {FILE} ({there}); `hrkit publish` writes it"


def _problem(path: Path, size: int | None, checksum: str | None) -> str | None:
    """What is wrong with a file, to follow its name in a sentence; None if nothing is."""
    length = path.stat().st_size
    if size is not None and length != size:
        return f"has {length:,} bytes instead of {size:,}"
    if checksum is not None:
        with path.open("rb") as file:
            digest: Any = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        if digest.hexdigest() != checksum:
            return f"has the sha256 {digest.hexdigest()[:8]} instead of {checksum[:8]}"
    return None
