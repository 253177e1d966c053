from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hrkit import Pipeline
from hrkit.drawing.annotators import (
    BoxAnnotator,
    HeatmapAnnotator,
    SkeletonAnnotator,
    background,
    draw_status,
    place_labels,
)
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
    person_colors,
)
from hrkit.errors import HrkitError, ImageError
from hrkit.images import write_image
from hrkit.skeletons import coco17, get_skeleton, skeleton_of
from hrkit.structures import Detections, Poses, Skeleton
from painted import TWO_PEOPLE, two_people
from walkers import STANDING

GREY = np.full((240, 320, 3), 120, np.uint8)
ANNOTATORS = (
    SkeletonAnnotator(),
    SkeletonAnnotator(color_by="person", outline=None),
    BoxAnnotator(),
    BoxAnnotator(color_by="person"),
    HeatmapAnnotator(),
)

PAIR = Skeleton("pair", ["left_end", "right_end"], [("left_end", "right_end")], [("left_end", "right_end")], [0.1] * 2)


def people(*middles: tuple[float, float], height: float = 180, score: float = 0.9, **fields: Any) -> Poses:
    """Standing people about their middles, with heatmaps that are empty."""
    points = np.array(middles, np.float64).reshape(-1, 1, 2) + height * STANDING
    boxes = np.concatenate([points.min(1) - 5, points.max(1) + 5], axis=1)
    count = len(points)
    found = Detections(boxes, np.full(count, 0.9), np.zeros(count))
    given = Poses(points, np.full((count, 17), score), found, coco17, heatmaps=np.zeros((count, 17, 64, 48)))
    return given.replace(**fields)


def stick(points: Any, scores: Any = (0.9, 0.9), box: Any = (40, 40, 280, 200)) -> Poses:
    return Poses(np.array([points]), np.array([scores]), Detections.from_boxes([box]), PAIR)


def changed(drawn: NDArray[np.uint8], frame: NDArray[np.uint8] = GREY) -> NDArray[np.bool_]:
    return (drawn != frame).any(2)


def has_color(drawn: NDArray[np.uint8], color: Any) -> bool:
    return bool((drawn == np.array(color, np.uint8)).all(2).any())


# what all of them promise


@pytest.mark.parametrize("annotate", ANNOTATORS)
def test_the_frame_given_stays_as_it_is(annotate: Any) -> None:
    frame, poses = GREY.copy(), people((100, 120), (220, 120), heatmaps=np.full((2, 17, 64, 48), 0.7))
    frame.flags.writeable = False
    drawn = annotate(frame, poses)
    assert changed(drawn).any()
    np.testing.assert_array_equal(frame, GREY)
    assert (drawn.shape, drawn.dtype, drawn.flags.writeable) == (GREY.shape, np.uint8, True)


@pytest.mark.parametrize("annotate", ANNOTATORS)
def test_nobody_gives_an_equal_copy(annotate: Any) -> None:
    drawn = annotate(GREY, Poses.empty(coco17, (64, 48)))
    assert drawn is not GREY
    np.testing.assert_array_equal(drawn, GREY)


@pytest.mark.parametrize("annotate", ANNOTATORS)
@pytest.mark.parametrize(
    "view", [lambda f: f[:, ::-1], lambda f: f[:, :, ::-1], lambda f: f[::2, ::3], np.asfortranarray]
)
def test_any_layout_in_memory_is_drawn_on(annotate: Any, view: Any) -> None:
    frame, poses = view(GREY), people((60, 60), height=90)
    np.testing.assert_array_equal(annotate(frame, poses), annotate(np.ascontiguousarray(frame), poses))


@pytest.mark.parametrize("annotate", ANNOTATORS)
@pytest.mark.parametrize("kind", ["float", "uint16", "grey", "BGRA", "PIL", "path", "tensor"])
def test_annotators_take_what_a_pipeline_takes(annotate: Any, kind: str, tmp_path: Path) -> None:
    poses = people((60, 60), height=90)
    given: Any = {
        "float": GREY / 255,
        "uint16": GREY.astype(np.uint16) * 257,
        "grey": GREY[:, :, 0],
        "BGRA": np.dstack([GREY, GREY[:, :, :1]]),
        "PIL": PIL.Image.fromarray(GREY),
        "path": tmp_path / "grey.png",
        "tensor": torch.from_numpy(GREY.copy()),
    }[kind]
    write_image(tmp_path / "grey.png", GREY)
    np.testing.assert_array_equal(annotate(given, poses), annotate(GREY, poses))
    assert kind != "tensor" or (given.numpy() == GREY).all()


@pytest.mark.parametrize("annotate", ANNOTATORS)
@pytest.mark.parametrize("frame", [GREY.astype(np.int32), GREY[None], np.full(GREY.shape, 200.0), None, "missing.png"])
def test_annotators_refuse_the_rest_in_one_line(annotate: Any, frame: Any) -> None:
    with pytest.raises(ImageError) as error:
        annotate(frame, people((60, 60)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("annotator", [SkeletonAnnotator(), BoxAnnotator()])
@pytest.mark.parametrize(
    "canvas", [GREY / 255, GREY[:, :, 0], GREY[:, ::2], np.broadcast_to(GREY[:1], GREY.shape), None]
)
def test_what_cannot_be_drawn_on(annotator: Any, canvas: Any) -> None:
    with pytest.raises(ImageError, match="the canvas"):
        annotator.draw(canvas, people((60, 60)))


@pytest.mark.parametrize("annotate", ANNOTATORS)
@pytest.mark.filterwarnings("error")
@given(
    coordinate=st.floats(width=32, allow_nan=True, allow_infinity=True),
    score=st.floats(width=32, allow_nan=True, allow_infinity=True),
    corner=st.tuples(*[st.floats(-(2.0**126), 2.0**126, width=32)] * 2),
    size=st.tuples(*[st.floats(0, 2.0**126, width=32)] * 2),
)
def test_no_number_is_too_odd(annotate: Any, coordinate: float, score: float, corner: Any, size: Any) -> None:
    poses = people((100, 120), (220, 120))
    points, scores, boxes = poses.keypoints.copy(), poses.keypoint_scores.copy(), poses.detections.xyxy.copy()
    points[0, 5], scores[0, 7] = coordinate, score
    boxes[0] = *corner, *np.add(corner, size)
    odd = poses.replace(keypoints=points, keypoint_scores=scores, detections=Detections(boxes, [score, 1], [0, 0]))
    assert annotate(GREY, odd).shape == GREY.shape


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


@pytest.mark.parametrize("annotate", [SkeletonAnnotator, BoxAnnotator])
def test_an_unknown_coloring_is_refused(annotate: Any) -> None:
    with pytest.raises(HrkitError, match="color_by must be one of side, person, not 'limb'"):
        annotate(color_by="limb")


# skeletons


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


# heatmaps


@pytest.mark.parametrize("joint", [None, "left_wrist"])
def test_a_heatmap_peaks_at_its_joint(joint: str | None) -> None:
    pipeline = Pipeline.from_names("synthetic", "synthetic", weights=None, device="cpu")
    poses = pipeline.predict(two_people(), return_heatmaps=True)
    black = np.zeros((240, 320, 3), np.uint8)
    brightness = HeatmapAnnotator(joint=joint)(black, poses).sum(2, dtype=int)
    wanted = range(17) if joint is None else [coco17.index(joint)]
    for x, y in TWO_PEOPLE[:, list(wanted)].reshape(-1, 2):
        near = brightness[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4]
        assert near.max() > 0.8 * brightness.max()
    if joint is not None:
        for person in TWO_PEOPLE:
            left, right = int(person[:, 0].min()) - 20, int(person[:, 0].max()) + 20
            row, column = np.unravel_index(brightness[:, left:right].argmax(), (240, right - left))
            np.testing.assert_allclose([column + left, row], person[coco17.index(joint)], atol=3)


@pytest.mark.parametrize("udp", [False, True])
def test_where_a_cell_lies_follows_the_codec(udp: bool) -> None:
    """Under udp the last cell lies on the border of the crop, otherwise a cell before it."""
    heatmaps = np.zeros((1, 17, 64, 48), np.float32)
    heatmaps[0, 0, 63, 47] = 1
    # whose crop, 1.25 times as large, is the frame of the size of the network's input
    box = Detections.from_boxes([[19.2, 25.6, 172.8, 230.4]])
    poses = people((96, 128)).replace(detections=box, heatmaps=heatmaps)
    drawn = HeatmapAnnotator(udp=udp)(np.zeros((256, 192, 3), np.uint8), poses).sum(2, dtype=int)
    row, column = np.unravel_index(drawn.argmax(), drawn.shape)
    assert (row, column) == ((255, 191) if udp else (252, 188))


def test_a_heatmap_is_the_more_opaque_the_higher() -> None:
    heatmaps = np.zeros((2, 17, 64, 48), np.float32)
    heatmaps[0, 3], heatmaps[1, 4] = 0.1, 1.0
    poses = people((80, 120), (240, 120)).replace(heatmaps=heatmaps)
    drawn = HeatmapAnnotator()(GREY, poses)
    difference = np.abs(drawn.astype(int) - 120).max(2)
    assert 0 < difference[120, 80] < difference[120, 240]
    np.testing.assert_array_equal(HeatmapAnnotator(alpha=0)(GREY, poses), GREY)


def test_of_overlapping_heatmaps_the_highest_is_seen() -> None:
    heatmaps = np.zeros((2, 17, 64, 48), np.float32)
    heatmaps[0], heatmaps[1] = 0.9, 0.2
    both = people((160, 120), (160, 120)).replace(heatmaps=heatmaps)
    np.testing.assert_array_equal(HeatmapAnnotator()(GREY, both), HeatmapAnnotator()(GREY, both[0]))
    np.testing.assert_array_equal(HeatmapAnnotator()(GREY, both[[1, 0]]), HeatmapAnnotator()(GREY, both[0]))


def test_heatmaps_that_are_no_numbers_are_empty() -> None:
    drawn = HeatmapAnnotator()(GREY, people((160, 120)).replace(heatmaps=np.full((1, 17, 64, 48), np.nan)))
    np.testing.assert_array_equal(drawn, GREY)


def test_without_heatmaps_there_is_nothing_to_show() -> None:
    with pytest.raises(HrkitError, match="return_heatmaps=True"):
        HeatmapAnnotator()(GREY, people((160, 120), heatmaps=None))
    with pytest.raises(HrkitError, match="no joint 'tail' in coco17"):
        HeatmapAnnotator(joint="tail")(GREY, people((160, 120)))


# grounds, status, colours


@pytest.mark.parametrize("color", [INK, PAPER])
def test_a_skeleton_may_stand_alone(color: Any) -> None:
    ground = background(GREY, color)
    assert (ground == color).all()
    drawn = SkeletonAnnotator()(ground, people((160, 120)))
    assert has_color(drawn, LEFT)
    assert has_color(drawn, RIGHT)
    np.testing.assert_array_equal(drawn[:10], ground[:10])


@pytest.mark.parametrize("value", [0, 120, 255])
@pytest.mark.parametrize("size", [(240, 320), (2160, 3840)])
def test_a_status_is_readable_on_any_picture(value: int, size: tuple[int, int]) -> None:
    frame = np.full((*size, 3), value, np.uint8)
    drawn = draw_status(frame, "24.0 fps, 3 people")
    rows, columns = np.nonzero(changed(drawn, frame))
    assert (rows.min(), columns.min()) == (0, 0)
    assert rows.max() < size[0] / 10
    assert size[1] / 20 < columns.max() < size[1] / 2
    line = drawn[: rows.max(), : columns.max()]
    assert line.max() > 200
    assert line.min() < 30
    assert (frame == value).all()


def test_a_status_longer_than_the_frame_is_cut_off() -> None:
    assert draw_status(GREY, "frames " * 100).shape == GREY.shape


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
