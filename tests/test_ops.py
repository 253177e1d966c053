"""Suppression agrees with the plain versions, with the official code, and with its own definition."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hrkit import ops, ops_reference
from hrkit.errors import HrkitError
from hrkit.skeletons import coco17


def _boxes(corners: np.ndarray) -> np.ndarray:
    return np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1)


# whole numbers, so that IoU meets the threshold exactly, and few scores, so that they tie
boxes_and_scores = st.integers(0, 30).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float32, (n, 4), elements=st.integers(0, 12).map(float)).map(_boxes),
        hnp.arrays(np.float32, n, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, np.nan])),
        hnp.arrays(np.int64, n, elements=st.integers(0, 2)),
    )
)


@given(case=boxes_and_scores, threshold=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
@settings(deadline=None)
def test_nms_agrees_with_the_plain_version(case: tuple[np.ndarray, ...], threshold: float) -> None:
    boxes, scores, classes = case
    assert ops.nms(boxes, scores, threshold).tolist() == ops_reference.nms(boxes, scores, threshold).tolist()
    got = ops.batched_nms(boxes, scores, classes, threshold)
    assert got.tolist() == ops_reference.batched_nms(boxes, scores, classes, threshold).tolist()


@given(seed=st.integers(0, 10**6), n=st.integers(0, 25), threshold=st.sampled_from([0.3, 0.5, 0.9]))
@settings(deadline=None, max_examples=40)
def test_oks_agrees_with_the_plain_version(seed: int, n: int, threshold: float) -> None:
    random = np.random.default_rng(seed)
    center = random.uniform(0, 60, (n, 1, 2))
    poses = np.concatenate([center + random.normal(0, 8, (n, 17, 2)), random.random((n, 17, 1))], axis=2)
    areas, scores = random.uniform(500, 5000, n), random.choice([0.2, 0.5, 0.8, np.nan], n)
    sigmas = coco17.sigmas
    expected = ops_reference.oks(poses, poses, areas, areas, sigmas)
    np.testing.assert_allclose(ops.oks(poses, poses, areas, areas, sigmas), expected, rtol=1e-12, atol=1e-300)
    for name in ("oks_nms", "soft_oks_nms"):
        got = getattr(ops, name)(poses, scores, areas, threshold, sigmas)
        assert got.tolist() == getattr(ops_reference, name)(poses, scores, areas, threshold, sigmas).tolist()
        assert got.dtype == np.int64


@pytest.mark.needs_shared
@pytest.mark.parametrize("module", [ops, ops_reference], ids=["ops", "reference"])
def test_official_results(shared: Path, module: object) -> None:
    data = np.load(shared / "reference" / "nms.npz")
    for threshold in (0.3, 0.45, 0.5, 0.7):
        kept = module.nms(data["boxes"], data["scores"], threshold)
        assert kept.tolist() == data[f"keep_{threshold}"].tolist()
    poses, areas, scores = data["keypoints"], data["areas"], data["pose_scores"]
    row = module.oks(poses[:1], poses[1:], areas[:1], areas[1:], coco17.sigmas)[0]
    np.testing.assert_allclose(row, data["oks_row0"], rtol=1e-6)
    for threshold in (0.5, 0.9):
        for name in ("oks_nms", "soft_oks_nms"):
            kept = getattr(module, name)(poses, scores, areas, threshold, coco17.sigmas)
            assert kept.tolist() == data[f"{name.removesuffix('_nms')}_keep_{threshold}"].tolist()


def test_tensors_in_tensors_out() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]).float()
    kept = ops.nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5)
    assert torch.is_tensor(kept)
    assert kept.dtype == torch.int64
    assert kept.tolist() == [1, 2]


def test_nobody() -> None:
    nothing = np.zeros((0, 17, 2))
    empty = np.zeros(0)
    assert ops.nms(np.zeros((0, 4)), empty, 0.5).shape == (0,)
    assert ops.oks(nothing, nothing, empty, empty, coco17.sigmas).shape == (0, 0)
    assert ops.oks_nms(nothing, empty, empty, 0.5, coco17.sigmas).shape == (0,)
    assert ops.soft_oks_nms(nothing, empty, empty, 0.5, coco17.sigmas).dtype == np.int64


def test_classes_never_meet_wherever_their_boxes_lie() -> None:
    boxes = np.array([[0, 0, 100, 100], [-100, -100, 0, 0], [1, 1, 100, 100]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert ops.batched_nms(boxes, scores, np.array([0, 1, 0]), 0.5).tolist() == [0, 1]
    assert ops.batched_nms(boxes, scores, np.array([0, 10**9, 10**9]), 0.5).tolist() == [0, 1, 2]


def test_a_class_number_changes_nothing() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        corners = random.uniform(0, 400, (300, 2))
        boxes = np.concatenate([corners, corners + random.uniform(5, 90, (300, 2))], axis=1).astype(np.float32)
        scores = random.random(300).astype(np.float32)
        alone = ops.nms(boxes, scores, 0.45)
        np.testing.assert_array_equal(ops.batched_nms(boxes, scores, np.full(300, 639), 0.45), alone)


def test_many_equal_scores_keep_their_order() -> None:
    boxes = np.arange(3000)[:, None] * 10.0 + np.array([0, 0, 5, 5])
    idxs = np.arange(3000) % 3
    assert ops.batched_nms(boxes, np.ones(3000), idxs, 0.5).tolist() == list(range(3000))


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.float32, np.float64])
def test_numbers_of_any_kind(dtype: type) -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], dtype)
    boxes.flags.writeable = False
    assert ops.nms(boxes, np.array([1, 3, 2], dtype), 0.5).tolist() == [1, 2]
    assert ops.nms(np.asfortranarray(boxes), [1, 3, 2], 0.5).tolist() == [1, 2]


def test_empty_lists_gradients_and_lengths() -> None:
    assert ops.nms([], [], 0.5).tolist() == []
    assert ops.oks_nms([], [], [], 0.5, coco17.sigmas).tolist() == []
    poses = torch.rand(3, 17, 2, requires_grad=True)
    assert len(ops.oks_nms(poses, torch.ones(3), torch.ones(3), 0.5, coco17.sigmas)) >= 1
    with pytest.raises(HrkitError, match="boxes must be"):
        ops.nms(np.zeros((2, 4)), np.zeros(1), 0.5)
    with pytest.raises(HrkitError, match="2 poses but 2 areas and 1 scores"):
        ops.oks_nms(np.zeros((2, 17, 2)), np.zeros(1), np.zeros(2), 0.5, coco17.sigmas)


@pytest.mark.parametrize("module", [ops, ops_reference], ids=["ops", "reference"])
def test_a_pose_that_is_not_finite_is_like_no_other(module: ModuleType) -> None:
    poses = np.random.default_rng(0).uniform(0, 500, (5, 17, 2))
    poses[4] = np.nan
    scores, areas = np.array([0.5, 0.4, -np.inf, 0.2, 0.9]), np.full(5, 900.0)
    assert module.soft_oks_nms(poses, scores, areas, 0.9, coco17.sigmas).tolist() == [4, 0, 1, 3, 2]
    assert module.oks_nms(poses, scores, areas, 0.9, coco17.sigmas).tolist() == [4, 0, 1, 3, 2]


def test_a_soft_threshold_of_nothing_is_refused() -> None:
    with pytest.raises(HrkitError, match="threshold must be above 0"):
        ops.soft_oks_nms(np.zeros((2, 17, 2)), np.ones(2), np.ones(2), 0.0, coco17.sigmas)
