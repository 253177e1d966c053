"""Two boxes of one person give one pose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrkit.ops.doubles import without_doubles
from hrkit.skeletons import coco17
from hrkit.structures import Detections, Poses

BODY = np.random.default_rng(0).uniform(0, 1, (17, 2)) * [60, 160]


def poses(*people: tuple[NDArray[np.float64], list[float], float]) -> Poses:
    """Keypoints (17,2), box and score of each person."""
    points, boxes, scores = zip(*people, strict=True)
    return Poses(
        np.stack(points), np.full((len(people), 17), 0.8), Detections(boxes, scores, [0] * len(people)), coco17
    )


def test_the_better_of_two_boxes_of_one_person_stays() -> None:
    whole, upper, other = [0, 0, 60, 160], [0, 0, 60, 70], [70, 0, 130, 160]
    found = poses((BODY + 1, upper, 0.5), (BODY + [70, 0], other, 0.4), (BODY, whole, 0.9))
    left = without_doubles(found)
    np.testing.assert_allclose(left.detections.scores, [0.4, 0.9])
    np.testing.assert_array_equal(left.keypoints, found.keypoints[1:])
    assert without_doubles(found, 1.0) is found


def test_people_close_to_each_other_stay() -> None:
    found = poses((BODY, [0, 0, 60, 160], 0.9), (BODY + [25, 8], [25, 8, 85, 168], 0.6))
    assert without_doubles(found) is found


def test_nobody_and_one() -> None:
    nobody = Poses.empty(coco17)
    assert without_doubles(nobody) is nobody
    one = poses((BODY, [0, 0, 60, 160], 0.9))
    assert without_doubles(one) is one
