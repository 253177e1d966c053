"""Weights in repositories of the Hugging Face Hub (https://huggingface.co/docs/hub), addressed as
`hf-hub:owner/name[@revision]`.

hrkit reads only the file `model.safetensors` of a repository, so nothing in it can be executed. The file is kept in
the Hub's own cache, where digests alone name it, and taken from there without a network. HF_TOKEN, HF_HOME,
HF_ENDPOINT and HF_HUB_OFFLINE work as they do for huggingface_hub.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import urlsplit

from attrs import field, frozen
from attrs.validators import ge, instance_of, matches_re

from hrkit.errors import DownloadError, HrkitError, one_line
from hrkit.files import leads_out, write_text
from hrkit.weights import downloads

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

FILE = "model.safetensors"
"""The file of a repository that holds the weights."""

_TIMEOUT = 10.0  # seconds without an answer after which the Hub counts as out of reach
_SCHEME = "hf-hub:"
_LOGIN = "log in (`hf auth login`) or set HF_TOKEN"
_ADDRESS = re.compile(rf"{_SCHEME}(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?", re.ASCII)
_PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl", ".pickle")


@frozen
class Address:
    """`hf-hub:owner/name[@revision]`."""

    repository: str
    revision: str | None = None
    """A branch, tag or commit; None is the main branch."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """The parts of an address. Raises `HrkitError` if `text` is not one."""
        matched = _ADDRESS.fullmatch(text)
        if matched is None or ".." in text:
            raise HrkitError(f"{text!r} is not an address of the Hub; write {_SCHEME}owner/name[@revision]")
        return cls(**matched.groupdict())

    def __str__(self) -> str:
        return f"{_SCHEME}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_address(weights: object) -> TypeGuard[str]:
    """Whether `weights` is meant as an address of the Hub."""
    return isinstance(weights, str) and weights.startswith(_SCHEME)


def cached(text: str, name: str = FILE) -> Path | None:
    """A file of the repository at an address, if it is in the Hub's cache."""
    import huggingface_hub

    if "*" in text:
        return None
    address = Address.parse(text)
    found = huggingface_hub.try_to_load_from_cache(address.repository, name, revision=address.revision)
    return Path(found) if isinstance(found, str) else None


def fetch(text: str, name: str = FILE, progress: bool = True) -> Path:
    """The weights file of the repository at an address, or another file by its name, in the Hub's cache.

    `progress` shows a bar on stderr. Size and sha256 are those that the Hub states. Without a network it is the file
    that was fetched last. Raises `HrkitError` if `text` is not an address, `DownloadError` if the file cannot be
    fetched or is not as stated.
    """
    import huggingface_hub
    from huggingface_hub import constants

    address, api = Address.parse(text), _api()
    wanted: dict[str, Any] = {"repo_id": address.repository, "revision": address.revision}  # Any: arguments
    cache = Path(constants.HF_HUB_CACHE, "--".join(("models", *address.repository.split("/"))))
    if leads_out(cache, name):
        raise DownloadError(f"{address}: {name!r} is no name of a file in it")
    try:
        with _errors_in_words(address):
            info = api.model_info(**wanted, files_metadata=True, timeout=_TIMEOUT)
            stated = _Stated.read(info, name)
    except _OutOfReachError as error:
        kept = cached(text, name)
        if kept is not None:
            return kept
        raise DownloadError(f"{error}; nothing of it is in the cache") from None
    if stated is None:
        files = sorted(str(file.rfilename) for file in info.siblings or ())
        pickles = [file for file in files if file.endswith(_PICKLES)] if name == FILE else []
        there = f"only {pickles[0]}, and pickles are not read" if pickles else f"{len(files)} files"
        advice = "; `hrkit publish` writes it" if name == FILE else ""
        raise DownloadError(f"{address} has no {name} ({there}){advice}")
    blob, path = cache / "blobs" / stated.digest, cache / "snapshots" / stated.commit / name
    try:
        downloads.download(
            huggingface_hub.hf_hub_url(**wanted, filename=name, endpoint=api.endpoint),
            blob,
            checksum=stated.checksum,
            size=stated.size,
            progress=progress and not huggingface_hub.utils.are_progress_bars_disabled() and name,
            hub_headers=huggingface_hub.utils.build_hf_headers(library_name="hrkit"),
        )
        _enter(cache, address.revision or constants.DEFAULT_REVISION, stated.commit, path, blob)
    except downloads.DeniedError:
        raise DownloadError(f"{address}: you may not read it; {_LOGIN} as somebody who may") from None
    except (DownloadError, OSError) as error:
        raise DownloadError(f"{address}: {one_line(error)}") from None
    return path


@frozen
class _Stated:
    """What the Hub says of the file of a commit. `digest`, of its content or in git, and `commit` become paths."""

    commit: Any = field(validator=matches_re("[0-9a-f]{40,64}"))  # Any: what the answer has there
    digest: Any = field(validator=matches_re("[0-9a-f]{40,64}"))
    size: Any = field(validator=[instance_of(int), ge(0)])
    checksum: str | None

    @classmethod
    def read(cls, info: ModelInfo, name: str) -> _Stated | None:
        """None if the repository has no such file. Raises `ValueError` or `TypeError` for an answer without sense."""
        file = next((file for file in info.siblings or () if file.rfilename == name), None)
        if file is None:
            return None
        if file.lfs is None:  # a small file may be in git itself, which states no sha256
            return cls(info.sha, file.blob_id, file.size, None)
        return cls(info.sha, file.lfs.sha256, file.size, f"sha256:{file.lfs.sha256}")


def _enter(cache: Path, revision: str, commit: str, path: Path, blob: Path) -> None:
    """Enters a downloaded file into the Hub's cache: as the file of a commit, which the revision names from now on."""
    if not (path.exists() and path.samefile(blob)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):  # another process did it meanwhile
            try:
                path.symlink_to(os.path.relpath(blob, path.parent))
            except OSError:  # a file system or a user without symbolic links
                os.link(blob, path)
    reference = cache / "refs" / revision
    if revision != commit and not (reference.is_file() and reference.read_text() == commit):
        write_text(reference, commit)


def upload(folder: Path, names: tuple[str, ...], text: str, *, private: bool = False) -> str:
    """Commits files of a folder to the repository at an address, and returns the commit's URL.

    A missing repository or branch is created, except for `refs/...`, as of a pull request. Raises `HrkitError` if
    `text` is not an address, `DownloadError` if the Hub does not take the files.
    """
    from huggingface_hub import CommitOperationAdd

    address, api = Address.parse(text), _api()
    repository, revision = address.repository, address.revision
    with contextlib.ExitStack() as opened:
        files = []
        for name in names:
            content: Any = folder / name  # Any: a path or an open file
            if not _speaks_xet():  # huggingface_hub uploads open files by HTTP only
                content = opened.enter_context(content.open("rb"))
            files.append(CommitOperationAdd(path_in_repo=name, path_or_fileobj=content))
        with _errors_in_words(address, "write to it"):
            if not (revision or "").startswith("refs/"):
                api.create_repo(repository, private=private, exist_ok=True)
                if revision is not None:
                    api.create_branch(repository, branch=revision, exist_ok=True)
            message = "Weights of a pose network"
            return str(api.create_commit(repository, files, commit_message=message, revision=revision).commit_url)


class _OutOfReachError(DownloadError):
    """There is no network, or the Hub does not answer as it should."""


@contextlib.contextmanager
def _errors_in_words(address: Address, wish: str = "read it") -> Iterator[None]:
    """Turns what huggingface_hub raises into a `DownloadError`, or an `_OutOfReachError` if there is no Hub."""
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    kind: type[DownloadError] = DownloadError
    try:
        yield
        return
    except RevisionNotFoundError:
        problem = "the repository has no such revision"
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 404):
            problem = f"there is no such repository, or it is private; check its name, or {_LOGIN}"
        elif status == 403:
            problem = f"you may not {wish}; {_LOGIN} as somebody who may"
        else:
            kind, problem = _OutOfReachError, f"the Hub answered with an error ({one_line(error)[:200]})"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        problem = f"the Hub's answer makes no sense ({one_line(error)[:200]})"
    except Exception as error:  # the library's HTTP client has errors of its own
        reason = one_line(error.__cause__ or error)[:200]
        kind, problem = _OutOfReachError, f"the Hub cannot be reached ({reason})"
    raise kind(f"{address}: {problem}") from None


def _api() -> HfApi:
    from huggingface_hub import HfApi

    # huggingface_hub itself reads HF_ENDPOINT only when it is imported
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="hrkit")


def _speaks_xet() -> bool:
    """Whether the Hub is huggingface.co, the only one with Xet servers for large files."""
    host = urlsplit(_api().endpoint).hostname or ""
    return host == "huggingface.co" or host.endswith(".huggingface.co")
