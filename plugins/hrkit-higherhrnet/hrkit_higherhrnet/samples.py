"""Training samples: whole pictures with targets, augmented as in the official code (lib/dataset/transforms).

The settings of `Augmentation` mean the same as for crops of single people, where they apply. The defaults give the
official ranges: pictures are scaled by 1/1.5 to 1/0.75 relative to fitting the short side, moved by up to a fifth of
it, rotated by up to 30 degrees, and mirrored half of the time. With `scale` 0 the whole picture is shown, as in a test.
Mirroring moves joints exactly with the picture; the official code is sometimes a cell off.
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

Region = Any  # Any: a polygon list, run lengths or a box, as JSON has them
RunLengths = dict[str, Any]  # Any: sizes and counts of pycocotools

MAX_PEOPLE = 30
"""Most people in a picture whose tags are trained; the largest are taken."""

SIGMA = 2.0
"""Standard deviation of the targets in cells, at both resolutions."""

STRIDES = (4, 2)
"""Input px per cell of the low and the high resolution."""

SHRINK, GROW = 5 / 7, 10 / 7
"""Shares of `Augmentation.scale` by which the visible part shrinks or grows: 0.35 gives the official 0.75 to 1.5."""

TURN = 2 / 3
"""Share of `Augmentation.rotation` that is the largest rotation: 45 gives the official 30 degrees."""

MOVE = 4 / 7
"""Share of `Augmentation.scale` that is the largest shift: 0.35 gives the official fifth."""


@frozen(eq=False)
class Sample:
    """A picture and its targets."""

    image: NDArray[np.uint8]
    """(H,W,3) BGR."""
    low: NDArray[np.float32]
    """(K,H/4,W/4) heatmaps."""
    high: NDArray[np.float32]
    """(K,H/2,W/2) heatmaps."""
    low_mask: NDArray[np.float32]
    """(H/4,W/4) 1 in cells that count: inside the picture and outside regions with unlabelled people."""
    high_mask: NDArray[np.float32]
    """(H/2,W/2) likewise."""
    cells: NDArray[np.int64]
    """(P,K) flat indices of the joints in maps (K,H/4,W/4)."""
    there: NDArray[np.bool_]
    """(P,K) whether joints are labelled and inside."""
    row: int


def _ignored(people: KeypointDataset) -> dict[int, list[Region]]:
    by_picture: dict[int, list[Region]] = {}
    for one in people.ignored:
        by_picture.setdefault(one.image_index, []).append(one.region)
    return by_picture


@frozen(eq=False)
class PictureSamples:
    """The pictures of a dataset with labelled people, as `samples[epoch, place, row]`."""

    people: KeypointDataset
    input_size: Size
    augmentation: Augmentation | None = None
    seed: int = 0
    unit = "pictures"
    pictures: NDArray[np.int64] = field(
        init=False, default=Factory(lambda self: np.unique(self.people.image_index), takes_self=True)
    )
    """Rows of the pictures in `people.image_paths`."""
    ignored: dict[int, list[Region]] = field(
        init=False, default=Factory(lambda self: _ignored(self.people), takes_self=True)
    )
    """Ignored regions by the row of their picture."""

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
        """A batch: `images` (N,H,W,3) uint8 BGR, `low`, `high`, their masks, `cells` and `there` (N,P,K), `rows`."""
        names = {"images": "image", **{name: name for name in ("low", "high", "low_mask", "high_mask")}}
        batch = {name: torch.from_numpy(np.stack([getattr(s, of) for s in samples])) for name, of in names.items()}
        most = max(len(sample.cells) for sample in samples)
        for name in ("cells", "there"):
            padded = [np.pad(getattr(s, name), [(0, most - len(s.cells)), (0, 0)]) for s in samples]
            batch[name] = torch.from_numpy(np.stack(padded))
        return {**batch, "rows": torch.tensor([sample.row for sample in samples])}

    def describe(self, rows: list[int]) -> str:
        """Names the pictures of these rows, for messages."""
        return f"pictures of the batch: {self.people.image_ids[self.pictures[rows]].tolist()}"


def input_transform(
    frame_size: Size, input_size: Size, augmentation: Augmentation | None, random: np.random.Generator
) -> tuple[NDArray[np.float64], bool]:
    """The (2,3) transform from frame px to input px, and whether it mirrors. With `scale` 0 the whole frame fits."""
    given = augmentation or Augmentation(scale=0, rotation=0, flip=0)
    height, width = frame_size
    factor = random.uniform(1 - SHRINK * given.scale, 1 + GROW * given.scale)
    angle = np.deg2rad(random.uniform(-1, 1) * TURN * given.rotation)
    moved = random.uniform(-1, 1, 2) * MOVE * given.scale
    mirrored = bool(random.random() < given.flip)
    fits = min if given.scale else max
    shown = factor * fits(height / input_size[0], width / input_size[1])  # frame px per input px
    middle = np.array([width, height]) / 2 + moved * shown * min(input_size)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]]) / shown
    transform = np.column_stack([linear, np.array(input_size[::-1]) / 2 - linear @ middle])
    if mirrored:
        transform = np.array([[-1.0, 0], [0, 1]]) @ transform
        transform[0, 2] += input_size[1] - 1
    return transform, mirrored


def counted(frame_size: Size, ignored: list[Region]) -> NDArray[np.uint8]:
    """(H,W) 0 in ignored regions, else 255. Regions are polygons, run lengths, or a box x, y, width, height."""
    height, width = frame_size
    counts = np.full((height, width), 255, np.uint8)
    for region in ignored:
        for one in _run_lengths(region, height, width):
            counts[regions.decode(one) > 0] = 0
    return counts


def _run_lengths(region: Region, height: int, width: int) -> list[RunLengths]:
    """Run lengths of a region in any of COCO's formats. Raises `DatasetError` if its size is not the picture's."""
    if isinstance(region, dict):
        if tuple(region.get("size", ())) != (height, width):
            raise DatasetError(f"a region of {region.get('size')} (height, width) in a picture of {[height, width]}")
        plain = isinstance(region.get("counts"), list)
        return [regions.frPyObjects(region, height, width) if plain else region]
    if region and not isinstance(region[0], list):
        x, y, right, bottom = region[0], region[1], region[0] + region[2], region[1] + region[3]
        region = [[x, y, right, y, right, bottom, x, bottom]]
    polygons = [polygon for polygon in region if len(polygon) >= 6]  # fewer than three corners enclose nothing
    return regions.frPyObjects(polygons, height, width) if polygons else []


def warped_mask(counts: NDArray[np.uint8], transform: NDArray[np.float64], size: Size) -> NDArray[np.float32]:
    """(h,w) 1 in cells of which at least half counts; `transform` maps frame px to cells."""
    warped = cv2.warpAffine(counts, transform, (size[1], size[0]), flags=cv2.INTER_LINEAR)
    return (warped > 127).astype(np.float32)
