"""Files found, written whole or not at all, and read with errors of one line."""

import codecs
import contextlib
import functools
import glob
import hashlib
import json
import logging
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from hrkit.errors import HrkitError, counted, one_line

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

logger: logging.Logger = logging.getLogger("hrkit")

FilePath = str | os.PathLike[str]

LONGEST_NAME = 255
"""Bytes of a file name that every file system takes."""

_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}


_UMASK = os.umask(0)  # the only way to read it; at import, since files made meanwhile are open to everyone
os.umask(_UMASK)


@contextlib.contextmanager
def atomic_path(path: FilePath) -> Iterator[Path]:
    """A temporary path beside `path` with the same ending. It is moved to `path` if the block succeeds.

    If the block raises, the temporary file is removed and `path` is left untouched. The folder is created if it is
    missing. If `path` is a link, the file that it leads to is written and the link stays. Raises `OSError` as the file
    system does.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    suffix = target.suffix if len(target.suffix) < 20 else ""  # a temporary name must not be too long where `path` fits
    handle, name = tempfile.mkstemp(prefix=f".{target.stem[:20]}-", suffix=suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp and safetensors make files that only their owner can read
        os.replace(temporary, target)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)  # a failed write does not name the file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: FilePath, text: str) -> None:
    """Writes text in UTF-8, whole or not at all. Raises as `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def beside(path: FilePath, ending: str) -> Path:
    """`path` with `ending` appended to its name, which is cut and marked with a digest if it would be too long."""
    whole = Path(os.path.abspath(path))
    name = os.fsencode(whole.name + ending)
    if len(name) > LONGEST_NAME:
        kept = os.fsencode(whole.name)[: LONGEST_NAME - len(os.fsencode(ending)) - 10].decode(errors="ignore")
        return whole.with_name(f"{kept}~{hashlib.sha256(name).hexdigest()[:8]}{ending}")
    return whole.with_name(whole.name + ending)


@contextlib.contextmanager
def reserved(
    output: FilePath,
    lock: FilePath | None = None,
    taken: str = "another run is writing there; let it end, or name another output",
) -> Iterator[None]:
    """Reserves an output for one run, until the block ends or the process dies. Missing folders are made.

    `lock` is the path of the lock file, by default `OUTPUT.lock`; it is removed at the end. Raises `HrkitError`, with
    the words of `taken`, if another run has the output, and if nothing can be written there.
    """
    from filelock import FileLock, Timeout  # loads slowly

    path = Path(beside(os.path.realpath(output), ".lock") if lock is None else lock)
    held = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(NotImplementedError):  # a file system without locks
            held.acquire(timeout=0)
    except Timeout:
        raise HrkitError(f"{output}: {taken}") from None
    except OSError as error:
        raise HrkitError(f"{output}: cannot be written ({one_line(error)})") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps a file that is open
            path.unlink(missing_ok=True)
        held.release()


def check_outputs(outputs: Iterable[FilePath], inputs: Iterable[FilePath | None]) -> None:
    """Raises `HrkitError` if an output is an input. Call it before anything is written.

    Files and folders are compared by identity, so links and other spellings of a path do not matter.
    `archive.zip@member` stands for its archive. Inputs that are neither, such as None, the number of a camera or the
    name of weights, are passed over. Of a folder, only the folder itself counts; name what is read from it too.
    """
    written = {_identity(output): os.fspath(output) for output in outputs}
    written.pop(None, None)
    for path in (os.fspath(path) for path in inputs if path is not None) if written else ():
        output = written.get(_identity(re.sub(r"(?<=\.zip)@.*", "", path)))
        if output is not None:
            raise HrkitError(f"{output} is the input {path} itself; name another output")


def _identity(path: FilePath) -> tuple[int, int] | None:
    """The device and the number of a file or folder, behind links. None if there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return None
    return found.st_dev, found.st_ino


def is_address(name: FilePath) -> bool:
    """Whether a source is an address, such as `rtsp://...`, and not the name of a file."""
    return re.match(r"[a-z][a-z0-9+.-]+://", os.fspath(name), re.IGNORECASE) is not None


def without_secrets(source: FilePath) -> str:
    """The name of a source for people and files: an address loses its user, password, query and fragment."""
    text = os.fspath(source)
    if not is_address(text):
        return text
    scheme, _, rest = text.partition("://")
    host = re.split("[/?#]", rest)[0]
    if "@" in host or not re.fullmatch(r"([^:]*|\[.*\])(:\d*)?", host):  # a password may hold signs that end a host
        rest = rest.rpartition("@")[2]
    return f"{scheme}://{re.split('[?#]', rest)[0]}"


def leads_out(folder: FilePath, name: str) -> bool:
    """Whether a name from outside leads out of a folder, as `../x` and mostly `/etc/x` do. Links are not resolved."""
    root = os.path.abspath(folder)
    return "\0" in name or not os.path.abspath(os.path.join(root, name)).startswith(os.path.join(root, ""))


def cache_dir() -> Path:
    """The folder for downloaded files: the environment variable HRKIT_HOME, else the user's cache folder."""
    home = os.environ.get("HRKIT_HOME")
    return Path(home).expanduser() if home else platformdirs.user_cache_path("hrkit", appauthor=False)


def find_files(source: str, endings: Sequence[str], *, deep: bool = False) -> tuple[str, list[str]]:
    """The root of a path, folder or glob, and the files it stands for.

    A path that exists, or that is no glob, stands for itself, also with `*` in its name. Files without one of the
    `endings` and hidden files are left out of folders and of globs that end in `*`. With `deep`, folders, also those
    that a glob matches, include everything below them. The root is the folder, the fixed prefix of the glob, or the
    parent of the file. How many files have other endings, and how many folders are not searched, is logged.
    """
    others: Counter[str] = Counter()
    folders = 0

    def counts(name: str) -> bool:
        nonlocal folders
        if name.startswith("."):
            return False
        if name.endswith(os.sep):  # a folder that is not searched
            folders += 1
            return False
        known = name.lower().endswith(tuple(endings))
        others.update([] if known else [os.path.splitext(name)[1].lower() or "no extension"])
        return known

    root, found = _find(source, counts, deep)
    parts = [f"{others.total()} files of other kinds are left out ({', '.join(sorted(others))})"] if others else []
    parts += [f"{counted(folders, 'folder in it is', 'folders in it are')} not searched"] if folders else []
    if parts and (found or folders):
        _say(f"{source}: {'; '.join(parts)}")
    return root, found


@functools.lru_cache(maxsize=100)
def _say(message: str) -> None:
    """Logs a message once, however often its folder is searched."""
    logger.warning("%s", message)


def _find(source: str, counts: Callable[[str], bool], deep: bool) -> tuple[str, list[str]]:
    """The root and the files of `find_files`; `counts` says of a name whether it is one of them."""
    if os.path.isdir(source):
        return source, list(_below(source, counts, deep))
    if os.path.exists(source) or not glob.has_magic(source):
        return os.path.dirname(source), [source]
    pattern = root = os.path.normpath(source)
    while glob.has_magic(root):
        root = os.path.dirname(root)
    matches = glob.iglob(pattern[len(root) :].lstrip(os.sep), root_dir=root or None, recursive=True)
    found: list[str] = []
    for path in sorted(os.path.join(root, match) for match in matches):
        if os.path.isdir(path):
            found += _below(path, counts, deep) if deep else ()
        elif not source.endswith("*") or counts(os.path.basename(path)):
            found.append(path)
    return root, list(dict.fromkeys(found))  # `**` matches a folder and what is below it


def _below(folder: str, counts: Callable[[str], bool], deep: bool) -> Iterator[str]:
    """The files of a folder that count. Folders behind links come last, so files keep the names they have without."""
    tops = [folder]
    seen: set[str] = set()
    for top in tops:
        for parent, folders, files in os.walk(top):
            real = os.path.realpath(parent)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            if not deep:
                folders[:] = filter(counts, [name + os.sep for name in folders])  # none, and it is said how many
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            tops += filter(os.path.islink, (os.path.join(parent, name) for name in folders))  # os.walk skips links
            yield from (os.path.join(parent, name) for name in sorted(files) if counts(name))


def plain_stem(name: FilePath) -> str:
    """The name without folder and ending. Anything but letters, digits, dots and dashes becomes `_`."""
    return re.sub(r"[^\w.-]+", "_", Path(name).stem)


def decoded(content: bytes, errors: str = "strict") -> str:
    """The text of a file in UTF-8, or in UTF-16 as some editors and shells of Windows write it, without its mark.

    Raises `UnicodeDecodeError` as `bytes.decode` does.
    """
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in content[:2]:  # UTF-16 without a mark, since text has no zeros
        encoding = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    return content.decode(encoding, errors)


def json_text(value: Any, indent: int | None = None) -> str:  # Any: what json.dumps takes
    """`value` as JSON. NaN and infinity, which JSON does not have, become null."""
    plain = json.loads(json.dumps(value), parse_constant=lambda name: None)
    return json.dumps(plain, indent=indent)


def read_json(path: FilePath, error: type[HrkitError] = HrkitError) -> Any:  # Any: any value
    """The content of a JSON file. Raises `error` in one line: the file, and the line and column of the damage."""
    try:
        text = decoded(Path(path).read_bytes())
        return json.loads(text)
    except json.JSONDecodeError as damage:
        ends = not text[damage.pos :].strip() or damage.msg.startswith("Unterminated string")
        hint = "; the file is cut short" if ends else ""
        where = f"line {damage.lineno}, column {damage.colno}"
        raise error(f"{path}: damaged at {where}: {damage.msg}{hint}") from None
    except (OSError, ValueError, RecursionError) as damage:  # ValueError: not UTF-8, or an integer with too many digits
        raise error(f"{path}: cannot be read ({damage})") from None


def read_toml(path: FilePath, error: type[HrkitError] = HrkitError) -> dict[str, Any]:  # Any: any value
    """The content of a TOML file. Raises `error` in one line: the file, and where it is damaged."""
    with _parse_errors(path, "TOML", error):
        return tomllib.loads(decoded(Path(path).read_bytes()))


def read_yaml(path: FilePath, error: type[HrkitError] = HrkitError) -> Any:  # Any: any value
    """The plain values of a YAML file; nothing in it is executed. Raises `error` in one line.

    Unlike in YAML 1.1, `1e-3` is a number.
    """
    import yaml  # loads slowly

    class Loader(yaml.SafeLoader):
        """With the numbers of YAML 1.2."""

    number = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    with _parse_errors(path, "YAML", error, yaml.YAMLError):
        return yaml.load(decoded(Path(path).read_bytes()), Loader)


@contextlib.contextmanager
def _parse_errors(
    path: FilePath, kind: str, error: type[HrkitError], damage: type[Exception] = ValueError
) -> Iterator[None]:
    """Raises `error` if the file cannot be read, is damaged, is not UTF-8 or is nested too deeply."""
    try:
        yield
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem})") from None
    except (damage, ValueError, RecursionError) as problem:
        raise error(f"{path}: is no {kind} ({one_line(problem)})") from None
