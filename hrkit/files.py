"""Output files appear whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


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
