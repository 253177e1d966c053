"""Skeletons, boxes and labels are drawn where they should be, in colours that tell sides and people apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hrkit.drawing.annotators import BoxAnnotator, SkeletonAnnotator, background, place_labels
from hrkit.drawing.colors import (
    FACE,
    INK,
    LEFT,
    LEFT_HAND,
    MIDDLE,
    PAPER,
    PEOPLE,
    RIGHT,
    RIGHT_HAND,
    UNKNOWN,
    joint_parts,
)
from hrkit.skeletons import get_skeleton, skeleton_of
from hrkit.structures import Detections, Poses, Skeleton
from standing_people import GREY, changed, people

PAIR = Skeleton("pair", ["left_end", "right_end"], [("left_end", "right_end")], [("left_end", "right_end")], [0.1] * 2)


def stick(points: Any, scores: Any = (0.9, 0.9), box: Any = (40, 40, 280, 200)) -> Poses:
    return Poses(np.array([points]), np.array([scores]), Detections.from_boxes([box]), PAIR)


def has_color(drawn: NDArray[np.uint8], color: Any) -> bool:
    return bool((drawn == np.array(color, np.uint8)).all(2).any())


# skeletons


@pytest.mark.parametrize("name", ["unnamed", "coco17", "mpii16", "coco_wholebody", "fly"])
def test_any_skeleton_is_drawn(name: str) -> None:
    skeleton = skeleton_of(5) if name == "unnamed" else get_skeleton(name)  # unnamed joints have no limbs
    points = np.linspace(60, 200, 2 * len(skeleton)).reshape(1, -1, 2)
    poses = Poses(points, np.ones((1, len(skeleton))), Detections.from_boxes([[50, 50, 210, 210]]), skeleton)
    marked = changed(SkeletonAnnotator()(GREY, poses))
    assert all(marked[int(y), int(x)] for x, y in points[0])


def test_hands_and_faces_of_whole_bodies_have_colours_of_their_own_and_are_finer() -> None:
    skeleton = get_skeleton("coco_wholebody")
    parts = joint_parts(skeleton)
    assert [parts.tolist().count(part) for part in (0, 1, 2)] == [23, 68, 42]
    points = np.full((1, 133, 2), -9999.0)  # not drawn
    shown = {"nose": (40, 40), "face-33": (100, 40), "left_thumb4": (160, 40), "right_thumb4": (220, 40)}
    for name, place in shown.items():
        points[0, skeleton.keypoint_names.index(name)] = place
    poses = Poses(points, np.ones((1, 133)), Detections.from_boxes([[0, 0, 320, 240]]), skeleton)
    drawn = SkeletonAnnotator()(GREY, poses)
    assert [tuple(drawn[y, x].tolist()) for x, y in shown.values()] == [MIDDLE, FACE, LEFT_HAND, RIGHT_HAND]
    sizes = [changed(drawn)[:, x - 25 : x + 25].sum() for x, _ in shown.values()]
    assert max(sizes[1:]) < sizes[0] / 2

    hand = get_skeleton("coco_wholebody_hand")
    points = np.full((1, 21, 2), -9999.0)
    points[0, 0] = 160, 120
    alone = Poses(points, np.ones((1, 21)), Detections.from_boxes([[0, 0, 320, 240]]), hand)
    assert changed(SkeletonAnnotator()(GREY, alone)).sum() == sizes[0]  # nothing but the hand is in the picture


def test_a_limb_is_drawn_where_it_is_and_only_near_it() -> None:
    drawn = SkeletonAnnotator()(GREY, stick([[60, 60], [260, 180]]))
    ys, xs = np.mgrid[:240, :320]
    along = np.array([200, 120]) / np.hypot(200, 120)
    distance = np.abs((xs - 60) * along[1] - (ys - 60) * along[0])
    progress = (xs - 60) * along[0] + (ys - 60) * along[1]
    marked = changed(drawn)
    assert marked[(distance < 1) & (progress > 0) & (progress < np.hypot(200, 120))].all()
    assert not marked[(distance > 8) | (progress < -8) | (progress > np.hypot(200, 120) + 8)].any()


def test_sides_are_told_apart() -> None:
    drawn = SkeletonAnnotator()(GREY, stick([[60, 60], [260, 180]]))
    assert drawn[60, 60].tolist() == list(LEFT)
    assert drawn[180, 260].tolist() == list(RIGHT)
    assert drawn[120, 160].tolist() == list(MIDDLE)


def test_each_person_has_a_color() -> None:
    poses = people((100, 120), (220, 120))
    drawn = SkeletonAnnotator(color_by="person")(GREY, poses)
    assert has_color(drawn[:, :160], PEOPLE[0])
    assert has_color(drawn[:, 160:], PEOPLE[1])
    assert not has_color(drawn[:, :160], PEOPLE[1])


@pytest.mark.parametrize("annotate", [SkeletonAnnotator(color_by="person"), BoxAnnotator(color_by="person")])
def test_a_color_stays_with_its_id(annotate: Any) -> None:
    first = annotate(GREY, people((100, 120), (220, 120), track_ids=[7, -1]))
    later = annotate(GREY, people((230, 130), (90, 120), (160, 110), track_ids=[3, 7, 4])[[0, 1]])
    assert has_color(first[:, :160], PEOPLE[7])
    assert has_color(first[:, 160:], UNKNOWN)
    assert has_color(later[:, :160], PEOPLE[7])
    assert has_color(later[:, 160:], PEOPLE[3])


def test_the_less_sure_the_fainter() -> None:
    annotate = SkeletonAnnotator(threshold=0.2, sure=0.6)
    scores = (0.19, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9)
    drawn = [annotate(GREY, stick([[60, 60], [260, 180]], (0.95, score))) for score in scores]
    strength = [np.abs(picture[120, 160].astype(int) - 120).max() for picture in drawn]
    assert strength[0] == 0
    assert 0 < strength[1] < strength[2] < strength[3] < strength[4] < strength[5] == strength[6]


def test_the_less_sure_joint_decides_about_a_limb_but_not_about_the_other_joint() -> None:
    drawn = SkeletonAnnotator()(GREY, stick([[60, 60], [260, 180]], (0.9, 0.1)))
    assert drawn[60, 60].tolist() == list(LEFT)
    assert not changed(drawn)[120, 160]
    assert not changed(drawn)[180, 260]


def test_faint_strokes_do_not_add_up() -> None:
    faint = SkeletonAnnotator(outline=None)(GREY, people((160, 120), score=0.3))
    opaque = SkeletonAnnotator(outline=None)(GREY, people((160, 120), score=0.9))
    expected = GREY + (opaque.astype(float) - GREY) * 0.5  # level 4 of 8
    np.testing.assert_allclose(faint, expected, atol=2)


def _line_width(size: int, length: float) -> float:
    """px of a limb of somebody that long, in a frame as wide as `size`."""
    frame = np.full((size * 3 // 4, size, 3), 120, np.uint8)
    x, y = size / 2, size * 3 / 8
    poses = stick([[x, y - length / 2], [x, y + length / 2]], box=[x - 1, y - length, x + length, y + length])
    return float(changed(SkeletonAnnotator(outline=None)(frame, poses), frame)[int(y)].sum())


@pytest.mark.slow
def test_lines_grow_with_the_person_and_the_frame() -> None:
    assert _line_width(1280, 400) > 1.5 * _line_width(1280, 150)
    assert _line_width(3840, 1200) == pytest.approx(3 * _line_width(1280, 400), rel=0.3)
    assert _line_width(320, 4) >= 1
    assert _line_width(3840, 100) >= 4  # or it would be lost where the whole frame is looked at
    assert _line_width(320, 10_000) <= 5


def test_a_small_face_stays_visible() -> None:
    poses = people((160, 120), height=160)
    head = poses.keypoints[0, :5]
    left, right = head[:, 0].min() - 3, head[:, 0].max() + 3
    middle, radius = head[:, 1].mean() + 2, (right - left) / 2
    face = changed(SkeletonAnnotator(outline=None)(GREY, poses))[
        int(middle - radius) : int(middle + radius), int(left) : int(right)
    ]
    assert face.mean() < 0.5


def test_lines_may_be_scaled() -> None:
    styles = [SkeletonAnnotator(line_scale=scale, outline=None) for scale in (1, 3)]
    thin, thick = (changed(style(GREY, stick([[60, 60], [260, 180]]))).sum() for style in styles)
    assert thick > 1.8 * thin


def test_an_outline_may_be_left_out_or_light() -> None:
    poses = people((160, 120))
    assert has_color(SkeletonAnnotator()(GREY, poses), INK)
    assert not has_color(SkeletonAnnotator(outline=None)(GREY, poses), INK)
    assert has_color(SkeletonAnnotator(outline=PAPER)(GREY, poses), PAPER)


@pytest.mark.parametrize("color", [INK, PAPER])
def test_a_skeleton_may_stand_alone(color: Any) -> None:
    ground = background(GREY, color)
    assert (ground == color).all()
    drawn = SkeletonAnnotator()(ground, people((160, 120)))
    assert has_color(drawn, LEFT)
    assert has_color(drawn, RIGHT)
    np.testing.assert_array_equal(drawn[:10], ground[:10])


@pytest.mark.parametrize("wrong", [(np.nan, 50), (np.inf, 50), (1e30, 50), (-5000, 120)])
def test_a_joint_that_is_nowhere_is_left_out_with_its_limbs(wrong: tuple[float, float]) -> None:
    drawn = SkeletonAnnotator()(GREY, stick([[60, 60], wrong]))
    marked = changed(drawn)
    assert marked[60, 60]
    marked[50:71, 50:71] = False
    assert not marked.any()


def test_a_joint_just_outside_the_frame_keeps_its_limb() -> None:
    marked = changed(SkeletonAnnotator()(GREY, stick([[60, 60], [-60, 60]])))
    assert marked[60, :60].all()


def test_a_person_outside_the_frame_leaves_no_trace() -> None:
    assert not changed(SkeletonAnnotator()(GREY, people((600, 120), height=100))).any()
    assert not changed(BoxAnnotator()(GREY, people((600, 120), height=100))).any()


# boxes and labels


def test_a_box_is_drawn_along_its_border() -> None:
    drawn = BoxAnnotator(labels=False)(GREY, people((160, 120)))
    x1, y1, x2, y2 = np.round(people((160, 120)).detections.xyxy[0]).astype(int)
    assert (drawn[y1:y2, [x1, x2 - 1]] == MIDDLE).all()
    assert (drawn[[y1, y2 - 1], x1:x2] == MIDDLE).all()
    marked = changed(drawn)
    assert not marked[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].any()


@pytest.mark.parametrize("width", [0, 1])
def test_the_thinnest_box_is_drawn(width: int) -> None:
    poses = people((160, 120)).replace(detections=Detections.from_boxes([[100, 50, 100 + width, 150]]))
    marked = changed(BoxAnnotator(labels=False)(GREY, poses))
    assert marked[50:150, 100].all()
    assert not marked[:, 105:].any()


def test_labels_have_a_filled_ground_above_their_box() -> None:
    poses = people((160, 120), track_ids=[3])
    plain, labelled = (BoxAnnotator("person", labels)(GREY, poses) for labels in (False, True))
    rows, columns = np.nonzero(changed(labelled, plain))
    top, left = poses.detections.xyxy[0, 1], poses.detections.xyxy[0, 0]
    assert rows.max() == pytest.approx(top, abs=2)
    assert columns.min() == pytest.approx(left, abs=2)
    ground = labelled[rows.min() : rows.max(), columns.min() : columns.max()]
    assert (ground == PEOPLE[3]).all(2).mean() > 0.5
    assert ground.min() < 60  # dark on light turquoise


def test_ids_are_written() -> None:
    one, other = (BoxAnnotator()(GREY, people((160, 120), track_ids=[number])) for number in (3, 8))
    assert changed(one, other).any()


Labels = list[tuple[tuple[int, int, int, int], tuple[int, int]]]
labels = st.lists(
    st.tuples(
        st.tuples(st.integers(-60, 140), st.integers(-60, 100), st.integers(0, 120), st.integers(0, 120)),
        st.tuples(st.integers(1, 40), st.integers(1, 14)),
    ),
    max_size=14,
)


@given(labels)
def test_labels_lie_inside_and_overlap_only_without_room(given_labels: Labels) -> None:
    height, width = 80, 120
    boxes = np.array([[x, y, x + w, y + h] for (x, y, w, h), _ in given_labels]).reshape(-1, 4)
    sizes = np.array([size for _, size in given_labels], int).reshape(-1, 2)
    places = place_labels(boxes, sizes, (height, width))
    assert (places >= 0).all()
    assert (places + sizes <= [width, height]).all()
    taken = np.zeros((height, width), np.int32)
    for (x, y), (w, h) in zip(places.tolist(), sizes.tolist(), strict=True):
        if taken[y : y + h, x : x + w].any():
            covered = np.pad(taken, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
            everywhere = covered[h:, w:] - covered[:-h, w:] - covered[h:, :-w] + covered[:-h, :-w]
            assert everywhere.min() > 0  # nowhere was there room
        taken[y : y + h, x : x + w] = 1


@given(labels)
def test_placing_is_deterministic_and_in_order(given_labels: Labels) -> None:
    boxes = np.array([[x, y, x + w, y + h] for (x, y, w, h), _ in given_labels], float).reshape(-1, 4)
    sizes = np.array([size for _, size in given_labels], int).reshape(-1, 2)
    places = place_labels(boxes, sizes, (80, 120))
    half = len(boxes) // 2
    np.testing.assert_array_equal(place_labels(boxes[:half], sizes[:half], (80, 120)), places[:half])


def test_a_label_stands_above_else_inside_else_below() -> None:
    size = [[20, 10]]
    assert place_labels([[30, 30, 80, 70]], size, (100, 100)).tolist() == [[30, 20]]
    assert place_labels([[30, 4, 80, 70]], size, (100, 100)).tolist() == [[30, 0]]
    two = place_labels([[30, 30, 80, 70]] * 2, size * 2, (100, 100))
    assert two.tolist() == [[30, 20], [60, 20]]
    crowd = place_labels([[30, 30, 50, 70]] * 3, size * 3, (100, 100))
    assert crowd.tolist() == [[30, 20], [30, 30], [30, 70]]


def test_labels_of_one_box_fill_the_frame_from_there() -> None:
    places = place_labels([[0, 0, 10, 10]] * 24, [[10, 10]] * 24, (40, 60)).tolist()
    assert sorted(places) == [[x, y] for x in range(0, 60, 10) for y in range(0, 40, 10)]
    assert np.abs(places[:4]).sum(1).max() <= 20


def test_a_label_larger_than_the_frame_starts_at_its_corner() -> None:
    assert place_labels([[30, 30, 80, 70]], [[200, 10]], (100, 100)).tolist() == [[0, 20]]
