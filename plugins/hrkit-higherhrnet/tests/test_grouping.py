"""Grouping agrees with the official code and with its definition, whatever the maps hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hrkit_higherhrnet import search
from hrkit_higherhrnet.grouping import Grouping, People, group
from hrkit_higherhrnet.maps import look
from hypothesis import given, settings
from hypothesis import strategies as st
from made_maps import made_maps
from scipy.optimize import linear_sum_assignment

ORDER = (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16)


@pytest.fixture(scope="module")
def plain_group() -> Callable[..., list]:
    """The plain version."""
    pytest.importorskip("munkres", reason="munkres<2 is not installed")
    import plain_grouping

    return plain_grouping.plain_group


def distance(people: People, points: np.ndarray, scores: np.ndarray, person_scores: np.ndarray) -> float:
    """The largest difference between any numbers of two sets of people."""
    assert len(people) == len(points)
    apart = np.abs(people.keypoints[:, None] - points).max((2, 3))
    apart = np.maximum(apart, np.abs(people.keypoint_scores[:, None] - scores).max(2))
    apart = np.maximum(apart, np.abs(people.scores[:, None] - person_scores))
    return float(apart[linear_sum_assignment(apart)].max(initial=0))


@pytest.mark.needs_shared
@pytest.mark.parametrize(
    ("people", "scores", "how"),
    [("people", "scores", {}), ("people_raw", "scores_raw", {"adjust": False, "refine": False})],
)
def test_the_official_people(shared: Path, people: str, scores: str, how: dict) -> None:
    reference = np.load(shared / "reference" / "higher_grouping.npz")
    tags = np.ascontiguousarray(np.moveaxis(reference["tags"], -1, 0))
    found = group(reference["heatmaps"], tags, ORDER, Grouping(**how))
    wanted = reference[people]
    assert distance(found, wanted[..., :2], wanted[..., 2], reference[scores]) <= 1e-6


def assert_same(found: People, wanted: list) -> None:
    points, scores, person_scores = zip(*wanted, strict=True) if wanted else ([], [], [])
    joints = found.keypoints.shape[1]
    shapes = ((points, (joints, 2)), (scores, (joints,)), (person_scores, ()))
    assert distance(found, *(np.array(one).reshape(len(wanted), *shape) for one, shape in shapes)) < 1e-5


@settings(max_examples=25)
@given(
    st.integers(0, 6),
    st.sampled_from([(24, 40), (33, 17), (5, 70)]),
    st.integers(1, 2),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.booleans(),
)
def test_as_defined(
    plain_group: Callable[..., list],
    people: int,
    size: tuple[int, int],
    passes: int,
    seed: int,
    adjust: bool,
    refine: bool,
) -> None:
    heatmaps, tags = made_maps(people, size, joints=5, passes=passes, seed=seed)
    order = np.random.default_rng(seed).permutation(5).tolist()
    found = group(heatmaps, tags, order, Grouping(max_people=4, adjust=adjust, refine=refine))
    assert_same(found, plain_group(heatmaps, tags, order, max_people=4, adjust=adjust, refine=refine))


@pytest.mark.slow
@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.375, 1.0, 3.0]), st.integers(1, 2))
def test_the_same_people_where_costs_are_equal(
    plain_group: Callable[..., list], seed: int, step: float, passes: int
) -> None:
    random = np.random.default_rng(seed)
    heatmaps, tags = np.zeros((4, 15, 25), np.float32), np.zeros((passes, 4, 15, 25), np.float32)
    cells = np.s_[:, 2::5, 2::5]
    heatmaps[cells] = random.choice(np.array([0, 0.25, 0.5, 0.75], np.float32), (4, 3, 5))
    tags[:, :, 2::5, 2::5] = step * random.integers(0, 5, (passes, 4, 3, 5))
    order = random.permutation(4).tolist()
    found = group(heatmaps, tags, order, Grouping(max_people=8, refine=False))
    assert_same(found, plain_group(heatmaps, tags, order, max_people=8, refine=False))


@settings(max_examples=40)
@given(
    *(st.integers(1, 50), st.integers(1, 50), st.integers(1, 3), st.integers(0, 9), st.sampled_from([1, 5, 2048])),
    st.integers(0, 2**32 - 1),
)
def test_the_best_cell_of_all(height: int, width: int, passes: int, searches: int, at_once: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    heatmaps = random.normal(0, 0.3, (4, height, width)).astype(np.float32)
    tags = (random.normal(0, 2, (passes, 4, 1, 1)) + random.normal(0, 1, (passes, 4, height, width))).astype(np.float32)
    joints, means = random.integers(0, 4, searches), random.normal(0, 3, (searches, passes)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "AT_ONCE", at_once)
        found = look(heatmaps, tags, 0, 9).best_cells(joints, means)
    worth = heatmaps[joints] - np.rint(np.sqrt(np.square(tags[:, joints] - means.T[..., None, None]).sum(0)))
    assert worth.reshape(searches, height * width)[np.arange(searches), found].tolist() == worth.max((1, 2)).tolist()


@settings(max_examples=40)
@given(*(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.integers(1, 9)), st.integers(0, 2**32 - 1))
def test_peaks_are_as_high_as_all_cells_around_them(height: int, width: int, levels: int, most: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    heatmaps = random.integers(0, levels + 1, (3, height, width)).astype(np.float32)
    about = np.pad(heatmaps, [(0, 0), (2, 2), (2, 2)])
    highest = np.max([about[:, y : y + height, x : x + width] for y in range(5) for x in range(5)], axis=0)
    found = look(heatmaps, heatmaps[None], 1, most).peaks
    for heatmap, high, cells in zip(heatmaps, highest, found, strict=True):
        wanted = np.flatnonzero((heatmap == high) & (heatmap > 1))
        assert cells.tolist() == sorted(wanted, key=lambda cell: -heatmap.ravel()[cell])[:most]


def test_tags_of_one_picture_of_several() -> None:
    """Such tags are not contiguous in memory."""
    heatmaps, tags = made_maps(3, (32, 48))
    several = np.stack([tags + 1, tags], axis=1)
    assert group(heatmaps, several[:, 1], ORDER).tags.tolist() == group(heatmaps, tags, ORDER).tags.tolist()


def test_nobody() -> None:
    found = group(np.zeros((17, 32, 32), np.float32), np.zeros((2, 17, 32, 32), np.float32), ORDER)
    assert len(found) == 0
    assert found.keypoints.shape == (0, 17, 2)
    assert found.tags.shape == (0, 17, 2)


def test_the_number_of_people_is_a_setting() -> None:
    heatmaps, tags = np.zeros((2, 96, 160), np.float32), np.zeros((1, 2, 96, 160), np.float32)
    for person, (y, x) in enumerate([(y, x) for y in range(8, 96, 16) for x in range(8, 160, 16)]):
        heatmaps[:, y, x] = 0.5 + person / 200
        tags[..., y, x] = 3 * person
    assert len(group(heatmaps, tags, (0, 1), Grouping(max_people=60))) == 60
    found = group(heatmaps, tags, (0, 1))
    assert len(found) == 30
    assert found.keypoint_scores.min() >= 0.5 + 30 / 200  # the highest peaks
    assert (found.keypoint_scores[:, 0] == found.keypoint_scores[:, 1]).all()


def test_a_person_with_one_joint() -> None:
    heatmaps, tags = np.zeros((17, 40, 40), np.float32), np.zeros((1, 17, 40, 40), np.float32)
    heatmaps[9, 20, 30] = 0.8
    found = group(heatmaps, tags, ORDER)
    assert found.keypoints[0, 9].tolist() == [30.25, 20.25]
    assert found.keypoint_scores[0].tolist() == [0] * 9 + [np.float32(0.8)] + [0] * 7
    assert found.scores == pytest.approx([0.8 / 17])
    assert not found.keypoints[0, :9].any()


def test_tags_that_are_all_equal_make_people_of_peaks_in_order() -> None:
    """Tags do not separate people, so the peaks of each joint go to people in order of score."""
    heatmaps, _ = made_maps(5, (64, 64), seed=3)
    tags = np.zeros((2, *heatmaps.shape), np.float32)
    found = group(heatmaps, tags, ORDER)
    peaks = (group(heatmaps[joint : joint + 1], tags[:, joint : joint + 1], (0,)) for joint in range(17))
    assert len(found) == max(len(one) for one in peaks)
    assert np.isfinite(found.keypoints).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("of", ["heatmaps", "tags"])
def test_a_cell_that_is_not_finite_is_no_peak(value: float, of: str) -> None:
    maps = dict(zip(("heatmaps", "tags"), made_maps(2, (40, 48), seed=5), strict=True))
    heatmaps = maps["heatmaps"].copy()
    places = np.s_[..., 10:14, 20:26]
    maps[of][places] = value
    kept = {name: array.copy() for name, array in maps.items()}
    found = group(maps["heatmaps"], maps["tags"], ORDER)
    assert all(np.array_equal(maps[name], kept[name], equal_nan=True) for name in maps)
    heatmaps[places] = 0
    tags = np.where(np.isfinite(maps["tags"]).all(0), maps["tags"], 0)
    tags[places] = 0
    wanted = group(heatmaps, tags, ORDER)
    np.testing.assert_array_equal(found.keypoints, wanted.keypoints)
    np.testing.assert_array_equal(found.keypoint_scores, wanted.keypoint_scores)


def test_maps_of_nan_have_no_people() -> None:
    assert len(group(np.full((3, 9, 9), np.nan, np.float32), np.zeros((1, 3, 9, 9), np.float32), (0, 1, 2))) == 0
