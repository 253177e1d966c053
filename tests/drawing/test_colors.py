"""Colours of people and of sides are far apart, also for who sees fewer."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrkit.drawing.colors import LEFT, MIDDLE, PEOPLE, RIGHT, UNKNOWN, person_colors


def _lab(colors: Any) -> NDArray[np.float32]:
    return cv2.cvtColor(np.asarray(colors, np.float32)[None] / 255, cv2.COLOR_BGR2Lab)[0]


def _as_a_deuteranope(colors: Any) -> NDArray[np.float64]:
    """Machado et al., 2009, severity 1."""
    matrix = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    linear = (np.asarray(colors, np.float64)[:, ::-1] / 255) ** 2.2
    return np.clip(linear @ np.transpose(matrix), 0, 1)[:, ::-1] ** (1 / 2.2) * 255


def test_people_have_colors_far_apart() -> None:
    lab = _lab(PEOPLE)
    distance = np.linalg.norm(lab[:, None] - lab, axis=2) + 1000 * np.eye(len(lab))
    assert distance.min() > 15
    assert distance[:8, :8].min() > 30
    assert lab[:, 0].min() > 45  # seen on black
    assert np.linalg.norm(lab - _lab([UNKNOWN]), axis=1).min() > 15


def test_colorblind_readers_see_sides() -> None:
    left, right, middle = _lab(_as_a_deuteranope([LEFT, RIGHT, MIDDLE]))
    assert min(np.linalg.norm(left - right), np.linalg.norm(left - middle), np.linalg.norm(right - middle)) > 40


def test_ids_have_colors_of_their_own() -> None:
    colors = person_colors([0, 1, -1, 1, len(PEOPLE), 2**62])
    assert colors[:5].tolist() == [list(PEOPLE[0]), list(PEOPLE[1]), list(UNKNOWN), list(PEOPLE[1]), list(PEOPLE[0])]
    assert person_colors([]).shape == (0, 3)
