"""The rows of a video or of photos while they are extracted, in a file that grows with each frame and can be resumed.

A part file is JSON Lines. The first line is the header, `{"line": 1, "hrkit": version, "meta": {...}}`. These follow:

- frames: `{"frame": 7, "time": 0.28, "size": [640, 480], "people": [[id, score, x1, y1, x2, y2, box_score, x, y, score,
  ...], ...]}`, with x, y, score per joint. Frame px have 3 decimals and scores 4; null stands for a value that is not
  finite. `id` is null without tracking, and -1 for a person without an id. A photo also has its `file`, and one that
  cannot be read has a `problem` and no people;
- states: `{"next": 8, "state": {...}}`, what is needed to go on from frame 8 given the frames before.

Each line begins with its number and ends with a `sum`, which is a digest of the line and of all lines before it. So a
line that is missing, damaged or in another place is found, and nothing after it is used.

`meta` is what the rows are made from, as plain values: the input, the networks, the settings. It needs
`keypoint_names`; everything else is up to the writer.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hrkit import __version__
from hrkit.errors import HrkitError, one_line
from hrkit.files import FilePath, beside
from hrkit.structures import Frame, Poses

logger: logging.Logger = logging.getLogger("hrkit")

Meta = Mapping[str, Any]  # the values are those of JSON

_BEGINNING = b'{"line":1,"hrkit":'
_SUM = b',"sum":"'

NOT_COMPARED = ("versions", "ran_on")
"""Parts of meta that say where the rows were made. A run may go on elsewhere."""


@frozen(eq=False)
class FrameRows:
    """The N people of one frame or photo, with K joints each. Missing values are NaN."""

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
    size: tuple[int, int] | None = None
    """(width, height) of the frame, px, if known."""
    file: str = ""
    """The name of a photo among the inputs."""
    problem: str = ""
    """Why there is nothing of a photo, in one line."""
    image: Frame | None = None
    """The frame itself, for formats that hold pictures."""

    def __len__(self) -> int:
        return len(self.scores)


State = tuple[int, Any]  # the next frame, and JSON values of the follower


class _Chain:
    """Gives each line its number and a checksum of all lines so far, which show lines that are missing or changed."""

    def __init__(self) -> None:
        self.number: int = 0
        self._digest = hashlib.blake2b(digest_size=8)

    def line(self, record: Meta) -> bytes:
        """The next line."""
        text = json.dumps({"line": self.number + 1, **record}, separators=(",", ":"))[:-1].encode()
        return text + _SUM + self._added(text) + b'"}\n'

    def record(self, line: bytes) -> dict[str, Any] | None:
        """The content of the next line; None if this is not it, or not all of it."""
        text, _, end = line.rpartition(_SUM)
        before = self.number, self._digest
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if end == self._added(text) + b'"}\n' and record.get("line") == self.number:
                return dict(record)
        self.number, self._digest = before
        return None

    def _added(self, text: bytes) -> bytes:
        self._digest = self._digest.copy()
        self._digest.update(text)
        self.number += 1
        return self._digest.hexdigest().encode()


class PartFile:
    """A part file open for writing, made by `begin` or `resume`. Close it with `close`, or use it as a context manager.

    `next_frame` is the frame to go on with and `state` what was saved for it; in a new file they are 0 and None. Each
    line is passed to the operating system as it is written, and a state makes sure that all lines are on the disk. If
    writing fails, because the disk is full say, `HrkitError` is raised and the earlier lines stay whole.
    """

    def __init__(self, path: Path, file: FileIO, meta: Meta, last: State, chain: _Chain) -> None:
        self.path = path
        self.next_frame: int = last[0]
        self.state: Any = last[1]
        self._file, self._chain = file, chain
        self._names = tuple(meta["keypoint_names"])
        if file.tell() == 0:
            try:
                self._append({"hrkit": __version__, "meta": meta}, to_disk=True)
            except HrkitError:
                self.close()
                raise

    @classmethod
    def begin(cls, path: FilePath, meta: Meta) -> PartFile:
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
        return cls(target, file, meta, (0, None), _Chain())

    @classmethod
    def resume(cls, path: FilePath, meta: Meta) -> PartFile:
        """Opens a part file to go on after its last good state, or from the start without one. Later lines are dropped.

        A damaged line is logged. Raises `HrkitError` for a file begun with another `meta` and for one that is no part
        file.
        """
        target, meta = Path(path), _checked(meta)
        try:
            end, last, chain = _last_state(target, meta)
            file = target.open("r+b", buffering=0)
        except OSError as error:
            raise HrkitError(f"{target}: cannot be resumed ({one_line(error)})") from None
        file.truncate(end)
        file.seek(end)
        return cls(target, file, meta, last, chain)

    def write_frame(
        self, index: int, time: float, poses: Poses, *, size: tuple[int, int] | None = None, file: str = ""
    ) -> None:
        """Adds the people of frame `index`, at `time` seconds. `size` is (width, height) px; `file` names a photo.

        Raises `HrkitError` if the joints are not those of the header, and if the line cannot be written.
        """
        if poses.skeleton.keypoint_names != self._names:
            raise HrkitError(f"{self.path}: frame {index} has the joints of {poses.skeleton.name}, not the header's")
        more = {**({"file": file} if file else {}), **({"size": size} if size else {})}
        self._append({"frame": int(index), "time": float(time), **more, "people": _people(poses)})

    def write_problem(self, index: int, file: str, problem: str) -> None:
        """Adds a photo that cannot be read, and why. Raises `HrkitError` if the line cannot be written."""
        self._append({"frame": int(index), "time": 0.0, "file": file, "problem": problem, "people": []})

    def write_state(self, next_frame: int, state: Meta | None) -> None:
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
        before = copy.copy(self._chain)
        rest = memoryview(self._chain.line(record))
        end = self._file.tell()
        try:
            while rest:  # a disk that fills up accepts only part of it
                rest = rest[self._file.write(rest) :]
            if to_disk:
                os.fsync(self._file.fileno())
        except OSError as error:
            self._chain = before
            with contextlib.suppress(OSError):
                self._file.truncate(end)
                self._file.seek(end)
            raise HrkitError(
                f"{self.path}: cannot be written ({one_line(error)}); put that right and go on with --resume"
            ) from None


def part_path(target: FilePath) -> Path:
    """The part file of `target`: `FILE.part.jsonl` beside it."""
    return beside(target, ".part.jsonl")


def read_part(path: FilePath) -> tuple[dict[str, Any], Iterator[FrameRows]]:
    """The `meta` of a part file and its frames in order, read lazily. An incomplete last line is ignored.

    Raises `HrkitError` for a file that is no part file and, while frames are read, for a damaged line.
    """
    target = Path(path)
    try:
        with target.open("rb") as lines:
            header = lines.readline()
    except OSError as error:
        raise HrkitError(f"{target}: cannot be read ({one_line(error)})") from None
    meta = _read_meta(header, target, _Chain())
    return meta, _frames(target, len(meta["keypoint_names"]))


def picture_rows(poses: Poses, size: tuple[int, int]) -> FrameRows:
    """The people of a picture of `size`, (width, height) px, rounded as in a part file."""
    return _frame_rows({"frame": 0, "time": 0.0, "size": size, "people": _people(poses)}, len(poses.skeleton))


def as_json(values: Meta) -> dict[str, Any]:
    """The values as they come back from JSON: tuples as lists, keys as texts."""
    return dict(json.loads(json.dumps(dict(values))))


def changed(before: Meta, now: Meta) -> str:
    """What of `now` was different `before`, in a few words; empty if nothing was.

    `before` may hold more, and the parts in `NOT_COMPARED` may differ.
    """
    wanted = {name: value for name, value in as_json(now).items() if name not in NOT_COMPARED}
    return difference({name: before.get(name) for name in wanted}, wanted)


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


def _records(path: Path, joints: int) -> Iterator[tuple[int, FrameRows | State | None, _Chain]]:
    """The end and the content of each line after the header. The last one is None if it is damaged."""
    chain, end = _Chain(), 0
    with path.open("rb") as lines:
        for line in lines:
            end += len(line)
            record = chain.record(line)
            if record is not None and chain.number == 1:
                continue  # the header
            content = None if record is None else _read(record, joints)
            if content is not None or line.endswith(b"\n"):
                yield end, content, chain
            if content is None:
                return


def _frames(path: Path, joints: int) -> Iterator[FrameRows]:
    for _, record, chain in _records(path, joints):
        if record is None:
            raise HrkitError(f"{path}: damaged in line {chain.number + 1}; pass --resume to go on from before that")
        if isinstance(record, FrameRows):
            yield record


def _last_state(path: Path, meta: Meta) -> tuple[int, State, _Chain]:
    """The end of a part file's last good state, the state, and the lines until then.

    The end is 0 for a file with an incomplete header.
    """
    with path.open("rb") as lines:
        header = lines.readline()
    if not header.endswith(b"\n") and (header.startswith(_BEGINNING) or _BEGINNING.startswith(header)):
        return 0, (0, None), _Chain()
    chain = _Chain()
    different = changed(_read_meta(header, path, chain), meta)
    if different:
        raise HrkitError(
            f"{path} was begun with another input or other settings: {different}; pass those again, or --overwrite"
        )
    last: tuple[int, State, _Chain] = (len(header), (0, None), chain)
    for end, record, so_far in _records(path, len(meta["keypoint_names"])):
        if record is None:
            logger.warning("%s: damaged in line %d; going on from frame %d", path, so_far.number + 1, last[1][0])
        elif isinstance(record, tuple):
            last = end, record, copy.copy(so_far)
    return last


def _read(record: Meta, joints: int) -> FrameRows | State | None:
    """The content of a line after the header; None if it makes no sense."""
    try:
        if "next" in record:
            return int(record["next"]), record["state"]
        return _frame_rows(record, joints)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None


def _frame_rows(record: Meta, joints: int) -> FrameRows:
    people: Sequence[Sequence[Any]] = record["people"]
    ids = [person[0] for person in people]
    values = np.array([person[1:] for person in people], np.float64).reshape(len(people), 6 + 3 * joints)
    size = record.get("size")
    return FrameRows(
        index=int(record["frame"]),
        time=float(record["time"]),
        ids=None if None in ids else np.array(ids, np.int64),
        scores=values[:, 0],
        boxes=values[:, 1:5],
        box_scores=values[:, 5],
        keypoints=values[:, 6:].reshape(len(people), joints, 3),
        size=None if size is None else (int(size[0]), int(size[1])),
        file=str(record.get("file", "")),
        problem=str(record.get("problem", "")),
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


def _read_meta(header: bytes, path: Path, chain: _Chain) -> dict[str, Any]:
    record = chain.record(header) if header.startswith(_BEGINNING) else None
    if record is None or not _has_names(record.get("meta")):
        raise HrkitError(f"{path} is no part file, or damaged in line 1; remove it, or pass --overwrite")
    return dict(record["meta"])
