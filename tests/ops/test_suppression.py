"""Suppression, in every version, agrees with the plain one, with the official code, and with its own definition."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crowds import awkward_boxes, awkward_poses, scattered_boxes
from hrkit import ops
from hrkit.errors import HrkitError
from hrkit.ops import native, reference
from hrkit.skeletons import coco17

VERSIONS = [pytest.param(name, marks=pytest.mark.slow if name == "native" else ()) for name in native.CHOICES]


@pytest.fixture(scope="module", params=VERSIONS, autouse=True)
def version(request: pytest.FixtureRequest) -> Iterator[str]:
    """Which version runs."""
    if request.param == "native":
        request.getfixturevalue("built_ops")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HRKIT_OPS", request.param)
        yield request.param


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


@pytest.mark.slow
@given(case=boxes_and_scores, threshold=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
@settings(deadline=None, max_examples=40)
def test_nms_agrees_with_the_plain_version(case: tuple[np.ndarray, ...], threshold: float) -> None:
    boxes, scores, classes = case
    assert ops.nms(boxes, scores, threshold).tolist() == reference.nms(boxes, scores, threshold).tolist()
    got = ops.batched_nms(boxes, scores, classes, threshold)
    assert got.tolist() == reference.batched_nms(boxes, scores, classes, threshold).tolist()


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), n=st.integers(0, 25), threshold=st.sampled_from([0.3, 0.5, 0.9]))
@settings(deadline=None, max_examples=20)
def test_oks_agrees_with_the_plain_version(seed: int, n: int, threshold: float) -> None:
    random = np.random.default_rng(seed)
    center = random.uniform(0, 60, (n, 1, 2))
    poses = np.concatenate([center + random.normal(0, 8, (n, 17, 2)), random.random((n, 17, 1))], axis=2)
    areas, scores = random.uniform(500, 5000, n), random.choice([0.2, 0.5, 0.8, np.nan], n)
    sigmas = coco17.sigmas
    expected = reference.oks(poses, poses, areas, areas, sigmas)
    np.testing.assert_allclose(ops.oks(poses, poses, areas, areas, sigmas), expected, rtol=1e-12, atol=1e-300)
    for name in ("oks_nms", "soft_oks_nms"):
        got = getattr(ops, name)(poses, scores, areas, threshold, sigmas)
        assert got.tolist() == getattr(reference, name)(poses, scores, areas, threshold, sigmas).tolist()
        assert got.dtype == np.int64


@pytest.mark.slow
@pytest.mark.needs_shared
def test_official_results(shared: Path) -> None:
    data = np.load(shared / "reference" / "nms.npz")
    for threshold in (0.3, 0.45, 0.5, 0.7):
        kept = ops.nms(data["boxes"], data["scores"], threshold)
        assert kept.tolist() == data[f"keep_{threshold}"].tolist()
    poses, areas, scores = data["keypoints"], data["areas"], data["pose_scores"]
    row = ops.oks(poses[:1], poses[1:], areas[:1], areas[1:], coco17.sigmas)[0]
    np.testing.assert_allclose(row, data["oks_row0"], rtol=1e-6)
    for threshold in (0.5, 0.9):
        for name in ("oks_nms", "soft_oks_nms"):
            kept = getattr(ops, name)(poses, scores, areas, threshold, coco17.sigmas)
            assert kept.tolist() == data[f"{name.removesuffix('_nms')}_keep_{threshold}"].tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("count", [0, 1, 2, 33, 200])
def test_boxes_as_torchvision(dtype: torch.dtype, count: int) -> None:
    boxes, scores = (torch.from_numpy(values).to(dtype) for values in scattered_boxes(count, count))
    wide = torch.float32 if dtype == torch.float16 else dtype
    for threshold in (0.0, 0.3, 0.5, 1.0):
        expected = torchvision.ops.nms(boxes.to(wide), scores.to(wide), threshold)
        assert ops.nms(boxes, scores, threshold).tolist() == expected.tolist()


@pytest.mark.slow
def test_twenty_thousand_boxes(version: str) -> None:
    if version == "reference":
        pytest.skip("the plain version would take minutes")
    boxes, scores = (torch.from_numpy(values).float() for values in scattered_boxes(1, 20_000))
    expected = torchvision.ops.nms(boxes, scores, 0.45)
    assert ops.nms(boxes, scores, 0.45).tolist() == expected.tolist()
    assert ops.batched_nms(boxes, scores, torch.zeros(20_000), 0.45).tolist() == expected.tolist()


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), count=st.integers(0, 40))
@settings(max_examples=30)
def test_awkward_boxes_as_the_plain_version(seed: int, count: int) -> None:
    boxes, scores, classes = awkward_boxes(seed, count)
    for threshold in (0.0, 0.25, 0.5, 1.0):
        plain = reference.batched_nms(boxes, scores, classes, threshold)
        assert ops.batched_nms(boxes, scores, classes, threshold).tolist() == plain.tolist()
        plain = reference.nms(boxes, scores, threshold)
        for dtype in (np.float16, np.float32, np.float64):  # which all hold whole numbers
            assert ops.nms(boxes.astype(dtype), scores.astype(dtype), threshold).tolist() == plain.tolist()
    for method in ("linear", "gaussian"):
        rows, left = ops.soft_nms(boxes, scores, method=method)  # type: ignore[arg-type]
        plain_rows, plain_left = reference.soft_nms(boxes, scores, 0.3, 0.5, 0.001, method)
        assert rows.tolist() == plain_rows.tolist()
        np.testing.assert_allclose(left, plain_left, rtol=1e-12)


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), count=st.integers(0, 30))
@settings(max_examples=20)
def test_awkward_poses_as_the_plain_version(seed: int, count: int) -> None:
    poses, scores, areas = awkward_poses(seed, count)
    for threshold in (0.0, 0.4, 0.9):
        plain = reference.oks_nms(poses, scores, areas, threshold, coco17.sigmas)
        assert ops.oks_nms(poses, scores, areas, threshold, coco17.sigmas).tolist() == plain.tolist()
    for most in (0, 5, 20):
        plain = reference.soft_oks_nms(poses, scores, areas, 0.5, coco17.sigmas, most)
        assert ops.soft_oks_nms(poses, scores, areas, 0.5, coco17.sigmas, most).tolist() == plain.tolist()


def test_boxes_without_area_and_scores_that_are_no_numbers() -> None:
    boxes = torch.tensor([[5.0, 5, 5, 5], [5, 5, 5, 5], [0, 0, 9, 9], [0, 0, 9, 9], [1, 1, 8, 8]])
    scores = torch.tensor([0.5, 0.4, 0.9, float("nan"), 0.8])
    assert ops.nms(boxes, scores, 0.5).tolist() == [2, 0, 1]


def test_an_overlap_of_just_the_threshold_is_none_too_many(version: str) -> None:
    if version == "reference":
        pytest.skip("the plain version reckons in double precision alone")
    for dtype in (torch.float32, torch.float64):
        boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 3]], dtype=dtype)  # IoU 0.3, which neither type holds exactly
        scores = torch.tensor([1.0, 0.5], dtype=dtype)
        for threshold in (0.3, float(np.float32(0.3)), np.nextafter(0.3, 0), np.nextafter(0.3, 1)):
            assert ops.nms(boxes, scores, threshold).tolist() == torchvision.ops.nms(boxes, scores, threshold).tolist()


@pytest.mark.slow
def test_memory_in_another_order() -> None:
    boxes, scores = (torch.from_numpy(values) for values in scattered_boxes(2, 60))
    classes = torch.arange(60) % 3

    def turned(values: torch.Tensor) -> torch.Tensor:
        """The same numbers, one after the other in no direction."""
        wide = values.repeat_interleave(2, dim=0)[::2].mT if values.ndim == 2 else values.repeat_interleave(2)[::2]
        wide = wide.contiguous().mT if values.ndim == 2 else wide
        assert not wide.is_contiguous()
        return wide

    plain = reference.batched_nms(boxes.numpy(), scores.numpy(), classes.numpy(), 0.4)
    assert ops.batched_nms(turned(boxes), turned(scores), turned(classes), 0.4).tolist() == plain.tolist()
    rows, left = reference.soft_nms(boxes.numpy(), scores.numpy(), 0.3, 0.5, 0.001, "linear")
    got = ops.soft_nms(turned(boxes), turned(scores), method="linear")
    assert got[0].tolist() == rows.tolist()
    np.testing.assert_allclose(got[1], left, rtol=1e-12)
    poses, marks, areas = (torch.from_numpy(values) for values in awkward_poses(3, 30))
    sigmas = torch.tensor(coco17.sigmas)
    given = (poses.flip(2).contiguous().flip(2).mT.contiguous().mT, turned(marks), turned(areas))
    for threshold in (0.4, 0.9):
        plain = reference.oks_nms(poses.numpy(), marks.numpy(), areas.numpy(), threshold, coco17.sigmas)
        assert ops.oks_nms(*given, threshold, turned(sigmas)).tolist() == plain.tolist()
    similar = reference.oks(poses.numpy(), poses.numpy()[:7], areas.numpy(), areas.numpy()[:7], coco17.sigmas)
    got_similar = ops.oks(given[0], given[0][:7], given[2], given[2][:7], turned(sigmas))
    np.testing.assert_allclose(got_similar, similar, rtol=1e-12, atol=1e-300)


def test_settings_of_soft_suppression_that_make_no_sense() -> None:
    boxes, scores = scattered_boxes(0, 5)
    with pytest.raises(HrkitError, match="method"):
        ops.soft_nms(boxes, scores, method="cubic")  # type: ignore[arg-type]
    with pytest.raises(HrkitError, match="sigma"):
        ops.soft_nms(boxes, scores, sigma=0)


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


@pytest.mark.slow
def test_a_class_number_changes_nothing() -> None:
    random = np.random.default_rng(0)
    for _ in range(8):
        corners = random.uniform(0, 400, (300, 2))
        boxes = np.concatenate([corners, corners + random.uniform(5, 90, (300, 2))], axis=1).astype(np.float32)
        scores = random.random(300).astype(np.float32)
        alone = ops.nms(boxes, scores, 0.45)
        np.testing.assert_array_equal(ops.batched_nms(boxes, scores, np.full(300, 639), 0.45), alone)


@pytest.mark.slow
def test_many_equal_scores_keep_their_order(version: str) -> None:
    count = 500 if version == "reference" else 3000
    boxes = np.arange(count)[:, None] * 10.0 + np.array([0, 0, 5, 5])
    assert ops.batched_nms(boxes, np.ones(count), np.arange(count) % 3, 0.5).tolist() == list(range(count))


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.float32, np.float64])
def test_numbers_of_any_kind(dtype: type) -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], dtype)
    boxes.flags.writeable = False
    assert ops.nms(boxes, np.array([1, 3, 2], dtype), 0.5).tolist() == [1, 2]
    assert ops.nms(np.asfortranarray(boxes), [1, 3, 2], 0.5).tolist() == [1, 2]


def test_empty_lists_and_lengths() -> None:
    assert ops.nms([], [], 0.5).tolist() == []
    assert ops.soft_nms([], [])[1].tolist() == []
    assert ops.oks_nms([], [], [], 0.5, coco17.sigmas).tolist() == []
    with pytest.raises(HrkitError, match="boxes must be"):
        ops.nms(np.zeros((2, 4)), np.zeros(1), 0.5)
    with pytest.raises(HrkitError, match="2 poses but 2 areas and 1 scores"):
        ops.oks_nms(np.zeros((2, 17, 2)), np.zeros(1), np.zeros(2), 0.5, coco17.sigmas)
    with pytest.raises(HrkitError, match="2 and 3 poses but 2 and 1 areas"):
        ops.oks(np.zeros((2, 17, 2)), np.zeros((3, 17, 2)), np.zeros(2), np.zeros(1), coco17.sigmas)
    for name in ("oks_nms", "soft_oks_nms"):
        with pytest.raises(HrkitError, match=r"16 sigmas want poses \(N, 16, 2 or more\); got \(2, 17, 2\)"):
            getattr(ops, name)(np.zeros((2, 17, 2)), np.zeros(2), np.zeros(2), 0.5, coco17.sigmas[:16])


GRADIENTS = {
    "nms": (torch.zeros(3, 4), torch.zeros(3), 0.5),
    "batched_nms": (torch.zeros(3, 4), torch.zeros(3), torch.zeros(3), 0.5),
    "soft_nms": (torch.zeros(3, 4), torch.zeros(3)),
    "oks": (torch.zeros(3, 17, 2), torch.zeros(3, 17, 2), torch.zeros(3), torch.zeros(3), torch.ones(17)),
    "oks_nms": (torch.zeros(3, 17, 2), torch.zeros(3), torch.zeros(3), 0.5, torch.ones(17)),
    "soft_oks_nms": (torch.zeros(3, 17, 2), torch.zeros(3), torch.zeros(3), 0.5, torch.ones(17)),
}


@pytest.mark.parametrize("name", list(GRADIENTS))
def test_gradients_are_refused(name: str) -> None:
    given = GRADIENTS[name]
    getattr(ops, name)(*given)
    for place, value in enumerate(given):
        if torch.is_tensor(value):
            wanting = (*given[:place], value.clone().requires_grad_(), *given[place + 1 :])
            with pytest.raises(HrkitError, match=r"gradients do not pass .*\.detach\(\)"):
                getattr(ops, name)(*wanting)


def test_a_pose_that_is_not_finite_is_like_no_other() -> None:
    poses = np.random.default_rng(0).uniform(0, 500, (5, 17, 2))
    poses[4] = np.nan
    scores, areas = np.array([0.5, 0.4, -np.inf, 0.2, 0.9]), np.full(5, 900.0)
    assert ops.soft_oks_nms(poses, scores, areas, 0.9, coco17.sigmas).tolist() == [4, 0, 1, 3, 2]
    assert ops.oks_nms(poses, scores, areas, 0.9, coco17.sigmas).tolist() == [4, 0, 1, 3, 2]


def test_a_soft_threshold_of_nothing_is_refused() -> None:
    with pytest.raises(HrkitError, match="threshold must be above 0"):
        ops.soft_oks_nms(np.zeros((2, 17, 2)), np.ones(2), np.ones(2), 0.0, coco17.sigmas)
