"""Augmentation moves joints with the pixels, comes from one seed, and is not one-sided."""

from __future__ import annotations

import numpy as np
import pytest

from hrkit import geometry
from hrkit.datasets.augmentation import PersonCrops, half_body_box, jitter_box, vary_colors
from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.coco import coco
from hrkit.skeletons import coco17
from hrkit.synthetic import joint_colors
from hrkit.training.config import Augmentation
from made_coco import make_coco

OFFICIAL = Augmentation()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> KeypointDataset:
    folder = tmp_path_factory.mktemp("made")
    make_coco(folder)
    return coco(folder)


def test_the_same_seed_gives_the_same_bytes_and_records_stay(made: KeypointDataset) -> None:
    crops = PersonCrops(made, (256, 192), augmentation=Augmentation(brightness=0.3, saturation=0.3, dropout=0.5))
    before = made.keypoints.copy(), made.boxes.copy()
    first, again, other = crops[1, 7, 3], crops[1, 7, 3], crops[2, 7, 3]
    np.testing.assert_array_equal(first.crop, again.crop)
    np.testing.assert_array_equal(first.keypoints, again.keypoints)
    assert not np.array_equal(first.crop, other.crop)
    np.testing.assert_array_equal(made.keypoints, before[0])
    np.testing.assert_array_equal(made.boxes, before[1])


@pytest.mark.parametrize("udp", [False, True])
def test_joints_stay_on_their_paint(made: KeypointDataset, udp: bool) -> None:
    crops = PersonCrops(made, (256, 192), udp=udp, augmentation=OFFICIAL)
    colors, swap = joint_colors(17).astype(int), coco17.flip_indices
    on_paint, looked = 0, 0
    for place in range(40):
        sample = crops[0, place, place % len(made)]
        mirrored = np.linalg.det(sample.to_crop[:, :2]) < 0
        for k, (x, y) in enumerate(np.round(sample.keypoints).astype(int)):
            if 2 <= x < 190 and 2 <= y < 254:
                looked += 1
                painted = colors[swap[k] if mirrored else k]
                on_paint += np.abs(sample.crop[y, x] - painted).max() < 60
    assert looked > 200
    assert on_paint / looked > 0.9  # other people's discs lie on top of some


def test_without_augmentation_it_is_the_official_crop(made: KeypointDataset) -> None:
    sample = PersonCrops(made, (256, 192))[0, 0, 5]
    expected = geometry.crop_transform(geometry.xyxy_to_xywh(made.boxes[5]), (256, 192))
    np.testing.assert_array_equal(sample.to_crop, expected)


@pytest.mark.slow
def test_the_draws_are_those_of_the_official_code(made: KeypointDataset) -> None:
    crops = PersonCrops(made, (256, 192), augmentation=Augmentation(half_body=0.0))
    plain = PersonCrops(made, (256, 192))[0, 0, 0].to_crop[:, :2]
    linear = np.stack([crops[0, place, 0].to_crop[:, :2] for place in range(1500)])
    factors = np.sqrt(np.linalg.det(plain) / np.abs(np.linalg.det(linear)))
    mirrored = np.linalg.det(linear) < 0
    unmirrored = np.where(mirrored[:, None, None], linear @ np.diag([-1.0, 1.0]), linear)
    degrees = np.rad2deg(np.arctan2(unmirrored[:, 0, 1], unmirrored[:, 0, 0]))
    turned = np.abs(degrees) > 1e-9
    assert 0.65 <= factors.min() < 0.66
    assert 1.34 < factors.max() <= 1.35 + 1e-9
    assert np.median(factors) == pytest.approx(1, abs=0.04)
    assert np.abs(degrees).max() <= 90 + 1e-6
    assert turned.mean() == pytest.approx(0.6, abs=0.05)
    assert np.median(degrees[turned]) == pytest.approx(0, abs=6)
    assert degrees[turned].std() == pytest.approx(44, abs=4)
    assert mirrored.mean() == pytest.approx(0.5, abs=0.05)


def test_half_body_is_about_the_upper_or_lower_joints() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (17, 2)).astype(np.float32)
    points[11:] += [0, 500]
    boxes = [half_body_box(points, np.ones(17, bool), coco17, np.random.default_rng(seed)) for seed in range(400)]
    upper = [box is not None and box[1] < 200 for box in boxes]
    assert np.mean(upper) == pytest.approx(0.69, abs=0.07)  # a normal number below 0.5
    points[11:, 0] = 30
    below = np.arange(17) > 10
    box = half_body_box(points, below, coco17, np.random.default_rng(0))
    assert box is not None
    assert box[2:].min() > 0  # also of joints exactly below each other
    geometry.crop_transform(box, (256, 192))
    few = np.zeros(17, bool)
    few[0] = True
    assert half_body_box(points, few, coco17, np.random.default_rng(0)) is None


def test_edges_of_boxes_move_on_their_own() -> None:
    random = np.random.default_rng(0)
    box = np.array([100.0, 200.0, 50.0, 80.0])
    jittered = np.stack([jitter_box(box, 0.08, random) for _ in range(2000)])
    corners = np.concatenate([jittered[:, :2], jittered[:, :2] + jittered[:, 2:]], 1)
    moves = (corners - [100, 200, 150, 280]) / [50, 80, 50, 80]
    assert np.abs(moves).max() <= 0.16 + 1e-9
    np.testing.assert_allclose(moves.mean(0), 0, atol=0.008)
    np.testing.assert_allclose(moves.std(0), 0.077, atol=0.004)  # normal, cut off at two deviations
    assert np.abs(np.corrcoef(moves.T) - np.eye(4)).max() < 0.08
    assert (np.stack([jitter_box(box, 5.0, random) for _ in range(200)])[:, 2:] > 0).all()


def test_jittered_boxes_keep_joints_on_their_paint(made: KeypointDataset) -> None:
    still = {"scale": 0.0, "rotation": 0.0, "flip": 0.0, "half_body": 0.0}
    plain = PersonCrops(made, (256, 192), augmentation=Augmentation(**still))
    jittered = PersonCrops(made, (256, 192), augmentation=Augmentation(**still, box_jitter=0.08))
    moved = 0
    for place in range(len(made)):
        sample, as_it_is = jittered[0, place, place], plain[0, place, place]
        moved += not np.allclose(sample.to_crop, as_it_is.to_crop)
        frame_points = geometry.apply_affine(geometry.invert_affine(sample.to_crop), sample.keypoints)
        np.testing.assert_allclose(frame_points, made.keypoints[place], atol=1e-3)
    assert moved == len(made)


def test_colors_change_and_nothing_leaves_the_range() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    given = Augmentation(brightness=0.5, contrast=0.5, saturation=1.0, dropout=1.0)
    varied = vary_colors(crop.copy(), given, np.random.default_rng(1))
    assert varied.dtype == np.uint8
    assert varied.shape == crop.shape
    assert not np.array_equal(varied, crop)
    np.testing.assert_array_equal(vary_colors(crop.copy(), Augmentation(), np.random.default_rng(1)), crop)
