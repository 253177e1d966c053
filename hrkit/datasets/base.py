"""`KeypointDataset`: a read-only table of people with keypoints, one row per person."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from attrs import evolve, field, frozen
from numpy.typing import ArrayLike, NDArray

from hrkit.errors import DatasetError
from hrkit.files import FilePath
from hrkit.skeletons import same_joints
from hrkit.structures import Frame, Skeleton, check_boxes, frozen_float32, frozen_float64, frozen_int64

Region = Any
"""A region as COCO has it: polygons, run lengths, or a box x, y, width, height in frame px."""

PER_PERSON = ("image_index", "boxes", "keypoints", "visible", "areas", "scores", "ids", "category_ids")
"""The fields with one row per person."""


def _paths(paths: Iterable[FilePath]) -> tuple[str, ...]:
    return tuple(str(path) for path in paths)


def frozen_ids(ids: ArrayLike) -> NDArray[Any]:
    """A read-only copy: whole numbers, or texts if some are."""
    array = np.array(ids)
    array = np.array(array, str if array.dtype.kind in "OSU" else np.int64)
    array.flags.writeable = False
    return array


@frozen
class Ignored:
    """People in a picture whose joints are not labelled, or a crowd. Training and evaluation pass over them."""

    image_index: int
    """The row of the picture."""
    region: Region
    box: tuple[float, ...]
    """x, y, width, height in frame px."""
    crowd: bool = False
    category_id: int | str = 1


def _ignored(people: Iterable[Ignored]) -> tuple[Ignored, ...]:
    return tuple(people)


@frozen(eq=False, repr=False)
class KeypointDataset:
    """N people in M pictures. Raises `DatasetError` if field lengths differ or values are out of range."""

    name: str
    skeleton: Skeleton
    image_paths: tuple[str, ...] = field(converter=_paths)
    """M files; `archive.zip@member` is a file in an archive."""
    image_ids: NDArray[Any] = field(converter=frozen_ids)
    """(M,) the pictures' ids in the annotations: int64, or texts."""
    image_index: NDArray[np.int64] = field(converter=frozen_int64)
    """(N,) the row of each person's picture in `image_paths`."""
    boxes: NDArray[np.float64] = field(converter=frozen_float64)
    """(N,4) x1, y1, x2, y2, frame px."""
    keypoints: NDArray[np.float32] = field(converter=frozen_float32)
    """(N,K,2) x, y, frame px."""
    visible: NDArray[np.float32] = field(converter=frozen_float32)
    """(N,K) 1 if the joint is labelled, else 0."""
    areas: NDArray[np.float64] = field(converter=frozen_float64)
    """(N,) the person's area in frame px squared, for OKS."""
    scores: NDArray[np.float32] = field(converter=frozen_float32)
    """(N,) the score of each box; 1 for annotated boxes."""
    ids: NDArray[Any] = field(converter=frozen_ids)
    """(N,) the ids of the annotations, int64 or texts; -1 for detected boxes."""
    category_ids: NDArray[Any] = field(converter=frozen_ids)
    """(N,) the ids of the categories in the annotations, int64 or texts; 1 by default."""
    annotations: Path | None = None
    """The COCO json that the people come from, if any."""
    ignored: tuple[Ignored, ...] = field(default=(), converter=_ignored)
    """People who are not in the table because their joints are not labelled, crowds included."""

    @category_ids.default
    def _category_1(self) -> NDArray[np.int64]:
        return np.ones(len(self.boxes), np.int64)

    def __attrs_post_init__(self) -> None:
        people, joints = len(self.boxes), len(self.skeleton)
        check_boxes(self.boxes, f"{self.name}: boxes")
        shapes: dict[str, tuple[int, ...]] = {"image_ids": (len(self.image_paths),)}
        shapes |= {"boxes": (people, 4), "keypoints": (people, joints, 2), "visible": (people, joints)}
        for name in ("image_ids", *PER_PERSON):
            shape = shapes.get(name, (people,))
            if getattr(self, name).shape != shape:
                raise DatasetError(f"{self.name}: {name} has shape {getattr(self, name).shape}, wanted {shape}")
        if people and not 0 <= self.image_index.min() <= self.image_index.max() < len(self.image_paths):
            raise DatasetError(f"{self.name}: image_index is out of range for {len(self.image_paths)} pictures")

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        return f"KeypointDataset({self.name}: {len(self)} people, {len(self.image_paths)} pictures)"

    def read_frame(self, row: int) -> Frame:
        """The picture of a person, (H,W,3) uint8 BGR. Raises `DatasetError` with the file if it cannot be read."""
        return read_frame(self.image_paths[self.image_index[row]])

    def digest(self) -> str:
        """A checksum of the people and the names of their pictures, wherever these are."""
        columns = [getattr(self, name) for name in PER_PERSON if name != "scores"]
        names = [*self.skeleton.keypoint_names, *(re.split(r"[/\\\\]", path)[-1] for path in self.image_paths)]
        parts = [np.ascontiguousarray(column).tobytes() for column in columns] + [name.encode() for name in names]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def picture_of(self, row: int) -> KeypointDataset:
        """The picture of a person and its people, as a dataset of their own."""
        picture = int(self.image_index[row])
        people = self.select(np.flatnonzero(self.image_index == picture))
        return evolve(
            people,
            image_paths=self.image_paths[picture : picture + 1],
            image_ids=self.image_ids[picture : picture + 1],
            image_index=np.zeros(len(people)),
            ignored=(),
        )

    def select(self, rows: NDArray[Any] | Sequence[int]) -> KeypointDataset:
        """The same pictures with some of the people."""
        return evolve(self, **{name: getattr(self, name)[rows] for name in PER_PERSON})

    def with_skeleton(self, skeleton: Skeleton) -> KeypointDataset:
        """The same people with the joints of another skeleton, matched by name. Joints without a match are unlabelled.

        Raises `DatasetError` if no joint name matches.
        """
        if skeleton.keypoint_names == self.skeleton.keypoint_names:
            return evolve(self, skeleton=skeleton)
        source = same_joints(skeleton.keypoint_names, self.skeleton.keypoint_names)
        matched = source >= 0
        if not matched.any():
            raise DatasetError(f"{self.name}: {self.skeleton.name} and {skeleton.name} have no joint name in common")
        return evolve(
            self,
            skeleton=skeleton,
            keypoints=self.keypoints[:, source] * matched[:, None],
            visible=self.visible[:, source] * matched,
        )

    def only_category(self) -> int | str:
        """The id of the only category. Raises `DatasetError` if there are several."""
        known = np.unique(self.category_ids).tolist()
        if len(known) > 1:
            names = ", ".join(map(str, known))
            raise DatasetError(
                f"{self.name}: boxes do not say which category they are of ({names}); choose one with --category"
            )
        return known[0] if known else 1

    def with_boxes(
        self, image_ids: ArrayLike, boxes: ArrayLike, scores: ArrayLike, category_ids: ArrayLike | None = None
    ) -> KeypointDataset:
        """The same pictures with detected boxes instead of people.

        `boxes` (N,4) are xyxy in frame px, `scores` (N,) theirs, `image_ids` (N,) those of their pictures, and
        `category_ids` (N,) by default the dataset's only one. Raises `DatasetError` for an unknown picture.
        """
        row_of = {str(image_id): row for row, image_id in enumerate(self.image_ids.tolist())}
        wanted, detected = np.asarray(image_ids).tolist(), np.asarray(boxes, np.float64).reshape(-1, 4)
        unknown = sorted({str(image_id) for image_id in wanted} - row_of.keys())
        if unknown:
            raise DatasetError(f"{self.name}: {len(unknown)} pictures of the boxes are unknown, first id {unknown[0]}")
        people, joints = len(detected), len(self.skeleton)
        return evolve(
            self,
            image_index=[row_of[str(image_id)] for image_id in wanted],
            boxes=detected,
            keypoints=np.zeros((people, joints, 2)),
            visible=np.zeros((people, joints)),
            areas=(detected[:, 2] - detected[:, 0]) * (detected[:, 3] - detected[:, 1]),
            scores=scores,
            ids=np.full(people, -1),
            category_ids=np.full(people, self.only_category()) if category_ids is None else category_ids,
        )


def concatenate(datasets: Sequence[KeypointDataset]) -> KeypointDataset:
    """The people of several datasets in one table, with the joints of the first dataset, matched by name."""
    first, *others = datasets
    if not others:
        return first
    parts = [first, *(one.with_skeleton(first.skeleton) for one in others)]
    offsets = np.cumsum([0, *(len(part.image_paths) for part in parts[:-1])])
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("image_ids", *PER_PERSON)
    }
    columns["image_index"] = np.concatenate([part.image_index + at for part, at in zip(parts, offsets, strict=True)])
    return KeypointDataset(
        name="+".join(part.name for part in parts),
        skeleton=first.skeleton,
        image_paths=[path for part in parts for path in part.image_paths],
        ignored=[
            evolve(one, image_index=one.image_index + int(at))
            for part, at in zip(parts, offsets, strict=True)
            for one in part.ignored
        ],
        **columns,
    )


def read_frame(path: str) -> Frame:
    """A (H,W,3) uint8 BGR picture from a file, or from `archive.zip@member`.

    Raises `DatasetError` with the file if it cannot be read. A truncated JPEG is refused rather than filled with grey.
    """
    content = _content(path)
    # OpenCV decodes a truncated JPEG to grey. A whole one ends with the marker FF D9, perhaps followed by padding.
    if content[:2] == b"\xff\xd8" and b"\xff\xd9" not in content[-1024:]:
        raise DatasetError(f"{path}: the JPEG is cut short; fetch it again")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    frame = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if frame is None:
        raise DatasetError(f"{path}: is no picture, or damaged")
    return frame.astype(np.uint8, copy=False)


def picture_size(path: str) -> tuple[int, int]:
    """The width and height of a picture in px, as stored. Raises as `read_frame`."""
    try:
        with PIL.Image.open(io.BytesIO(_content(path))) as picture:
            return picture.size
    except OSError as error:
        raise DatasetError(f"{path}: is no picture, or damaged ({error})") from None


def _content(path: str) -> bytes:
    try:
        archive, at, member = path.partition(".zip@")
        return _archive(f"{archive}.zip", os.getpid()).read(member) if at else Path(path).read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from None


@functools.lru_cache(maxsize=16)
def _archive(path: str, process: int) -> zipfile.ZipFile:
    """One handle per process: a forked worker must not share its parent's position in the file."""
    return zipfile.ZipFile(path)
