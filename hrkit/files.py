"""Output files appear whole or not at all; what is wrong with a JSON file is said in one line."""

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hrkit.errors import HrkitError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _umask() -> int:
    umask = os.umask(0)  # the only way to read it
    os.umask(umask)
    return umask


_UMASK = _umask()  # once, at import: while it is 0, files of other threads would be open to everybody


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`, with the same ending, to write to; moved onto `path` if the block succeeds.

    If the block raises, the temporary file is removed and whatever stood at `path` is untouched. The folder is made
    where it is missing. Raises `OSError` as the file system does.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # 0600, as mkstemp and safetensors make files, is for secrets
        os.replace(temporary, target)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(target)  # a failed write does not say of which file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def plain_stem(name: str | os.PathLike[str]) -> str:
    """The name without folder and ending, in letters, digits, dots and dashes alone; what else is in it becomes `_`."""
    return re.sub(r"[^\w.-]+", "_", Path(name).stem)


def read_json(path: str | os.PathLike[str], error: type[HrkitError] = HrkitError) -> Any:
    """What a JSON file in UTF-8 holds.

    Raises `error` in one line: the file, and the line and column of what is damaged.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        return json.loads(text)
    except json.JSONDecodeError as damage:
        ends = not text[damage.pos :].strip() or damage.msg.startswith("Unterminated string")
        hint = "; the file is cut short" if ends else ""
        where = f"line {damage.lineno}, column {damage.colno}"
        raise error(f"{path}: damaged at {where}: {damage.msg}{hint}") from None
    except (OSError, ValueError, RecursionError) as damage:  # ValueError: no UTF-8, or an integer without end
        raise error(f"{path}: cannot be read ({damage})") from None


def read_toml(path: str | os.PathLike[str], error: type[HrkitError] = HrkitError) -> dict[str, Any]:
    """The content of a TOML file. Raises `error` in one line: the file, and where it is damaged."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem})") from None
    except ValueError as problem:  # damaged TOML, or not UTF-8
        raise error(f"{path}: is no TOML ({problem})") from None
