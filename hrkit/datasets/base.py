"""What a dataset is: a table of people with keypoints, one row a person, that nothing can write to."""

from __future__ import annotations

import functools
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import ArrayLike, NDArray

from hrkit.errors import DatasetError
from hrkit.structures import Skeleton, check_boxes, frozen_float32, frozen_float64, frozen_int64


def _paths(paths: Iterable[str | Path]) -> tuple[str, ...]:
    return tuple(str(path) for path in paths)


def _regions(regions: Iterable[tuple[int, Any]]) -> tuple[tuple[int, Any], ...]:
    return tuple((int(row), region) for row, region in regions)


@frozen(eq=False, repr=False)
class KeypointDataset:
    """N people in M pictures. Raises `DatasetError` for fields of unequal length or values out of range."""

    name: str
    skeleton: Skeleton
    image_paths: tuple[str, ...] = field(converter=_paths)
    """M files; `archive.zip@member` is a file in an archive."""
    image_ids: NDArray[np.int64] = field(converter=frozen_int64)
    """(M,) ids in the annotations."""
    image_index: NDArray[np.int64] = field(converter=frozen_int64)
    """(N,) the row of each person's picture in `image_paths`."""
    boxes: NDArray[np.float64] = field(converter=frozen_float64)
    """(N,4) x1, y1, x2, y2, frame px."""
    keypoints: NDArray[np.float32] = field(converter=frozen_float32)
    """(N,K,2) x, y, frame px."""
    visible: NDArray[np.float32] = field(converter=frozen_float32)
    """(N,K) 1 where a joint is labelled, else 0."""
    areas: NDArray[np.float64] = field(converter=frozen_float64)
    """(N,) the person's area, frame px squared, for OKS."""
    scores: NDArray[np.float32] = field(converter=frozen_float32)
    """(N,) of the box: 1 for annotated ones."""
    ids: NDArray[np.int64] = field(converter=frozen_int64)
    """(N,) of the annotation; -1 for detected boxes."""
    annotations: Path | None = None
    """The COCO json this came from, if it did: evaluation reads it, ignored regions and all."""
    annotated_joints: tuple[int, ...] | None = None
    """(K,) the place of each joint among those of `annotations`, -1 for none; None where they are the same joints."""

    ignored: tuple[tuple[int, Any], ...] = field(default=(), converter=_regions)
    """Regions with people whose joints nobody labelled, crowds among them: the row of the picture, and the region as
    COCO has it, polygons, run lengths or a box x, y, width, height, frame px."""

    def __attrs_post_init__(self) -> None:
        people, joints = len(self.boxes), len(self.skeleton)
        for name, shape in (
            ("image_ids", (len(self.image_paths),)),
            ("image_index", (people,)),
            ("keypoints", (people, joints, 2)),
            ("visible", (people, joints)),
            ("areas", (people,)),
            ("scores", (people,)),
            ("ids", (people,)),
        ):
            if getattr(self, name).shape != shape:
                raise DatasetError(f"{self.name}: {name} has shape {getattr(self, name).shape}, wanted {shape}")
        check_boxes(self.boxes, f"{self.name}: boxes")
        if people and not 0 <= self.image_index.min() <= self.image_index.max() < len(self.image_paths):
            raise DatasetError(f"{self.name}: image_index points beyond the {len(self.image_paths)} pictures")

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        return f"KeypointDataset({self.name}: {len(self)} people, {len(self.image_paths)} pictures)"

    def read_frame(self, row: int) -> NDArray[np.uint8]:
        """The picture of a person: (H,W,3) uint8 BGR. Raises `DatasetError` naming the file if it cannot be read."""
        return read_frame(self.image_paths[self.image_index[row]])

    def select(self, rows: NDArray[Any] | Sequence[int]) -> KeypointDataset:
        """The same pictures with some of the people."""
        names = ("image_index", "boxes", "keypoints", "visible", "areas", "scores", "ids")
        return evolve(self, **{name: getattr(self, name)[rows] for name in names})

    def with_skeleton(self, skeleton: Skeleton) -> KeypointDataset:
        """The same people with another skeleton's joints, matched by name; what is not there is not labelled."""
        if skeleton.keypoint_names == self.skeleton.keypoint_names:
            return evolve(self, skeleton=skeleton)
        own = {name: k for k, name in enumerate(self.skeleton.keypoint_names)}
        source = np.array([own.get(name, -1) for name in skeleton.keypoint_names])
        there = source >= 0
        if not there.any():
            raise DatasetError(f"{self.name}: {self.skeleton.name} and {skeleton.name} have no joint name in common")
        places = np.arange(len(own)) if self.annotated_joints is None else np.array(self.annotated_joints)
        return evolve(
            self,
            skeleton=skeleton,
            annotated_joints=tuple(np.where(there, places[source], -1).tolist()),
            keypoints=self.keypoints[:, source] * there[:, None],
            visible=self.visible[:, source] * there,
        )

    def with_boxes(self, image_ids: ArrayLike, boxes: ArrayLike, scores: ArrayLike) -> KeypointDataset:
        """The same pictures with detected (N,4) xyxy boxes in place of people; pictures by their ids."""
        wanted, detected = np.asarray(image_ids, np.int64), np.asarray(boxes, np.float64).reshape(-1, 4)
        order = np.argsort(self.image_ids)
        place = np.clip(np.searchsorted(self.image_ids, wanted, sorter=order), 0, max(0, len(order) - 1))
        index = order[place] if len(order) else np.zeros(0, np.int64)
        unknown = self.image_ids[index] != wanted if len(order) else np.ones(len(wanted), bool)
        if unknown.any():
            missing = np.unique(wanted[unknown])
            raise DatasetError(f"{self.name}: {len(missing)} pictures of the boxes are unknown, first id {missing[0]}")
        people, joints = len(detected), len(self.skeleton)
        return evolve(
            self,
            image_index=index,
            boxes=detected,
            keypoints=np.zeros((people, joints, 2)),
            visible=np.zeros((people, joints)),
            areas=(detected[:, 2] - detected[:, 0]) * (detected[:, 3] - detected[:, 1]),
            scores=scores,
            ids=np.full(people, -1),
        )


def concatenate(datasets: Sequence[KeypointDataset]) -> KeypointDataset:
    """All people of several datasets in one table, with the joints of the first, matched by name."""
    first, *others = datasets
    if not others:
        return first
    parts = [first, *(one.with_skeleton(first.skeleton) for one in others)]
    offsets = np.cumsum([0, *(len(part.image_paths) for part in parts[:-1])])

    names = ("image_ids", "boxes", "keypoints", "visible", "areas", "scores", "ids")
    joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return KeypointDataset(
        name="+".join(part.name for part in parts),
        skeleton=first.skeleton,
        image_paths=[path for part in parts for path in part.image_paths],
        image_index=np.concatenate([part.image_index + at for part, at in zip(parts, offsets, strict=True)]),
        ignored=[(row + at, region) for part, at in zip(parts, offsets, strict=True) for row, region in part.ignored],
        **joined,
    )


def read_frame(path: str) -> NDArray[np.uint8]:
    """A (H,W,3) uint8 BGR picture from a file, or from `archive.zip@member`.

    Raises `DatasetError` naming the file. JPEGs cut short are refused, not filled with grey.
    """
    try:
        archive, at, member = path.partition(".zip@")
        content = _archive(f"{archive}.zip", os.getpid()).read(member) if at else Path(path).read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from None
    # a damaged JPEG decodes to grey with a warning; whole ones end with the marker FF D9, maybe padded
    if content[:2] == b"\xff\xd8" and b"\xff\xd9" not in content[-1024:]:
        raise DatasetError(f"{path}: the JPEG is cut short; fetch it again")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    frame = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if frame is None:
        raise DatasetError(f"{path}: is no picture, or damaged")
    return frame.astype(np.uint8, copy=False)


@functools.lru_cache(maxsize=16)
def _archive(path: str, process: int) -> zipfile.ZipFile:
    """One handle a process: a forked worker must not share its parent's place in the file."""
    return zipfile.ZipFile(path)
