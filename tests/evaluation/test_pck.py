"""PCK, PCKh and OKS a person agree with the official code, with pycocotools and with their definitions."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval

from hrkit.errors import HrkitError
from hrkit.evaluation import pck
from hrkit.skeletons import coco17, lsp14, mpii16


def _one_cell(cells: np.ndarray, size: tuple[int, int], values: np.ndarray) -> np.ndarray:
    """(N,K,h,w) heatmaps with `values` (N,K) at x, y `cells` (N,K,2) and 0 elsewhere."""
    maps = np.zeros((*cells.shape[:2], *size), np.float32)
    people, joints = np.indices(values.shape)
    maps[people, joints, cells[..., 1], cells[..., 0]] = values
    return maps


def _plain_pck(found: np.ndarray, aim: np.ndarray, size: tuple[int, int]) -> list[float]:
    """The definition, one joint of one person at a time; -1 for a joint that nobody has."""
    shares = []
    for joint in range(found.shape[1]):
        near = [
            np.hypot(*((found[i, joint] - aim[i, joint]) / (np.array(size) / 10))) < 0.5
            for i in range(len(found))
            if min(aim[i, joint]) > 1
        ]
        shares.append(sum(near) / len(near) if near else -1.0)
    return shares


@given(seed=st.integers(0, 10**6), n=st.integers(0, 8), size=st.sampled_from([(64, 48), (96, 72), (64, 64), (40, 40)]))
@settings(deadline=None, max_examples=60)
def test_pck_of_heatmaps_is_its_definition(seed: int, n: int, size: tuple[int, int]) -> None:
    random = np.random.default_rng(seed)
    aim = random.integers(0, 12, (n, 5, 2))
    found = np.clip(aim + random.integers(-4, 5, aim.shape), 0, 39)
    labelled, seen = random.random((2, n, 5)) < 0.8
    maps = _one_cell(found, size, np.where(seen, 0.7, -0.1).astype(np.float32))
    targets = _one_cell(aim, size, labelled.astype(np.float32))
    # without anything above 0 the official code takes cell (0, 0)
    expected = _plain_pck(found * seen[..., None], aim * labelled[..., None], size)
    got = pck.pck_heatmaps(maps, targets)
    np.testing.assert_allclose(got.per_joint, expected, rtol=1e-12)
    present = [share for share in expected if share >= 0]
    assert got.num_joints == len(present)
    assert got.mean == pytest.approx(np.mean(present) if present else 0.0)


def test_pck_of_heatmaps_takes_tensors_and_changes_nothing() -> None:
    maps = torch.rand(3, 4, 32, 24, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = maps.detach().clone()
    assert pck.pck_heatmaps(maps, before).per_joint.tolist() == [1, 1, 1, 1]
    assert torch.equal(maps.detach(), before)
    with pytest.raises(HrkitError, match=r"wanted one shape \(N, K, h, w\)"):
        pck.pck_heatmaps(maps, before[:, :3])


@pytest.mark.needs_shared
def test_official_pck(shared: Path) -> None:
    data = np.load(shared / "reference" / "official_pre_post_256x192.npz")
    got = pck.pck_heatmaps(data["heatmaps"], data["targets"])
    np.testing.assert_allclose([got.mean, *got.per_joint], data["pck_per_joint"], atol=1e-12)
    assert got.mean == pytest.approx(float(data["pck_mean"]))
    assert got.num_joints == data["pck_count"]
    itself = pck.pck_heatmaps(data["targets"], data["targets"])
    np.testing.assert_array_equal(itself.per_joint >= 0, data["pck_per_joint"][1:] >= 0)
    assert itself.mean == 1


def _people(seed: int, n: int, joints: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.uniform(0, 200, (n, joints, 2))
    return truth + random.normal(0, 15, truth.shape), truth, random.random((n, joints)) < 0.7


similarity = st.tuples(st.floats(0.05, 20), st.floats(-np.pi, np.pi), st.floats(-1e3, 1e3))


def _move(points: np.ndarray, how: tuple[float, float, float]) -> np.ndarray:
    scale, angle, shift = how
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return scale * points @ turn + shift


@given(seed=st.integers(0, 10**6), n=st.integers(0, 12), how=similarity)
@settings(deadline=None)
def test_pck_of_a_person_does_not_depend_on_where_and_how_large(
    seed: int, n: int, how: tuple[float, float, float]
) -> None:
    predictions, truth, visible = _people(seed, n, 14)
    torso = pck.torso_scale(truth, visible, lsp14)
    got = pck.pck(predictions, truth, visible, torso)
    moved_torso = pck.torso_scale(_move(truth, how), visible, lsp14)
    np.testing.assert_allclose(moved_torso, how[0] * torso, rtol=1e-6)
    moved = pck.pck(_move(predictions, how), _move(truth, how), visible, moved_torso)
    np.testing.assert_allclose(moved.per_joint, got.per_joint)
    assert moved.num_joints == got.num_joints


def test_pck_by_hand() -> None:
    truth = np.zeros((3, 3, 2))
    predictions = np.array([[[3, 4], [0, 5.1], [np.nan, 0]], [[0, 10], [0, 0], [0, 0]], [[0, 0], [0, 0], [0, 0]]])
    visible = np.array([[2, 1, 1], [1, 0, 0], [1, 1, 1]])
    got = pck.pck(predictions, truth, visible, [25, 50, np.nan], threshold=0.2)  # 5 px, 10 px, unknown
    assert got.per_joint.tolist() == [1, 0, 0]  # equal to the threshold is within, NaN is wrong
    assert got.mean == pytest.approx(1 / 3)
    assert pck.pck(predictions, truth, visible * [1, 0, 1], [25, 50, 0]).per_joint.tolist() == [1, -1, 0]
    nobody = pck.pck(np.zeros((0, 3, 2)), np.zeros((0, 3, 2)), np.zeros((0, 3)), np.zeros(0))
    assert nobody.per_joint.tolist() == [-1, -1, -1]
    assert (nobody.mean, nobody.num_joints) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 3, 2)), np.zeros((2, 3, 2)), np.zeros((2, 4)), np.ones(2)), "predictions shape"),
        ((np.zeros((2, 3, 2)), np.zeros((1, 3, 2)), np.zeros((2, 3)), np.ones(2)), "ground truth shape"),
        ((np.zeros((2, 3, 2)), np.zeros((2, 3, 2)), np.zeros((2, 3)), np.ones(3)), r"scale has shape \(3,\)"),
        ((np.zeros((2, 3, 2)), np.zeros((2, 3, 2)), np.zeros(3), np.ones(2)), r"wanted \(N, K\)"),
    ],
)
def test_pck_of_arrays_that_do_not_fit(arguments: tuple, message: str) -> None:
    with pytest.raises(HrkitError, match=message):
        pck.pck(*arguments)


@pytest.mark.needs_shared
def test_official_pckh(shared: Path) -> None:
    data = np.load(shared / "reference" / "mpii_pckh.npz")
    heads = data["head_boxes"].transpose(2, 0, 1).reshape(-1, 4) - 1
    truth = data["ground_truth_xy"].transpose(2, 0, 1) - 1
    got = pck.pckh(data["predictions_xy"], truth, data["joint_missing"].T, heads)
    assert list(got) == data["metric_names"].tolist()
    np.testing.assert_allclose(list(got.values()), data["metrics"], rtol=1e-12)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), how=similarity)
@settings(deadline=None)
def test_pckh_does_not_depend_on_the_size_or_the_order_of_joints(
    seed: int, n: int, how: tuple[float, float, float]
) -> None:
    predictions, truth, visible = _people(seed, n, 16)
    corner = np.random.default_rng(seed).uniform(0, 100, (n, 2))
    heads = np.concatenate([corner, corner + 40], axis=1)
    got = pck.pckh(predictions, truth, ~visible, heads)
    larger = pck.pckh(_move(predictions, how), _move(truth, how), ~visible, heads * how[0])
    shuffled = np.random.default_rng(seed).permutation(16)
    names = [mpii16.keypoint_names[joint] for joint in shuffled]
    other = pck.pckh(predictions[:, shuffled], truth[:, shuffled], ~visible[:, shuffled], heads, names)
    assert larger == pytest.approx(got)
    assert other == pytest.approx(got)


def test_pckh_without_labels_or_names() -> None:
    nobody = pck.pckh(np.zeros((0, 16, 2)), np.zeros((0, 16, 2)), np.zeros((0, 16)), np.zeros((0, 4)))
    assert set(nobody.values()) == {-1.0}
    one_side = np.ones((1, 16))
    one_side[0, mpii16.index("left_knee")] = 0
    points = np.zeros((1, 16, 2))
    got = pck.pckh(points, points, one_side, [[0, 0, 3, 4]])
    assert got == {**nobody, "Knee": 100.0, "Mean": 100.0, "Mean@0.1": 100.0}
    with pytest.raises(HrkitError, match="no joint 'head_top'"):
        pck.pckh(points, points, one_side, [[0, 0, 3, 4]], coco17.keypoint_names[:16])


def _coco_oks(prediction: np.ndarray, truth: np.ndarray, visible: np.ndarray, area: float, sigmas: np.ndarray) -> float:
    measured = COCOeval(iouType="keypoints")
    measured.params.kpt_oks_sigmas = sigmas
    measured._gts, measured._dts = defaultdict(list), defaultdict(list)
    labels = np.concatenate([truth, visible[:, None]], axis=1)
    measured._gts[1, 1] = [{"keypoints": labels.ravel().tolist(), "bbox": [0, 0, 10, 10], "area": area}]
    scored = np.concatenate([prediction, np.ones((len(truth), 1))], axis=1)
    measured._dts[1, 1] = [{"keypoints": scored.ravel().tolist(), "score": 1.0}]
    return float(measured.computeOks(1, 1)[0, 0])


@given(seed=st.integers(0, 10**6), n=st.integers(0, 6), skeleton=st.sampled_from([coco17, lsp14]))
@settings(deadline=None, max_examples=40)
def test_oks_of_a_person_is_that_of_pycocotools(seed: int, n: int, skeleton: object) -> None:
    sigmas = skeleton.sigmas
    predictions, truth, labelled = _people(seed, n, len(sigmas))
    visible = labelled * np.random.default_rng(seed).integers(1, 3, labelled.shape)
    areas = np.random.default_rng(seed).uniform(0, 2e4, n)
    got = pck.person_oks(predictions, truth, visible, areas, sigmas)
    for i in range(n):
        if labelled[i].any():
            assert got[i] == pytest.approx(_coco_oks(predictions[i], truth[i], visible[i], areas[i], sigmas), rel=1e-12)
        else:
            assert np.isnan(got[i])


def test_oks_of_a_person_by_hand() -> None:
    sigmas = coco17.sigmas
    truth = np.random.default_rng(0).uniform(0, 100, (4, 17, 3))
    visible = np.ones((4, 17))
    predictions = truth.copy()
    predictions[1, :2] = np.nan
    predictions[1, 2:] = truth[1, 2:]
    visible[2] = 0
    predictions[3] = truth[3] + 1e9
    got = pck.person_oks(predictions, truth, visible, np.full(4, 1000.0), sigmas)
    np.testing.assert_allclose(got, [1, 15 / 17, np.nan, 0], atol=1e-12)
    assert np.argsort(got).tolist() == [3, 1, 0, 2]
    with pytest.raises(HrkitError, match="sigmas has shape"):
        pck.person_oks(predictions, truth, visible, np.ones(4), lsp14.sigmas)
