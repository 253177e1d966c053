"""Whole pictures to train on: varied as in the official HigherHRNet code (lib/dataset/transforms), with their targets.

Of `Augmentation` the settings mean what they do for people one by one, as far as they go. At its defaults a picture is
varied as officially: scaled by 1/1.5 to 1/0.75 of where its short side fits, moved by up to a fifth of that, turned by
up to 30 degrees, mirrored half of the time. With `scale` 0 all of a picture is shown, as in a test. A mirror moves
joints exactly as the picture, where the official code is a cell off at times.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from attrs import Factory, field, frozen
from numpy.typing import NDArray
from pycocotools import mask as regions

from hrkit import geometry
from hrkit.datasets.augmentation import vary_colors
from hrkit.datasets.base import KeypointDataset, read_frame
from hrkit.errors import DatasetError
from hrkit.structures import Size
from hrkit.training.config import Augmentation
from hrkit_higherhrnet.targets import joint_cells, joint_maps

MAX_PEOPLE = 30
"""Of a picture; of more the largest are taken."""

SIGMA = 2.0
"""Of the targets, cells, at both resolutions."""

STRIDES = (4, 2)
"""Input px a cell of the low and the high resolution."""

SHRINK, GROW = 5 / 7, 10 / 7
"""What of `Augmentation.scale` the picture shows less or more: 0.35 gives the official 0.75 to 1.5."""

TURN = 2 / 3
"""What of `Augmentation.rotation` a picture is turned by at most: 45 gives the official 30 degrees."""

MOVE = 4 / 7
"""What of `Augmentation.scale` a picture is moved by at most: 0.35 gives the official fifth."""


@frozen(eq=False)
class Sample:
    """A picture and what should be said of it."""

    image: NDArray[np.uint8]
    """(H,W,3) BGR."""
    low: NDArray[np.float32]
    """(K,H/4,W/4)."""
    high: NDArray[np.float32]
    """(K,H/2,W/2)."""
    low_mask: NDArray[np.float32]
    """(H/4,W/4) 1 where it counts: inside the picture, without the regions in which nobody is labelled."""
    high_mask: NDArray[np.float32]
    """(H/2,W/2)."""
    cells: NDArray[np.int64]
    """(P,K) of the joints in maps (K,H/4,W/4), laid flat."""
    there: NDArray[np.bool_]
    """(P,K) which joints are labelled and inside."""
    row: int


def _ignored(people: KeypointDataset) -> dict[int, list[Any]]:
    by_picture: dict[int, list[Any]] = {}
    for picture, region in people.ignored:
        by_picture.setdefault(picture, []).append(region)
    return by_picture


@frozen(eq=False)
class PictureSamples:
    """The pictures of a dataset that show labelled people: `samples[epoch, place, row]`."""

    people: KeypointDataset
    input_size: Size
    augmentation: Augmentation | None = None
    seed: int = 0
    unit = "pictures"
    pictures: NDArray[np.int64] = field(
        init=False, default=Factory(lambda self: np.unique(self.people.image_index), takes_self=True)
    )
    """Their rows in `people.image_paths`."""
    ignored: dict[int, list[Any]] = field(
        init=False, default=Factory(lambda self: _ignored(self.people), takes_self=True)
    )
    """Regions by the row of their picture."""

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: tuple[int, int, int]) -> Sample:
        epoch, place, row = key
        picture = int(self.pictures[row])
        frame = read_frame(self.people.image_paths[picture])
        everyone = np.flatnonzero(self.people.image_index == picture)
        largest = everyone[np.argsort(-self.people.areas[everyone], kind="stable")]
        keypoints, visible = self.people.keypoints[largest], self.people.visible[largest]
        random = np.random.default_rng([self.seed, epoch, place])
        transform, mirrored = input_transform(frame.shape[:2], self.input_size, self.augmentation, random)
        image = geometry.warp_crops(frame, transform[None], self.input_size)[0]
        if self.augmentation is not None:
            image = vary_colors(image, self.augmentation, random)
        points = geometry.apply_affine(transform, keypoints)
        if mirrored:
            swap = self.people.skeleton.flip_indices
            points, visible = points[:, swap], visible[:, swap]
        counts = counted(frame.shape[:2], self.ignored.get(picture, []))
        sizes = [(self.input_size[0] // stride, self.input_size[1] // stride) for stride in STRIDES]
        low, high = (joint_maps(points / by, visible, size, SIGMA) for by, size in zip(STRIDES, sizes, strict=True))
        low_mask, high_mask = (
            warped_mask(counts, transform / by, size) for by, size in zip(STRIDES, sizes, strict=True)
        )
        cells, there = joint_cells(points[:MAX_PEOPLE] / STRIDES[0], visible[:MAX_PEOPLE], sizes[0])
        return Sample(image, low, high, low_mask, high_mask, cells, there, row)

    def collate(self, samples: list[Sample]) -> dict[str, torch.Tensor]:
        """`images` (N,H,W,3) uint8 BGR, `low`, `high`, `low_mask`, `high_mask`, `cells` and `there` (N,P,K), `rows`."""
        names = {"images": "image", **{name: name for name in ("low", "high", "low_mask", "high_mask")}}
        batch = {name: torch.from_numpy(np.stack([getattr(s, of) for s in samples])) for name, of in names.items()}
        most = max(len(sample.cells) for sample in samples)
        for name in ("cells", "there"):
            padded = [np.pad(getattr(s, name), [(0, most - len(s.cells)), (0, 0)]) for s in samples]
            batch[name] = torch.from_numpy(np.stack(padded))
        return {**batch, "rows": torch.tensor([sample.row for sample in samples])}

    def describe(self, rows: list[int]) -> str:
        """The pictures that the rows are."""
        return f"pictures of the batch: {self.people.image_ids[self.pictures[rows]].tolist()}"


def input_transform(
    frame_size: Size, input_size: Size, augmentation: Augmentation | None, random: np.random.Generator
) -> tuple[NDArray[np.float64], bool]:
    """(2,3) frame px -> input px, and whether it mirrors; without `scale` all of the picture fits, in the middle."""
    given = augmentation or Augmentation(scale=0, rotation=0, flip=0)
    height, width = frame_size
    factor = random.uniform(1 - SHRINK * given.scale, 1 + GROW * given.scale)
    angle = np.deg2rad(random.uniform(-1, 1) * TURN * given.rotation)
    moved = random.uniform(-1, 1, 2) * MOVE * given.scale
    mirrored = bool(random.random() < given.flip)
    fits = min if given.scale else max
    shown = factor * fits(height / input_size[0], width / input_size[1])  # frame px of an input px
    middle = np.array([width, height]) / 2 + moved * shown * min(input_size)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]]) / shown
    transform = np.column_stack([linear, np.array(input_size[::-1]) / 2 - linear @ middle])
    if mirrored:
        transform = np.array([[-1.0, 0], [0, 1]]) @ transform
        transform[0, 2] += input_size[1] - 1
    return transform, mirrored


def counted(frame_size: Size, ignored: list[Any]) -> NDArray[np.uint8]:
    """(H,W) 255 in a frame, but for regions as COCO has them: polygons, run lengths, or a box x, y, width, height."""
    height, width = frame_size
    counts = np.full((height, width), 255, np.uint8)
    for region in ignored:
        for one in _run_lengths(region, height, width):
            counts[regions.decode(one) > 0] = 0
    return counts


def _run_lengths(region: Any, height: int, width: int) -> list[dict[str, Any]]:
    """Raises `DatasetError` for what is none of what COCO has."""
    if isinstance(region, dict):
        if tuple(region.get("size", ())) != (height, width):
            raise DatasetError(f"a region of {region.get('size')} (height, width) in a picture of {[height, width]}")
        plain = isinstance(region.get("counts"), list)
        return [regions.frPyObjects(region, height, width) if plain else region]
    if region and not isinstance(region[0], list):
        x, y, right, bottom = region[0], region[1], region[0] + region[2], region[1] + region[3]
        region = [[x, y, right, y, right, bottom, x, bottom]]
    polygons = [polygon for polygon in region if len(polygon) >= 6]  # of fewer than three corners nothing is inside
    return regions.frPyObjects(polygons, height, width) if polygons else []


def warped_mask(counts: NDArray[np.uint8], transform: NDArray[np.float64], size: Size) -> NDArray[np.float32]:
    """(h,w) 1 where the larger part of a cell counts; `transform` is frame px -> cells."""
    warped = cv2.warpAffine(counts, transform, (size[1], size[0]), flags=cv2.INTER_LINEAR)
    return (warped > 127).astype(np.float32)
