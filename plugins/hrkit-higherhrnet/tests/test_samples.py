"""Training samples: targets match pictures under any augmentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hrkit_higherhrnet import samples
from hrkit_higherhrnet.samples import PictureSamples, counted, input_transform
from hrkit_higherhrnet.targets import joint_cells, joint_maps
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from hrkit import geometry
from hrkit.datasets.base import concatenate
from hrkit.datasets.coco import coco
from hrkit.errors import DatasetError
from hrkit.training.config import Augmentation

PLAIN = Augmentation(scale=0, rotation=0, flip=0)


@settings(max_examples=30)
@given(
    st.integers(1, 4), st.integers(3, 30), st.integers(3, 30), st.sampled_from([1.0, 2.0]), st.integers(0, 2**32 - 1)
)
def test_maps_as_defined(people: int, height: int, width: int, sigma: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    points = random.uniform(-3, 33, (people, 2, 2))
    visible = random.integers(0, 3, (people, 2))
    wanted = np.zeros((2, height, width))
    for person, joint in np.ndindex(people, 2):
        x, y = np.floor(points[person, joint])
        if visible[person, joint] and 0 <= x < width and 0 <= y < height:
            for row, column in np.ndindex(height, width):
                if max(abs(row - y), abs(column - x)) <= 3 * sigma + 1:
                    bump = np.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * sigma**2))
                    wanted[joint, row, column] = max(wanted[joint, row, column], bump)
    np.testing.assert_allclose(joint_maps(points, visible, (height, width), sigma), wanted, atol=1e-6)


def test_cells_point_at_the_peaks() -> None:
    random = np.random.default_rng(0)
    points, visible = random.uniform(-5, 45, (6, 4, 2)), random.integers(0, 2, (6, 4))
    maps = joint_maps(points, visible, (30, 40), 2.0)
    cells, there = joint_cells(points, visible, (30, 40))
    assert 0 < there.sum() < there.size
    assert (maps.ravel()[cells[there]] == 1).all()
    assert (cells[there] // 1200 == np.nonzero(there)[1]).all()


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(64, 64), (64, 128)]))
def test_joints_move_with_the_picture(seed: int, size: tuple[int, int]) -> None:
    random = np.random.default_rng(seed)
    frame = np.zeros((200, 300, 3), np.uint8)
    at = np.array([150.0, 100]) + random.uniform(-20, 20, 2).round()
    cv2.circle(frame, at.astype(int).tolist(), 9, (255, 255, 255), -1)
    frame = cv2.GaussianBlur(frame, (0, 0), 4)  # a hard edge would alias when it is shrunk
    transform, _ = input_transform(frame.shape[:2], size, Augmentation(flip=0.5), random)
    warped = geometry.warp_crops(frame, transform[None], size)[0][..., 0].astype(float)
    y, x = np.mgrid[: size[0], : size[1]]
    expected = geometry.apply_affine(transform, at[None])[0]
    if warped.sum() > 255 * 10 and (expected > 6).all() and (expected < np.array(size[::-1]) - 6).all():
        center = np.array([(warped * x).sum(), (warped * y).sum()]) / warped.sum()
        assert np.abs(center - expected).max() < 0.2


def test_the_official_ranges() -> None:
    random = np.random.default_rng(0)
    shown, moved, mirrored = [], [], 0
    for _ in range(400):
        transform, mirror = input_transform((480, 640), (512, 512), Augmentation(rotation=30), random)
        scale = np.sqrt(abs(np.linalg.det(transform[:, :2])))
        shown.append(512 / 480 / scale)
        middle = geometry.apply_affine(geometry.invert_affine(transform), [[256.0, 256.0]])[0]
        moved.append(np.abs(middle - [320, 240]).max() / (480 * shown[-1]))
        mirrored += mirror
    assert 0.75 <= min(shown) < 0.77
    assert 1.47 < max(shown) <= 1.5
    assert 0.19 < max(moved) < 0.21
    assert 150 < mirrored < 250


def test_samples_are_deterministic(painted_coco: Path) -> None:
    people = coco(painted_coco)
    drawn = PictureSamples(people, (128, 128), Augmentation(), seed=1)
    assert len(drawn) == 6
    first, again, other = drawn[0, 3, 2], drawn[0, 3, 2], drawn[1, 3, 2]
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.high, again.high)
    assert not np.array_equal(first.image, other.image)
    assert first.low.shape == (17, 32, 32)
    assert first.high.shape == (17, 64, 64)
    batch = drawn.collate([first, drawn[0, 0, 0]])
    assert batch["cells"].shape == batch["there"].shape == (2, 2, 17)
    assert batch["images"].shape == (2, 128, 128, 3)
    assert drawn.describe([0, 1]) == f"pictures of the batch: {people.image_ids[:2].tolist()}"


def test_a_mirror_swaps_left_and_right(painted_coco: Path) -> None:
    people = coco(painted_coco)
    plain = PictureSamples(people, (128, 128), PLAIN)[0, 0, 0]
    mirrored = PictureSamples(people, (128, 128), Augmentation(scale=0, rotation=0, flip=1))[0, 0, 0]
    assert np.array_equal(mirrored.image, plain.image[:, ::-1])
    swap = people.skeleton.flip_indices
    peaks = (mirrored.high[:, :, ::-1][swap], plain.high)
    apart = [np.abs(a - b) for a, b in zip(*(np.argwhere(maps == 1) for maps in peaks), strict=False)]
    assert max(step.max() for step in apart) <= 1  # a joint near the edge of a cell may fall into the next


def test_regions_without_labels_do_not_count(painted_coco: Path, tmp_path: Path) -> None:
    content = json.loads(next(painted_coco.glob("person_keypoints_*.json")).read_text())
    picture = content["images"][0]
    crowd = {"image_id": picture["id"], "category_id": 1, "iscrowd": 1, "keypoints": [0] * 51, "num_keypoints": 0}
    height, width = picture["height"], picture["width"]
    half = {"counts": [0, height * (width // 2), height * -(-width // 2)], "size": [height, width]}
    content["annotations"] += [
        {**crowd, "id": 9001, "segmentation": half, "bbox": [0, 0, 10, 10], "area": 100},
        {**crowd, "id": 9002, "iscrowd": 0, "bbox": [width - 20, 0, 20, 30], "area": 600},
    ]
    (tmp_path / "person_keypoints_train.json").write_text(json.dumps(content))
    people = coco(tmp_path, images=next(iter({str(Path(p).parent) for p in coco(painted_coco).image_paths})))
    assert [one.image_index for one in people.ignored] == [0, 0]
    assert len(concatenate([people, people]).ignored) == 4
    assert concatenate([people, people]).ignored[2].image_index == len(people.image_paths)
    sample = PictureSamples(people, (128, 128), PLAIN)[0, 0, 0]
    assert sample.high_mask[:, :32].max() == 0
    tall = height * min(64 / height, 64 / width)
    middle = sample.high_mask[int(32 - tall / 2) + 1 : int(32 + tall / 2) - 1, 33:]
    assert 0.5 < middle.mean() < 1


def test_heatmaps_show_people_without_tags(painted_coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = PictureSamples(coco(painted_coco), (128, 128), PLAIN)[0, 0, 0]
    monkeypatch.setattr(samples, "MAX_PEOPLE", 1)
    one = PictureSamples(coco(painted_coco), (128, 128), PLAIN)[0, 0, 0]
    assert (len(everyone.cells), len(one.cells)) == (2, 1)
    assert np.array_equal(one.low, everyone.low)
    assert np.array_equal(one.high, everyone.high)


def compressed() -> dict[str, Any]:
    region = np.zeros((10, 12), np.uint8, order="F")
    region[3:8, 2:6] = 1
    return mask.encode(region)


@pytest.mark.parametrize(
    "region",
    [
        [2, 3, 4, 5],
        [[2, 3, 6, 3, 6, 8, 2, 8]],
        {"size": [10, 12], "counts": [23, 5, 5, 5, 5, 5, 5, 5, 62]},
        compressed(),
        {**compressed(), "counts": compressed()["counts"].decode()},
    ],
)
def test_regions_in_every_format(region: object) -> None:
    left_out = counted((10, 12), [region]) == 0
    assert left_out.sum() == 20
    assert left_out[3:8, 2:6].all()


@pytest.mark.parametrize("region", [[], [[]], [[2, 3]], [[2, 3, 6, 3]]])
def test_fewer_than_three_corners_enclose_nothing(region: object) -> None:
    assert counted((10, 12), [region]).all()


def test_a_region_of_another_picture_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"a region of \[10, 12\] \(height, width\) in a picture of \[12, 10\]"):
        counted((12, 10), [compressed()])
