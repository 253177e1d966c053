"""The rows of a video while they are extracted: a file that grows by a line a frame, and can be gone on with.

A part file is JSON Lines. The first line is the header, `{"hrkit": version, "meta": {...}}`. Then come, in order,

- frames: `{"frame": 7, "time": 0.28, "people": [[id, score, x1, y1, x2, y2, box_score, x, y, score, ...], ...]}`, with
  x, y, score of every joint; frame px to 3 decimals, scores to 4, null for what is not finite. `id` is null where
  nobody is tracked, and -1 for who has no id yet;
- states: `{"next": 8, "state": {...}}`, all that is needed to go on from frame 8 when the frames before are known.

`meta` is what the rows depend on, as plain values. It has `keypoint_names`; the rest is up to who writes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hrkit import __version__
from hrkit.errors import HrkitError, one_line
from hrkit.structures import Poses

_BEGINNING = b'{"hrkit":'


@frozen(eq=False)
class FrameRows:
    """The N people of one frame, with K joints each, as far as they are known: what is missing is NaN."""

    index: int
    time: float
    """Seconds."""
    ids: NDArray[np.int64] | None
    """(N,) the person's id over time, -1 for none yet; None where nobody is tracked."""
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


@frozen
class _State:
    next_frame: int = 0
    state: Any = None


class PartFile:
    """A part file that is being written, from `begin` or `resume`; closed by `with` or `close`.

    `next_frame` is the index to go on with and `state` what was kept for it: 0 and None in the beginning. A line is
    with the operating system when it is written, and after a state all lines are on the disk. Where that fails, as on
    a full disk, `HrkitError` is raised and the lines before stay whole.
    """

    def __init__(self, path: Path, file: FileIO, keypoint_names: Sequence[str], last: _State) -> None:
        self.path = path
        self.next_frame = last.next_frame
        self.state = last.state
        self._file = file
        self._names = tuple(keypoint_names)

    @classmethod
    def begin(cls, path: str | os.PathLike[str], meta: Mapping[str, Any]) -> PartFile:
        """A new part file; its folder is made where it is missing.

        Raises `HrkitError` where there is one already, where nothing can be written, or without `keypoint_names`.
        """
        target, wanted = Path(path), _plain_meta(meta)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb", buffering=0)
        except OSError as error:
            if target.exists():
                message = f"{target} is there from a run that was interrupted; pass --resume to go on, or remove it"
            else:
                message = f"{target}: cannot be written ({one_line(error)})"
            raise HrkitError(message) from None
        return cls(target, file, wanted["keypoint_names"], _State())._begun(wanted)

    @classmethod
    def resume(cls, path: str | os.PathLike[str], meta: Mapping[str, Any]) -> PartFile:
        """Goes on after the last state, or from the start where there is none; what stands behind it is dropped.

        Raises `HrkitError` for a file begun with another `meta`, damaged before the last state, or no part file at all.
        """
        target, wanted = Path(path), _plain_meta(meta)
        try:
            with target.open("rb") as lines:
                end, last = _last_state(lines, target, wanted)
            file = target.open("r+b", buffering=0)
        except OSError as error:
            raise HrkitError(f"{target}: cannot be resumed ({one_line(error)})") from None
        file.truncate(end)
        file.seek(end)
        part = cls(target, file, wanted["keypoint_names"], last)
        return part if end else part._begun(wanted)

    def write_frame(self, index: int, time: float, poses: Poses) -> None:
        """Adds everybody in the frame `index`, at `time` seconds.

        Raises `HrkitError` for joints that are not those of the header, or when the line cannot be written.
        """
        if poses.skeleton.keypoint_names != self._names:
            raise HrkitError(f"{self.path}: frame {index} has the joints of {poses.skeleton.name}, not the header's")
        self._append({"frame": int(index), "time": float(time), "people": _people(poses)})

    def write_state(self, next_frame: int, state: Mapping[str, Any]) -> None:
        """Makes this the place to resume from; `state` is ready for json.

        Raises `HrkitError` when the line cannot be written.
        """
        self._append({"next": int(next_frame), "state": state}, to_disk=True)

    def close(self) -> None:
        """Ends writing; the file stays."""
        self._file.close()

    def __enter__(self) -> PartFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _begun(self, meta: Mapping[str, Any]) -> PartFile:
        try:
            self._append({"hrkit": __version__, "meta": meta}, to_disk=True)
        except HrkitError:
            self.close()
            raise
        return self

    def _append(self, record: Mapping[str, Any], to_disk: bool = False) -> None:
        rest = memoryview(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        end = self._file.tell()
        try:
            while rest:  # a disk that fills up takes only the first bytes
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
    """Where the part file of `target` lies: `FILE.part.jsonl` beside it."""
    path = Path(os.path.abspath(target))
    return path.with_name(f"{path.name}.part.jsonl")


def read_part(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Iterator[FrameRows]]:
    """`meta` and the frames in order, read as they are asked for; a last line that is cut short is left out.

    Raises `HrkitError` for what is no part file and, when it comes to it, for a damaged line.
    """
    target = Path(path)
    try:
        with target.open("rb") as lines:
            meta = _read_meta(lines.readline(), target)
    except OSError as error:
        raise HrkitError(f"{target}: cannot be read ({one_line(error)})") from None
    return meta, _frames(target, len(meta["keypoint_names"]))


def frame_rows(index: int, time: float, poses: Poses) -> FrameRows:
    """The people of one frame, at `time` seconds, as a part file gives them back: rounded."""
    return _frame_rows(index, time, _people(poses), len(poses.skeleton))


def difference(before: Any, now: Any, name: str = "") -> str:
    """The first that differs between two settings, in a few words; nothing if none does."""
    if isinstance(before, dict) and isinstance(now, dict):
        found = (difference(before.get(key), now.get(key), f"{name}.{key}") for key in {**now, **before})
        return next(filter(None, found), "")
    old, new = (json.dumps(value, ensure_ascii=False, sort_keys=True) for value in (before, now))
    return "" if old == new else f"{name[1:]} was {_brief(old)}, is {_brief(new)}"


def plain(values: NDArray[np.float64]) -> list[Any]:
    """Nested lists for json and csv; None for what is not finite."""
    objects = values.astype(object)
    objects[~np.isfinite(values)] = None
    lists: list[Any] = objects.tolist()
    return lists


def _frames(path: Path, joints: int) -> Iterator[FrameRows]:
    with path.open("rb") as lines:
        lines.readline()
        damaged = 0
        for number, line in enumerate(lines, 2):
            if damaged:
                raise _damaged(path, damaged)
            record = _read(line, joints)
            if record is None:
                damaged = number
            elif isinstance(record, FrameRows):
                yield record


def _last_state(lines: BinaryIO, path: Path, meta: dict[str, Any]) -> tuple[int, _State]:
    """Where the last state of a part file ends, and what it is; 0 for a file whose header is cut short."""
    header = lines.readline()
    if not header.endswith(b"\n") and (header.startswith(_BEGINNING) or _BEGINNING.startswith(header)):
        return 0, _State()
    differing = difference(_read_meta(header, path), meta)
    if differing:
        raise HrkitError(f"{path} was begun with other settings: {differing}; pass those again, or remove the file")
    end = position = len(header)
    last, damaged = _State(), 0
    for number, line in enumerate(lines, 2):
        position += len(line)
        record = _read(line, len(meta["keypoint_names"]))
        if record is None:
            damaged = damaged or number
        elif isinstance(record, _State):
            if damaged:
                raise _damaged(path, damaged)
            end, last = position, record
    return end, last


def _read(line: bytes, joints: int) -> FrameRows | _State | None:
    """What a line after the header holds; None for one that is cut short or damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
        if "next" in record:
            return _State(int(record["next"]), record["state"])
        return _frame_rows(int(record["frame"]), float(record["time"]), record["people"], joints)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
        return None


def _frame_rows(index: int, time: float, people: list[list[Any]], joints: int) -> FrameRows:
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
    """A row a person, rounded."""
    count, joints = poses.keypoint_scores.shape
    triples = np.concatenate([poses.keypoints, poses.keypoint_scores[..., None]], axis=2)
    found = poses.detections
    columns = [poses.scores, found.xyxy, found.scores, triples.reshape(count, 3 * joints)]
    steps = np.array([1e4, *[1e3] * 4, 1e4, *[1e3, 1e3, 1e4] * joints])
    values = np.rint(np.column_stack(columns) * steps) / steps + 0.0  # no -0.0
    ids = [None] * count if poses.track_ids is None else poses.track_ids.tolist()
    return [[track_id, *row] for track_id, row in zip(ids, plain(values), strict=True)]


def _plain_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """As json gives it back."""
    again: dict[str, Any] = json.loads(json.dumps(dict(meta)))
    if not _names_joints(again):
        raise HrkitError("the meta of a part file needs keypoint_names: a list of the skeleton's names")
    return again


def _names_joints(meta: Any) -> bool:
    names = meta.get("keypoint_names") if isinstance(meta, dict) else None
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _read_meta(header: bytes, path: Path) -> dict[str, Any]:
    if header.startswith(_BEGINNING) and header.endswith(b"\n"):
        with contextlib.suppress(ValueError, RecursionError):
            meta = json.loads(header).get("meta")
            if _names_joints(meta):
                return dict(meta)
    raise HrkitError(f"{path} is no part file, or damaged in line 1")


def _damaged(path: Path, number: int) -> HrkitError:
    return HrkitError(f"{path}: damaged in line {number}; to go on from before that, remove it and all lines after it")


def _brief(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
