"""Crops, targets, decoding and flips give what the official HRNet code and MMPose give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from hrkit import geometry
from hrkit.heads.codecs import Codec, create_codec, peaks
from hrkit.skeletons import coco17

pytestmark = pytest.mark.needs_shared

SIZE = (256, 192)


def _codec(name: str) -> Codec:
    return create_codec(name, input_size=SIZE, heatmap_size=(64, 48), sigma=2.0)


@pytest.fixture(scope="module")
def official(shared: Path) -> Mapping[str, np.ndarray]:
    return np.load(shared / "reference" / "official_pre_post_256x192.npz")


@pytest.fixture(scope="module")
def mmpose(shared: Path) -> Mapping[str, np.ndarray]:
    return np.load(shared / "reference" / "mmpose_codecs_192x256.npz")


def test_affine_crops(official: Mapping[str, np.ndarray]) -> None:
    boxes = official["boxes_xywh"]
    # the official code computes these in float32
    np.testing.assert_allclose(geometry.crop_transform(boxes, SIZE), official["affines"], atol=5e-4)
    turned = geometry.crop_transform(boxes, SIZE, rotation=float(official["rotation_deg"]))
    np.testing.assert_allclose(turned, official["affines_rotated"], atol=5e-4)


def test_crop_pixels(official: Mapping[str, np.ndarray], shared: Path) -> None:
    photo = cv2.imread(str(shared / "media" / "person.jpg"))
    crops = geometry.warp_crops(photo, geometry.crop_transform(official["boxes_xywh"], SIZE), SIZE)
    difference = np.abs(crops[..., ::-1].astype(int) - official["crops"])
    assert difference.max() <= 1


def test_peaks_and_keypoints_in_the_photo(official: Mapping[str, np.ndarray]) -> None:
    cells, scores = peaks(torch.from_numpy(official["heatmaps"]))
    empty = official["argmax_score"][..., 0] <= 0
    np.testing.assert_array_equal(cells.numpy()[~empty], official["argmax_xy"][~empty])
    np.testing.assert_array_equal(scores.numpy()[..., None], official["argmax_score"])
    keypoints, scores = _codec("msra").decode(official["heatmaps"])
    to_photo = geometry.invert_affine(geometry.crop_transform(official["boxes_xywh"], SIZE))
    np.testing.assert_allclose(geometry.apply_affine(to_photo, keypoints), official["keypoints_xy"], atol=1e-3)
    np.testing.assert_array_equal(scores[..., None], official["keypoint_scores"])


def test_flip_test(official: Mapping[str, np.ndarray]) -> None:
    pairs = [[coco17.index(name) for name in pair] for pair in coco17.flip_pairs]
    assert pairs == official["flip_pairs"].tolist()
    heatmaps = torch.from_numpy(official["heatmaps"])
    back = _codec("udp").mirrored(heatmaps, coco17.flip_indices)
    np.testing.assert_array_equal(back.numpy(), official["heatmaps_flipped_back"])
    merged = (heatmaps + _codec("msra").mirrored(heatmaps, coco17.flip_indices)) / 2
    np.testing.assert_allclose(merged.numpy(), official["heatmaps_flip_merged_shifted"], atol=1e-6)


def test_targets(official: Mapping[str, np.ndarray]) -> None:
    targets, weights = _codec("msra").encode(official["target_joints_xy"], official["target_visible"])
    np.testing.assert_allclose(targets, official["targets"], atol=1e-5)
    np.testing.assert_array_equal(weights[..., None], official["target_weights"])


@pytest.mark.parametrize("name", ["msra", "dark", "udp"])
def test_mmpose_targets(mmpose: Mapping[str, np.ndarray], name: str) -> None:
    targets, weights = _codec(name).encode(mmpose["keypoints_xy"], mmpose["visible"])
    np.testing.assert_allclose(targets, mmpose[f"{name}_heatmaps"].astype(np.float32), atol=1e-3)
    np.testing.assert_array_equal(weights, mmpose[f"{name}_weights"])


@pytest.mark.parametrize("name", ["msra", "dark", "udp"])
def test_mmpose_decoding(mmpose: Mapping[str, np.ndarray], name: str) -> None:
    codec = _codec(name)
    targets, _ = codec.encode(mmpose["keypoints_xy"], mmpose["visible"])
    heatmaps = 0.8 * targets + mmpose["noise"]
    keypoints, scores = codec.decode(heatmaps)
    x, y = peaks(torch.from_numpy(heatmaps))[0].numpy().transpose(2, 0, 1)
    near, far = (1, 2) if name == "msra" else (0, 1)  # for msra MMPose shifts one cell nearer to the border
    inside = (x > near) & (x < 48 - far) & (y > near) & (y < 64 - far)
    assert inside.sum() > 50
    np.testing.assert_allclose(keypoints[inside], mmpose[f"{name}_decoded_xy"][inside], atol=0.01)
    np.testing.assert_allclose(scores, mmpose[f"{name}_decoded_score"], atol=1e-6)
