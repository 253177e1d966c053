"""Keypoint files: the rows of a part file in formats that other programs read.

| ending | content |
|---|---|
| `.csv` | a row per person: `frame,time,id,score,x1,y1,x2,y2`, then `JOINT_x,JOINT_y,JOINT_score`; missing: empty |
| `.jsonl` | a line per frame: `frame`, `time`, `people` as in `Poses.to_dict`; missing: null |
| `.json` | COCO keypoint results: `image_id` is the frame, `track_id` the person's id; missing joints: 0, 0, 0 |
| `.parquet` | the columns of csv, typed; meta in the schema, as JSON under `hrkit`; missing: null |
| `.npz` | a row per person: `frame`, `time`, `id` (-1: none), `score`, `box` (N,4), `box_score`, `keypoints` (N,K,3); \
`frame_times` (F,) of all frames; `keypoint_names` (K,); `meta`, as JSON; missing: NaN |
| `.openpose` | a folder with a JSON file per frame, as OpenPose writes; missing joints: 0, 0, 0 |
| `.txt` | a folder with YOLO's keypoint labels, a text file per frame |
| `.crops` | a folder with a picture per person |

Rows of photos have `file,width,height,person` in the place of `frame,time,id`; `person` is the row in the photo, from
0. Their `.json` is a COCO dataset with `images`, `annotations` and `categories`, and their `.npz` has `files` (F,) and
`sizes` (F,2), which `photo` (N,) is the index of.

Boxes and joints are frame px, times seconds. Meta is that of the part file, plus the version of hrkit and the number of
`frames` or `photos`. A format without a place for it has it beside the file or folder, in `FILE.meta.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve

from hrkit import __version__
from hrkit.errors import HrkitError, UnknownNameError
from hrkit.extraction import folders, tables
from hrkit.extraction.part_file import FrameRows, Meta, read_part
from hrkit.extraction.tables import Frames
from hrkit.files import FilePath, atomic_path, beside, write_text
from hrkit.structures import Frame

_WRITERS: dict[str, Callable[[Frames, Meta, Path], None]] = {
    "csv": tables.write_csv,
    "jsonl": tables.write_jsonl,
    "json": tables.write_coco,
    "parquet": tables.write_parquet,
    "npz": tables.write_npz,
    "openpose": folders.write_openpose,
    "txt": folders.write_yolo,
    "crops": folders.write_crops,
}
_WITH_META = ("parquet", "npz")

FORMATS = tuple(_WRITERS)
"""Names of the formats, which are also the endings of their files."""

FOLDERS = ("openpose", "txt", "crops")
"""Formats that are folders."""


def check_format(target: FilePath, format: str | None = None) -> str:
    """The named format, or that of the target's ending if None. Call it before the work to find mistakes early.

    Raises `HrkitError` for an unknown format or ending, if the format's library is missing, for a folder in place of a
    file, and, for a format that is a folder, for a folder with files that hrkit did not write.
    """
    path = Path(target)
    kind = path.suffix.lower()[1:] if format is None else format
    if kind not in FORMATS and format is not None:
        raise UnknownNameError("keypoint format", format, FORMATS)
    if kind not in FORMATS:
        files, names = (
            ", ".join(f".{name}" for name in FORMATS if (name in FOLDERS) == folder) for folder in (False, True)
        )
        raise HrkitError(
            f"{target}: keypoint files end in {files}, folders of them in {names}; for any other name give the format"
        )
    if kind == "parquet":
        tables.arrow_package()
    if kind not in FOLDERS and path.is_dir():
        raise HrkitError(f"{target} is a folder; name a file")
    if kind in FOLDERS and path.exists():
        ours = path.is_dir() and (not any(path.iterdir()) or meta_path(path).exists())
        if not ours:
            raise HrkitError(f"{target} is there already, and not a folder of hrkit; name another, or remove it")
    return kind


def write_keypoints(
    part: FilePath, target: FilePath, format: str | None = None, image_of: Callable[[FrameRows], Frame] | None = None
) -> dict[str, str]:
    """Writes the content of a part file to `target`, frame by frame, completely or not at all. Replaces a file there.

    `image_of` gives the picture of each frame again, in order, for the format that cuts people out of it. Returns the
    photos that could not be read, with the reasons; they are in the meta too. Raises `HrkitError` as `check_format`
    does and for a damaged part file, `OSError` as the file system does.
    """
    meta, frames = read_part(part)
    count = 0
    failed: dict[str, str] = {}
    for frame in read_part(part)[1]:
        count += not frame.problem
        if frame.problem:
            failed[frame.file] = frame.problem
    counts = {"photos": count, "failed": failed} if tables.of_photos(meta) else {"frames": count}
    good = (frame for frame in frames if not frame.problem)
    if image_of is not None and check_format(target, format) == "crops":
        good = (evolve(frame, image=image_of(frame)) for frame in good)
    write_frames(good, {**meta, **counts}, target, format)
    return failed


def write_frames(
    frames: Frames, meta: Meta, target: FilePath, format: str | None = None, *, meta_beside: bool = True
) -> None:
    """Writes frames in memory as `write_keypoints` does. `meta` has `keypoint_names` and what else readers should know.

    Without `meta_beside`, no meta is written for a format that has no place for it.
    """
    kind, path = check_format(target, format), Path(os.path.abspath(target))
    meta = {"hrkit": __version__, **meta}
    with _whole_folder(path) if kind in FOLDERS else atomic_path(path) as temporary:
        _WRITERS[kind](frames, meta, temporary)
        if kind not in _WITH_META and meta_beside:
            write_meta(meta_path(path), meta)


def meta_path(target: FilePath) -> Path:
    """The path of the meta beside a file: `FILE.meta.json`."""
    return beside(target, ".meta.json")


def write_meta(path: Path, meta: Meta) -> None:
    """Writes meta to a file of its own, with the version of hrkit."""
    write_text(path, json.dumps({"hrkit": __version__, **meta}, indent=1) + "\n")


def read_meta(target: Path, format: str) -> dict[str, Any] | None:
    """The meta of a keypoint file or folder. None if there is none, or none that can be read."""
    with contextlib.suppress(Exception):  # each library has its own errors for damaged files
        if format == "npz":
            with np.load(target, allow_pickle=False) as arrays:
                text = arrays["meta"].item()
        elif format == "parquet":
            import pyarrow.parquet

            text = pyarrow.parquet.read_schema(target).metadata[b"hrkit"]
        else:
            text = meta_path(target).read_text(encoding="utf-8")
        return dict(json.loads(text))
    return None


@contextlib.contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder to fill. It replaces the folder at `target` if the block succeeds."""
    real = target.resolve()  # a link to a folder stays
    real.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{real.name[:20]}-", dir=real.parent) as temporary:
        folder = Path(temporary, real.name)  # unlike `temporary`, it has the usual permissions
        folder.mkdir()
        yield folder
        if real.exists():
            shutil.move(real, Path(temporary, "before"))
        folder.replace(real)
