"""A box's convention is told from how the box moves when the picture changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from faulty_detectors import PERSON, SOUND
from hrkit.testing.conventions import CONVENTIONS, Change, changes, other_convention
from hrkit.testing.scenes import painted, player


@pytest.mark.parametrize("frame", [painted(), player()], ids=["landscape", "portrait"])
def test_the_right_convention_is_never_taken_for_another(frame: Any) -> None:
    """With boxes that are a little off, as those of networks are."""
    random = np.random.default_rng(0)
    true, made = np.array([[30.0, 40, 140, 170]]), changes(frame)
    for _ in range(200):
        off = random.uniform(-7, 7, (len(made), 2, 1, 4))
        observed = [(change, true + a, change.move(true) + b) for change, (a, b) in zip(made, off, strict=True)]
        assert other_convention(observed) is None


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_convention_is_told(name: str) -> None:
    said = np.array([[30.0, 40, 140, 170]])
    observed = [(change, said, CONVENTIONS[name](said, change)) for change in changes(painted())]
    assert other_convention([row for row in observed if row[2] is not None]) == name


def test_a_change_moves_boxes_with_the_picture() -> None:
    frame = painted()
    (box,) = SOUND.detect([frame])[0].xyxy
    for change in changes(frame):
        (before,), (after,) = (SOUND.detect([one])[0].xyxy for one in (change.before, change.after))
        np.testing.assert_allclose(change.move(before[None])[0], after, atol=1)
    assert isinstance(change, Change)
    assert box.tolist() == PERSON[0]
