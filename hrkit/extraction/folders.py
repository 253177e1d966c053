"""Formats that are folders: a file per frame or photo. Each writer gets the frames, meta and the folder to fill.

The names begin with the stem of the video and the number of the frame, or with the photo's own name without its ending.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrkit.drawing.people import cut_out
from hrkit.errors import HrkitError
from hrkit.extraction.part_file import FrameRows, Meta
from hrkit.extraction.tables import Frames, flat, ids_of, of_photos, visibility, zero_where_missing
from hrkit.files import plain_stem
from hrkit.images import write_image
from hrkit.skeletons import coco17

BODY_25 = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
    *("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel"),
)
"""The joints of OpenPose's default model, in its order (its doc/02_output.md)."""

_MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}
_OTHER_KEYS = (
    *("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"),
    *("pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d", "hand_right_keypoints_3d"),
)


def write_openpose(frames: Frames, meta: Meta, folder: Path) -> None:
    """Writes `NAME_keypoints.json` for each frame, with all keys that OpenPose writes.

    COCO's 17 joints come in the order of `BODY_25`, others in their own. Neck and middle of the hips are the means of
    left and right, with the lower of their scores, and missing if one of them is; COCO has no feet. `person_id` is -1
    for a person without an id.
    """
    names = meta["keypoint_names"]
    as_openpose = set(names) == set(coco17.keypoint_names)
    for name, frame in _named(frames, meta):
        triples = _as_body_25(frame.keypoints, names) if as_openpose else frame.keypoints
        people = [
            {
                "person_id": [-1 if track_id is None else track_id],
                "pose_keypoints_2d": row,
                **{key: list[float]() for key in _OTHER_KEYS},
            }
            for track_id, row in zip(ids_of(frame), flat(zero_where_missing(triples)).tolist(), strict=True)
        ]
        text = json.dumps({"version": 1.3, "people": people}, separators=(",", ":"))
        _file(folder, f"{name}_keypoints.json").write_text(text, encoding="utf-8")


def write_yolo(frames: Frames, meta: Meta, folder: Path) -> None:
    """Writes `NAME.txt` for each frame, a line per person: `0 x y width height` of the box, then `x y flag` per joint.

    All are fractions of the frame's size. The flag is 2 for a joint that is seen, 1 for one with a low score, and 0,
    with x and y 0, for one that is missing or outside the frame.
    """
    for name, frame in _named(frames, meta):
        if frame.size is None:
            raise HrkitError(f"frame {frame.index}: the size of its picture is not known, so it cannot be labelled")
        size = np.array(frame.size, np.float64)
        corners = np.clip(frame.boxes.reshape(-1, 2, 2), 0, size) / size
        points = frame.keypoints[..., :2] / size
        flags = visibility(frame.keypoints)[..., None] * ((points >= 0) & (points <= 1)).all(2, keepdims=True)
        joints = np.where(flags > 0, points, 0.0)
        sides = corners[:, 1] - corners[:, 0]
        rows = np.concatenate([corners.mean(1), sides, flat(np.dstack([joints, flags]))], axis=1)
        line = "0" + 4 * " %.6f" + joints.shape[1] * " %.6f %.6f %d" + "\n"
        text = "".join(line % tuple(row) for row in rows[(sides > 0).all(1)].tolist())
        _file(folder, f"{name}.txt").write_text(text, encoding="utf-8")


def write_crops(frames: Frames, meta: Meta, folder: Path) -> None:
    """Writes `NAME_PERSON.jpg` for each person: the frame inside their box. PERSON is the row, from 0."""
    for name, frame in _named(frames, meta):
        if frame.image is None:
            raise HrkitError("people are cut out of the pictures of the frames, which are missing here")
        for person, crop in enumerate(cut_out(frame.image, frame.boxes)):
            if crop.size:
                write_image(_file(folder, f"{name}_{person}.jpg"), crop)


def _named(frames: Frames, meta: Meta) -> Iterator[tuple[str, FrameRows]]:
    """Each frame with the start of the names of its files; of photos that differ in the ending only, the later ones
    keep it."""
    taken: set[str] = set()
    for frame in frames:
        if not of_photos(meta):
            yield f"{plain_stem(str(meta.get('source') or 'frame'))}_{frame.index:012d}", frame
            continue
        name = str(Path(frame.file).with_suffix(""))
        name = frame.file if name.casefold() in taken else name
        taken.add(name.casefold())
        yield name, frame


def _file(folder: Path, name: str) -> Path:
    path = folder / name  # which may name folders too
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _as_body_25(triples: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
    """(N,17,3) of COCO's joints -> (N,25,3) of `BODY_25`, NaN for what COCO lacks."""
    joints: dict[str, NDArray[Any]] = {name: triples[:, place] for place, name in enumerate(names)}
    for name, sides in _MIDDLES.items():
        left, right = (joints[side] for side in sides)
        joints[name] = ((left + right) / 2).round(3)
        joints[name][:, 2] = np.minimum(left[:, 2], right[:, 2])
    missing = np.full((len(triples), 3), np.nan)
    return np.stack([joints.get(name, missing) for name in BODY_25], axis=1)
