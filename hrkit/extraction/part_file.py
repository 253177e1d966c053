"""The rows of a video while it is extracted, in a file that grows with each frame and can be resumed.

A part file is JSON Lines. The first line is the header, `{"hrkit": version, "meta": {...}}`. These follow, in order:

- frames: `{"frame": 7, "time": 0.28, "people": [[id, score, x1, y1, x2, y2, box_score, x, y, score, ...], ...]}`, with
  x, y, score per joint. Frame px have 3 decimals and scores 4; null stands for a value that is not finite. `id` is null
  without tracking, and -1 for a person without an id;
- states: `{"next": 8, "state": {...}}`, what is needed to go on from frame 8 given the frames before.

`meta` is what the rows depend on, as plain values. It needs `keypoint_names`; everything else is up to the writer.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hrkit.errors import HrkitError, one_line
from hrkit.structures import Poses
from hrkit.version import __version__

Meta = Mapping[str, Any]  # the values are those of JSON

_BEGINNING = b'{"hrkit":'


@frozen(eq=False)
class FrameRows:
    """The N people of one frame, with K joints each. Missing values are NaN."""

    index: int
    time: float
    """Seconds."""
    ids: NDArray[np.int64] | None
    """(N,) ids over time, -1 for a person without one; None without tracking."""
    scores: NDArray[np.float64]
    """(N,) as `Poses.scores`."""
    boxes: NDArray[np.float64]
    """(N,4) xyxy, frame px."""
    box_scores: NDArray[np.float64]
    """(N,) confidence of the detector."""
    keypoints: NDArray[np.float64]
    """(N,K,3) x, y in frame px, score."""

    def __len__(self) -> int:
        return len(self.scores)


State = tuple[int, Any]  # the next frame, and JSON values of the follower


class PartFile:
    """A part file open for writing, made by `begin` or `resume`. Close it with `close`, or use it as a context manager.

    `next_frame` is the frame to go on with and `state` what was saved for it; in a new file they are 0 and None. Each
    line is passed to the operating system as it is written, and a state makes sure that all lines are on the disk. If
    writing fails, because the disk is full say, `HrkitError` is raised and the earlier lines stay whole.
    """

    def __init__(self, path: Path, file: FileIO, meta: Meta, last: State) -> None:
        self.path = path
        self.next_frame, self.state = last
        self._file = file
        self._names = tuple(meta["keypoint_names"])
        if file.tell() == 0:
            try:
                self._append({"hrkit": __version__, "meta": meta}, to_disk=True)
            except HrkitError:
                self.close()
                raise

    @classmethod
    def begin(cls, path: str | os.PathLike[str], meta: Meta) -> PartFile:
        """Makes a new part file, and its folder if that is missing.

        Raises `HrkitError` if the file exists, if it cannot be written, and for meta without `keypoint_names`.
        """
        target, meta = Path(path), _checked(meta)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb", buffering=0)
        except OSError as error:
            if target.exists():
                message = f"{target} is there from a run that was interrupted; pass --resume to go on, or remove it"
            else:
                message = f"{target}: cannot be written ({one_line(error)})"
            raise HrkitError(message) from None
        return cls(target, file, meta, (0, None))

    @classmethod
    def resume(cls, path: str | os.PathLike[str], meta: Meta) -> PartFile:
        """Opens a part file to go on after its last state, or from the start without one. Later lines are dropped.

        Raises `HrkitError` for a file begun with another `meta`, one that is damaged before its last state, and one
        that is no part file.
        """
        target, meta = Path(path), _checked(meta)
        try:
            end, last = _last_state(target, meta)
            file = target.open("r+b", buffering=0)
        except OSError as error:
            raise HrkitError(f"{target}: cannot be resumed ({one_line(error)})") from None
        file.truncate(end)
        file.seek(end)
        return cls(target, file, meta, last)

    def write_frame(self, index: int, time: float, poses: Poses) -> None:
        """Adds the people of frame `index`, at `time` seconds.

        Raises `HrkitError` if the joints are not those of the header, and if the line cannot be written.
        """
        if poses.skeleton.keypoint_names != self._names:
            raise HrkitError(f"{self.path}: frame {index} has the joints of {poses.skeleton.name}, not the header's")
        self._append({"frame": int(index), "time": float(time), "people": _people(poses)})

    def write_state(self, next_frame: int, state: Meta) -> None:
        """Makes this the place to resume from; `state` holds JSON values.

        Raises `HrkitError` if the line cannot be written.
        """
        self._append({"next": int(next_frame), "state": state}, to_disk=True)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> PartFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _append(self, record: Meta, to_disk: bool = False) -> None:
        rest = memoryview(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        end = self._file.tell()
        try:
            while rest:  # a disk that fills up accepts only part of it
                rest = rest[self._file.write(rest) :]
            if to_disk:
                os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
                self._file.seek(end)
            raise HrkitError(
                f"{self.path}: cannot be written ({one_line(error)}); put that right and go on with --resume"
            ) from None


def part_path(target: str | os.PathLike[str]) -> Path:
    """The part file of `target`: `FILE.part.jsonl` beside it."""
    path = Path(os.path.abspath(target))
    return path.with_name(f"{path.name}.part.jsonl")


def read_part(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Iterator[FrameRows]]:
    """The `meta` of a part file and its frames in order, read lazily. An incomplete last line is ignored.

    Raises `HrkitError` for a file that is no part file and, while frames are read, for a damaged line.
    """
    target = Path(path)
    try:
        with target.open("rb") as lines:
            header = lines.readline()
    except OSError as error:
        raise HrkitError(f"{target}: cannot be read ({one_line(error)})") from None
    meta = _read_meta(header, target)
    return meta, _frames(target, len(header), len(meta["keypoint_names"]))


def frame_rows(index: int, time: float, poses: Poses) -> FrameRows:
    """The people of one frame, at `time` seconds, rounded as in a part file."""
    return _frame_rows(index, time, _people(poses), len(poses.skeleton))


def as_json(values: Meta) -> dict[str, Any]:
    """The values as they come back from JSON: tuples as lists, keys as texts."""
    return dict(json.loads(json.dumps(dict(values))))


def difference(before: Any, now: Any, name: str = "") -> str:  # any JSON values
    """The first difference between two settings, in a few words; empty if there is none."""
    if isinstance(before, dict) and isinstance(now, dict):
        found = (difference(before.get(key), now.get(key), f"{name}.{key}") for key in {**now, **before})
        return next(filter(None, found), "")
    old, new = (json.dumps(value, ensure_ascii=False, sort_keys=True) for value in (before, now))
    if old == new:
        return ""
    old, new = (text if len(text) <= 60 else f"{text[:57]}..." for text in (old, new))
    return f"{name[1:]} was {old}, is {new}"


def plain(values: NDArray[np.float64]) -> list[Any]:
    """Nested lists for JSON and CSV, with None for values that are not finite."""
    objects = values.astype(object)
    objects[~np.isfinite(values)] = None
    return list(objects.tolist())


def _records(path: Path, start: int, joints: int) -> Iterator[tuple[int, int, FrameRows | State | None]]:
    """The number, the end and the content of each line after the header, which ends at `start`."""
    with path.open("rb") as lines:
        lines.seek(start)
        for number, line in enumerate(lines, 2):
            start += len(line)
            yield number, start, _read(line, joints)


def _frames(path: Path, start: int, joints: int) -> Iterator[FrameRows]:
    damaged = 0
    for number, _, record in _records(path, start, joints):
        if damaged:
            raise _damaged(path, damaged)
        if record is None:
            damaged = number
        elif isinstance(record, FrameRows):
            yield record


def _last_state(path: Path, meta: Meta) -> tuple[int, State]:
    """The end of a part file's last state, and the state; 0 for a file with an incomplete header."""
    with path.open("rb") as lines:
        header = lines.readline()
    if not header.endswith(b"\n") and (header.startswith(_BEGINNING) or _BEGINNING.startswith(header)):
        return 0, (0, None)
    changed = difference(_read_meta(header, path), meta)
    if changed:
        raise HrkitError(f"{path} was begun with other settings: {changed}; pass those again, or remove the file")
    end, damaged = len(header), 0
    last: State = (0, None)
    for number, position, record in _records(path, end, len(meta["keypoint_names"])):
        if record is None:
            damaged = damaged or number
        elif isinstance(record, tuple):
            if damaged:
                raise _damaged(path, damaged)
            end, last = position, record
    return end, last


def _read(line: bytes, joints: int) -> FrameRows | State | None:
    """The content of a line after the header; None if it is incomplete or damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
        if "next" in record:
            return int(record["next"]), record["state"]
        return _frame_rows(int(record["frame"]), float(record["time"]), record["people"], joints)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
        return None


def _frame_rows(index: int, time: float, people: Sequence[Sequence[Any]], joints: int) -> FrameRows:
    ids = [person[0] for person in people]
    values = np.array([person[1:] for person in people], np.float64).reshape(len(people), 6 + 3 * joints)
    return FrameRows(
        index=index,
        time=time,
        ids=None if None in ids else np.array(ids, np.int64),
        scores=values[:, 0],
        boxes=values[:, 1:5],
        box_scores=values[:, 5],
        keypoints=values[:, 6:].reshape(len(people), joints, 3),
    )


def _people(poses: Poses) -> list[list[Any]]:
    """One row per person, rounded."""
    count, joints = poses.keypoint_scores.shape
    triples = np.concatenate([poses.keypoints, poses.keypoint_scores[..., None]], axis=2)
    found = poses.detections
    columns = [poses.scores, found.xyxy, found.scores, triples.reshape(count, 3 * joints)]
    scales = np.array([1e4, *[1e3] * 4, 1e4, *[1e3, 1e3, 1e4] * joints])
    values = np.rint(np.column_stack(columns) * scales) / scales + 0.0  # no -0.0
    ids = [None] * count if poses.track_ids is None else poses.track_ids.tolist()
    return [[track_id, *row] for track_id, row in zip(ids, plain(values), strict=True)]


def _checked(meta: Meta) -> dict[str, Any]:
    again = as_json(meta)
    if not _has_names(again):
        raise HrkitError("the meta of a part file needs keypoint_names: a list of the skeleton's names")
    return again


def _has_names(meta: Any) -> bool:  # whatever a damaged file holds
    names = meta.get("keypoint_names") if isinstance(meta, dict) else None
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _read_meta(header: bytes, path: Path) -> dict[str, Any]:
    if header.startswith(_BEGINNING) and header.endswith(b"\n"):
        with contextlib.suppress(ValueError, RecursionError):
            meta = json.loads(header).get("meta")
            if _has_names(meta):
                return dict(meta)
    raise HrkitError(f"{path} is no part file, or damaged in line 1")


def _damaged(path: Path, number: int) -> HrkitError:
    return HrkitError(f"{path}: damaged in line {number}; to go on from before that, remove it and all lines after it")
