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

Boxes and joints are frame px, times seconds. Meta is that of the part file, plus the version of hrkit and the number of
`frames`. A format without a place for it has it beside the file in `FILE.meta.json`, the folder in its `meta.json`.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrkit.errors import HrkitError, UnknownNameError
from hrkit.extraction.part_file import FrameRows, Meta, plain, read_part
from hrkit.files import atomic_path, plain_stem, write_text
from hrkit.skeletons import coco17
from hrkit.version import __version__

Frames = Iterable[FrameRows]

BATCH = 16_384
"""Frames and people held in memory at once. In parquet, each batch is a row group."""

OPENPOSE_18 = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
)
"""The joints of OpenPose's COCO model, in its order (Cao et al., OpenPose, TPAMI 2019; its doc/02_output.md)."""


def check_format(target: str | os.PathLike[str], format: str | None = None) -> str:
    """The named format, or that of the target's ending if None. Call it before the work to find mistakes early.

    Raises `HrkitError` for an unknown format or ending, if the format's library is missing, for a folder in place of a
    file, and, for openpose, for a folder that is not empty.
    """
    path = Path(target)
    kind = path.suffix.lower()[1:] if format is None else format
    if kind not in FORMATS and format is not None:
        raise UnknownNameError("keypoint format", format, FORMATS)
    if kind not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise HrkitError(f"{target}: keypoint files end in {endings} (a folder); for any other name give the format")
    if kind == "parquet":
        _pyarrow()
    if kind != "openpose" and path.is_dir():
        raise HrkitError(f"{target} is a folder; name a file")
    if kind == "openpose" and path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise HrkitError(f"{target} is there already, and not an empty folder; name another, or remove it")
    return kind


def write_keypoints(part: str | os.PathLike[str], target: str | os.PathLike[str], format: str | None = None) -> None:
    """Writes the content of a part file to `target`, frame by frame, completely or not at all. Replaces a file there.

    Raises `HrkitError` as `check_format` does and for a damaged part file, `OSError` as the file system does.
    """
    meta, frames = read_part(part)
    count = sum(1 for _ in read_part(part)[1])
    write_frames(frames, {**meta, "frames": count}, target, format)


def write_frames(
    frames: Frames, meta: Meta, target: str | os.PathLike[str], format: str | None = None, *, meta_beside: bool = True
) -> None:
    """Writes frames in memory as `write_keypoints` does. `meta` has `keypoint_names` and what else readers should know.

    Without `meta_beside`, no meta is written for a format that has no place for it.
    """
    kind, path = check_format(target, format), Path(os.path.abspath(target))
    meta = {"hrkit": __version__, **meta}
    with _whole_folder(path) if kind == "openpose" else atomic_path(path) as temporary:
        _WRITERS[kind](frames, meta, temporary)
        if kind in _WITHOUT_META and meta_beside:
            write_meta(meta_path(path), meta)


def meta_path(target: str | os.PathLike[str]) -> Path:
    """The path of the meta beside a file: `FILE.meta.json`."""
    path = Path(target)
    return path.with_name(f"{path.name}.meta.json")


def write_meta(path: Path, meta: Meta) -> None:
    """Writes meta to a file of its own, with the version of hrkit."""
    write_text(path, json.dumps({"hrkit": __version__, **meta}, indent=1) + "\n")


# formats: each function writes to the path that it is given


def _write_csv(frames: Frames, meta: Meta, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_column_names(meta))
        for frame in frames:
            rows = plain(np.column_stack([frame.scores, frame.boxes, _flat(frame.keypoints)]))
            people = zip(_ids(frame), rows, strict=True)
            writer.writerows([frame.index, frame.time, track_id, *row] for track_id, row in people)


def _write_jsonl(frames: Frames, meta: Meta, path: Path) -> None:
    names = ("id", "score", "box", "box_score", "keypoints")
    with path.open("w", encoding="utf-8") as file:
        for frame in frames:
            columns = map(plain, (frame.scores, frame.boxes, frame.box_scores, frame.keypoints))
            people = [dict(zip(names, person, strict=True)) for person in zip(_ids(frame), *columns, strict=True)]
            for person in people:
                person["keypoints"] = dict(zip(meta["keypoint_names"], person["keypoints"], strict=True))
            line = {"frame": frame.index, "time": frame.time, "people": people}
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def _write_coco(frames: Frames, meta: Meta, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        before = "[\n"
        for frame in frames:
            joints = _flat(_zero_where_missing(frame.keypoints)).tolist()
            for track_id, score, triples in zip(_ids(frame), np.nan_to_num(frame.scores).tolist(), joints, strict=True):
                result = {"image_id": frame.index, "category_id": 1, "keypoints": triples, "score": score}
                tracked = {} if track_id is None else {"track_id": track_id}
                file.write(before + json.dumps({**result, **tracked}, separators=(",", ":")))
                before = ",\n"
        file.write("[]\n" if before == "[\n" else "\n]\n")


def _write_parquet(frames: Frames, meta: Meta, path: Path) -> None:
    arrow = _pyarrow()
    import pyarrow.parquet

    types = {"frame": arrow.int64(), "time": arrow.float64(), "id": arrow.int64()}
    fields = [(name, types.get(name, arrow.float32())) for name in _column_names(meta)]
    schema = arrow.schema(fields, metadata={"hrkit": json.dumps(meta)})
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for batch in _batches(frames):
            rows = _arrays(batch, len(meta["keypoint_names"]))
            values = np.column_stack([rows["score"], rows["box"], _flat(rows["keypoints"])])
            columns = [rows["frame"], rows["time"], arrow.array(rows["id"], mask=rows["id"] < 0)]
            columns += [arrow.array(np.ascontiguousarray(column), from_pandas=True) for column in values.T]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))


def _write_npz(frames: Frames, meta: Meta, path: Path) -> None:
    times, batches = array("d"), []
    for batch in _batches(frames):
        times.extend(frame.time for frame in batch)
        batches.append(_arrays(batch, len(meta["keypoint_names"])))
    arrays: dict[str, Any] = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    arrays["frame_times"] = np.array(times)
    arrays["keypoint_names"] = np.array(meta["keypoint_names"], np.str_)
    arrays["meta"] = np.array(json.dumps(meta))
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _write_openpose(frames: Frames, meta: Meta, folder: Path) -> None:
    """Writes `STEM_000000000000_keypoints.json` and so on. STEM is that of meta's `source`, or else of the folder.

    The 17 joints of COCO come in the order of `OPENPOSE_18`, others in their own; `pose_keypoints_2d` in meta.json has
    the order. The neck is the mean of the shoulders, with the lower of their scores, and missing if one of them is.
    `person_id` is -1 for a person without an id.
    """
    names = meta["keypoint_names"]
    as_openpose = set(names) == set(coco17.keypoint_names)
    order = list(OPENPOSE_18) if as_openpose else names
    stem = plain_stem(str(meta.get("source") or folder))
    for frame in frames:
        triples = _with_neck(frame.keypoints, names) if as_openpose else frame.keypoints
        people = [
            {"person_id": [-1 if track_id is None else track_id], "pose_keypoints_2d": row}
            for track_id, row in zip(_ids(frame), _flat(_zero_where_missing(triples)).tolist(), strict=True)
        ]
        text = json.dumps({"version": 1.3, "people": people}, separators=(",", ":"))
        (folder / f"{stem}_{frame.index:012d}_keypoints.json").write_text(text, encoding="utf-8")
    write_meta(folder / "meta.json", {**meta, "pose_keypoints_2d": order})


_WRITERS: dict[str, Callable[[Frames, Meta, Path], None]] = {
    "csv": _write_csv,
    "jsonl": _write_jsonl,
    "json": _write_coco,
    "parquet": _write_parquet,
    "npz": _write_npz,
    "openpose": _write_openpose,
}
_WITHOUT_META = ("csv", "jsonl", "json")

FORMATS = tuple(_WRITERS)
"""Names of the formats, which are also the endings of their files."""


# rows


def _column_names(meta: Meta) -> list[str]:
    joints = [f"{name}_{part}" for name in meta["keypoint_names"] for part in ("x", "y", "score")]
    return ["frame", "time", "id", "score", "x1", "y1", "x2", "y2", *joints]


def _ids(frame: FrameRows) -> list[int | None]:
    """One id per person, None for a person without one."""
    ids = [-1] * len(frame) if frame.ids is None else frame.ids.tolist()
    return [track_id if track_id >= 0 else None for track_id in ids]


def _flat(triples: NDArray[Any]) -> NDArray[Any]:  # floats of either size
    """(N,K,3) -> (N,3K)."""
    return triples.reshape(len(triples), 3 * triples.shape[1])


def _zero_where_missing(triples: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,K,3) with 0, 0, 0 for each joint that misses a value, as COCO and OpenPose want it."""
    return np.where(np.isnan(triples).any(2, keepdims=True), 0.0, triples)


def _with_neck(triples: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
    """(N,17,3) of COCO's joints -> (N,18,3) of `OPENPOSE_18`."""
    left, right = (triples[:, names.index(name)] for name in ("left_shoulder", "right_shoulder"))
    middle = ((left + right) / 2).round(3)
    middle[:, 2] = np.minimum(left[:, 2], right[:, 2])
    given = triples[:, [names.index(name) for name in OPENPOSE_18 if name != "neck"]]
    return np.insert(given, OPENPOSE_18.index("neck"), middle, axis=1)


def _batches(frames: Frames) -> Iterator[list[FrameRows]]:
    """The frames in lists of about `BATCH` frames and people together. The last list may be empty."""
    batch: list[FrameRows] = []
    size = 0
    for frame in frames:
        batch.append(frame)
        size += 1 + len(frame)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def _arrays(batch: Sequence[FrameRows], joints: int) -> dict[str, NDArray[Any]]:  # of several types
    """Everybody in these frames, one row each; the id is -1 for a person without one."""
    people = [len(frame) for frame in batch]
    nobody = (np.zeros(0), np.zeros((0, 4)), np.zeros(0), np.zeros((0, joints, 3)))
    parts = [nobody, *((frame.scores, frame.boxes, frame.box_scores, frame.keypoints) for frame in batch)]
    score, box, box_score, keypoints = (np.concatenate(part, dtype=np.float32) for part in zip(*parts, strict=True))
    return {
        "frame": np.repeat(np.array([frame.index for frame in batch], np.int64), people),
        "time": np.repeat(np.array([frame.time for frame in batch], np.float64), people),
        "id": np.array([-1 if track_id is None else track_id for frame in batch for track_id in _ids(frame)], np.int64),
        "score": score,
        "box": box,
        "box_score": box_score,
        "keypoints": keypoints,
    }


# files


def _pyarrow() -> Any:  # pyarrow has no types
    try:
        import pyarrow
    except ImportError:
        raise HrkitError("parquet files need pyarrow: pip install 'hrkit-pose[parquet]'") from None
    return pyarrow


@contextlib.contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder to fill. It replaces an empty folder at `target` if the block succeeds."""
    real = target.resolve()  # a link to a folder stays
    real.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=real.parent) as temporary:
        folder = Path(temporary, target.name)  # unlike `temporary`, it has the usual permissions
        folder.mkdir()
        yield folder
        with contextlib.suppress(FileNotFoundError):
            real.rmdir()
        folder.rename(real)
