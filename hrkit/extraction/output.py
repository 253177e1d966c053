"""One output: whether it is free, and from its part file to the finished file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hrkit.errors import HrkitError
from hrkit.extraction.formats import check_format, read_meta, write_keypoints
from hrkit.extraction.part_file import FrameRows, Meta, PartFile, changed, part_path
from hrkit.structures import Frame


def check_free(output: Path, format: str | None, *, resume: bool, overwrite: bool) -> None:
    """Raises `HrkitError` if the output cannot be written, or holds what it must not replace. Reads no input."""
    if resume and overwrite:
        raise HrkitError("--resume goes on with what is there and --overwrite begins anew; pass one of them")
    if exists(output) and not overwrite and not resume:
        raise HrkitError(f"{output} exists; pass --overwrite to replace it, or --resume to leave it")
    check_format(output, format)


def is_done(output: Path, format: str | None, meta: Meta, *, resume: bool) -> bool:
    """Whether an earlier run finished the output, from the same input and with the same settings.

    Raises `HrkitError` with `resume` if the output was made of something else.
    """
    if not resume or not exists(output) or part_path(output).exists():
        return False
    before = read_meta(output, check_format(output, format))
    different = "no record of that is left" if before is None else changed(before, meta)
    if different:
        raise HrkitError(f"{output} was made from another input or with other settings: {different}; pass --overwrite")
    return True


def open_rows(output: Path, meta: Meta, *, resume: bool, overwrite: bool) -> PartFile:
    """The part file of the output, new or to go on with. Raises `HrkitError` as `PartFile` does."""
    part = part_path(output)
    if overwrite:
        part.unlink(missing_ok=True)
    return PartFile.resume(part, meta) if resume and part.exists() else PartFile.begin(part, meta)


def finish(output: Path, format: str | None, image_of: Callable[[FrameRows], Frame] | None = None) -> dict[str, str]:
    """Writes the output from its part file, which is removed. Arguments and result are those of `write_keypoints`."""
    failed = write_keypoints(part_path(output), output, format, image_of)
    part_path(output).unlink()
    return failed


def exists(output: Path) -> bool:
    """Whether there is a file, or a folder that is not empty."""
    return any(output.iterdir()) if output.is_dir() else output.exists()
