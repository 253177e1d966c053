"""Assignments cost as little as possible. Of several such, the one that the official code takes is found."""

from __future__ import annotations

import numpy as np
import pytest
from hrkit_higherhrnet.matching import match
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment


@st.composite
def costs(draw: st.DrawFn) -> np.ndarray:
    """Few distinct distances and scores, so that many assignments cost the same; spare columns for new people."""
    peaks, people = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    distances = random.integers(0, draw(st.integers(1, 5)), (peaks, people))
    if draw(st.booleans()):  # distances on a line, as with one tag per joint
        distances = np.abs(random.integers(0, 9, (peaks, 1)) - random.integers(0, 9, (1, people)))
    scores = random.choice(np.array([0.3, 0.5, 0.9], np.float32), (peaks, 1))
    spare = np.full((peaks, max(0, peaks - people)), 1e10)
    return np.concatenate([100.0 * distances - scores, spare], axis=1)


@given(costs())
def test_no_assignment_costs_less(cost: np.ndarray) -> None:
    columns = match(cost)
    assert len(set(columns.tolist())) == len(cost)
    assert cost[np.arange(len(cost)), columns].sum() == pytest.approx(cost[linear_sum_assignment(cost)].sum())


@given(costs())
def test_equal_costs_are_decided_as_by_the_official_code(cost: np.ndarray) -> None:
    munkres = pytest.importorskip("munkres", reason="munkres<2 is not installed")
    assert list(enumerate(match(cost))) == munkres.Munkres().compute(cost.tolist())


@given(costs())
def test_the_costs_are_not_changed(cost: np.ndarray) -> None:
    before = cost.copy()
    match(cost)
    assert np.array_equal(cost, before)
