"""Formats of one file: csv, jsonl, json (COCO), parquet and npz. Each writer gets the frames, meta and a path."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from hrkit.errors import installed
from hrkit.extraction.part_file import FrameRows, Meta, plain

Frames = Iterable[FrameRows]

BATCH = 16_384
"""Frames and people held in memory at once. In parquet, each batch is a row group."""

SEEN_THRESHOLD = 0.2
"""Joints with a lower score are labelled as there, but not visible."""


def of_photos(meta: Meta) -> bool:
    """Whether the rows are of unrelated photos, rather than of a video."""
    return meta.get("kind") == "photos"


def write_csv(frames: Frames, meta: Meta, path: Path) -> None:
    # file names may hold any bytes
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_column_names(meta))
        for frame in frames:
            rows = plain(np.column_stack([frame.scores, frame.boxes, flat(frame.keypoints)]))
            if of_photos(meta):
                own: Iterable[Any] = ([frame.file, *size_of(frame), person] for person in range(len(rows)))
            else:
                own = ([frame.index, frame.time, track_id] for track_id in ids_of(frame))
            writer.writerows([*first, *row] for first, row in zip(own, rows, strict=True))


def write_jsonl(frames: Frames, meta: Meta, path: Path) -> None:
    names = ("id", "score", "box", "box_score", "keypoints")
    photos = of_photos(meta)
    with path.open("w", encoding="utf-8") as file:
        for frame in frames:
            columns = map(plain, (frame.scores, frame.boxes, frame.box_scores, frame.keypoints))
            people = [dict(zip(names, person, strict=True)) for person in zip(ids_of(frame), *columns, strict=True)]
            for person in people:
                person["keypoints"] = dict(zip(meta["keypoint_names"], person["keypoints"], strict=True))
                if photos:
                    del person["id"]
            width, height = size_of(frame)
            photo = {"file": frame.file, "width": width, "height": height}
            line = {**(photo if photos else {"frame": frame.index, "time": frame.time}), "people": people}
            file.write(json.dumps(line, ensure_ascii=photos, separators=(",", ":")) + "\n")


def write_coco(frames: Frames, meta: Meta, path: Path) -> None:
    """Writes results for a video, and images, annotations and a category for photos, one entry per line."""
    with path.open("w", encoding="utf-8") as file:
        if of_photos(meta):
            _write_dataset(frames, meta, file)
        else:
            _write_list(file, (result for frame in frames for result in _results(frame)))
            file.write("\n")


def _results(frame: FrameRows) -> Iterator[dict[str, Any]]:
    joints = flat(zero_where_missing(frame.keypoints)).tolist()
    scores = np.nan_to_num(frame.scores).tolist()
    for track_id, score, triples in zip(ids_of(frame), scores, joints, strict=True):
        result = {"image_id": frame.index, "category_id": 1, "keypoints": triples, "score": score}
        yield result if track_id is None else {**result, "track_id": track_id}


def _write_dataset(frames: Frames, meta: Meta, file: TextIO) -> None:
    images: list[dict[str, Any]] = []
    numbers = itertools.count(1)

    def annotations() -> Iterator[dict[str, Any]]:
        for image_id, frame in enumerate(frames, 1):
            width, height = size_of(frame)
            images.append({"id": image_id, "file_name": frame.file, "width": width, "height": height})
            flags = visibility(frame.keypoints)
            joints = flat(np.dstack([zero_where_missing(frame.keypoints)[..., :2], flags])).astype(object)
            joints[:, 2::3] = flags
            sides = np.column_stack([frame.boxes[:, :2], (frame.boxes[:, 2:] - frame.boxes[:, :2]).round(3)])
            columns = {
                "bbox": sides.tolist(),
                "area": sides[:, 2:].prod(axis=1).round(3).tolist(),
                "keypoints": joints.tolist(),
                "num_keypoints": (flags > 0).sum(axis=1).tolist(),
                "score": np.nan_to_num(frame.scores).tolist(),
                "keypoint_scores": plain(frame.keypoints[..., 2]),
            }
            for values in zip(*columns.values(), strict=True):
                own = {"id": next(numbers), "image_id": image_id, "category_id": 1, "iscrowd": 0}
                yield {**own, **dict(zip(columns, values, strict=True))}

    file.write('{"annotations":')
    _write_list(file, annotations())
    file.write(',\n"images":')
    _write_list(file, images)
    names = list(meta["keypoint_names"])
    limbs = [[names.index(one) + 1 for one in edge] for edge in meta.get("edges", ())]
    person = {"id": 1, "name": "person", "supercategory": "person", "keypoints": names, "skeleton": limbs}
    file.write(f',\n"categories":[\n{json.dumps(person)}\n]}}\n')


def _write_list(file: TextIO, records: Iterable[Meta]) -> None:
    before = "[\n"
    for record in records:
        file.write(before + json.dumps(record, separators=(",", ":")))
        before = ",\n"
    file.write("[]" if before == "[\n" else "\n]")


def write_parquet(frames: Frames, meta: Meta, path: Path) -> None:
    arrow = arrow_package()
    import pyarrow.parquet

    types = {**dict.fromkeys(("frame", "id", "width", "height", "person"), arrow.int64()), "time": arrow.float64()}
    types["file"] = arrow.string()
    names = _column_names(meta)
    # pandas reads whole numbers with missing values as floats unless it is told their type
    nullable = {"name": "id", "field_name": "id", "pandas_type": "int64", "numpy_type": "Int64", "metadata": None}
    for_pandas = {"index_columns": [], "column_indexes": [], "columns": [nullable] if "id" in names else []}
    schema = arrow.schema(
        [(name, types.get(name, arrow.float32())) for name in names],
        metadata={"hrkit": json.dumps(meta), "pandas": json.dumps(for_pandas)},
    )
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for batch in _batches(frames):
            rows = _arrays(batch, len(meta["keypoint_names"]))
            values = np.column_stack([rows["score"], rows["box"], flat(rows["keypoints"])])
            if of_photos(meta):
                files = [frame.file.encode(errors="replace").decode() for frame in batch for _ in frame.scores]
                columns = [arrow.array(files, arrow.string()), *map(arrow.array, rows["size"].T), rows["person"]]
            else:
                columns = [rows["frame"], rows["time"], arrow.array(rows["id"], mask=rows["id"] < 0)]
            columns += [arrow.array(np.ascontiguousarray(column), from_pandas=True) for column in values.T]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))


def write_npz(frames: Frames, meta: Meta, path: Path) -> None:
    known: list[tuple[float, str, tuple[int, int]]] = []
    batches = []
    for batch in _batches(frames):
        rows = _arrays(batch, len(meta["keypoint_names"]))
        rows["photo"] = np.repeat(np.arange(len(known), len(known) + len(batch)), [len(frame) for frame in batch])
        known += [(frame.time, frame.file, size_of(frame)) for frame in batch]
        batches.append(rows)
    own = ("photo", "person") if of_photos(meta) else ("frame", "time", "id")
    wanted = (*own, "score", "box", "box_score", "keypoints")
    arrays: dict[str, Any] = {name: np.concatenate([batch[name] for batch in batches]) for name in wanted}
    if of_photos(meta):
        arrays["files"] = np.array([file for _, file, _ in known], np.str_)
        arrays["sizes"] = np.array([size for _, _, size in known], np.int64).reshape(-1, 2)
    else:
        arrays["frame_times"] = np.array([time for time, _, _ in known], np.float64)
    arrays["keypoint_names"] = np.array(meta["keypoint_names"], np.str_)
    arrays["meta"] = np.array(json.dumps(meta))
    with path.open("wb") as file:
        np.savez(file, **arrays)


# rows


def _column_names(meta: Meta) -> list[str]:
    """The columns of csv and parquet, in the order in which `write_csv` and `write_parquet` fill them."""
    own = ("file", "width", "height", "person") if of_photos(meta) else ("frame", "time", "id")
    joints = [f"{name}_{part}" for name in meta["keypoint_names"] for part in ("x", "y", "score")]
    return [*own, "score", "x1", "y1", "x2", "y2", *joints]


def ids_of(frame: FrameRows) -> list[int | None]:
    """One id per person, None for a person without one."""
    ids = [-1] * len(frame) if frame.ids is None else frame.ids.tolist()
    return [track_id if track_id >= 0 else None for track_id in ids]


def size_of(frame: FrameRows) -> tuple[int, int]:
    """(width, height) of a frame, px."""
    return frame.size or (0, 0)


def flat(triples: NDArray[Any]) -> NDArray[Any]:  # floats of either size
    """(N,K,3) -> (N,3K)."""
    return triples.reshape(len(triples), 3 * triples.shape[1])


def zero_where_missing(triples: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,K,3) with 0, 0, 0 for each joint that misses a value, as COCO and OpenPose want it."""
    return np.where(np.isnan(triples).any(2, keepdims=True), 0.0, triples)


def visibility(triples: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,K) flags as in COCO: 0 for a missing joint, 1 for one with a low score, 2 for one that is seen."""
    missing = np.isnan(triples).any(2)
    return np.where(missing, 0, np.where(triples[..., 2] >= SEEN_THRESHOLD, 2, 1))


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
        "id": np.array([-1 if one is None else one for frame in batch for one in ids_of(frame)], np.int64),
        "size": np.repeat(np.array([size_of(frame) for frame in batch], np.int64).reshape(-1, 2), people, axis=0),
        "person": np.array([person for count in people for person in range(count)], np.int64),
        "score": score,
        "box": box,
        "box_score": box_score,
        "keypoints": keypoints,
    }


def arrow_package() -> Any:  # pyarrow has no types
    """The package. Raises `HrkitError` that says how to install it."""
    return installed("pyarrow", "a parquet file", "hrkit-pose[parquet]")
