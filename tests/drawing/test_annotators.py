"""What all annotators promise; heatmaps and the line of status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import synthetic_pipelines
from hrkit.drawing.annotators import BoxAnnotator, HeatmapAnnotator, SkeletonAnnotator, draw_status
from hrkit.errors import HrkitError, ImageError
from hrkit.images import write_image
from hrkit.skeletons import coco17
from hrkit.structures import Detections, Poses
from painted import TWO_PEOPLE, two_people
from standing_people import GREY, changed, people

ANNOTATORS = (
    SkeletonAnnotator(),
    SkeletonAnnotator(color_by="person", outline=None),
    BoxAnnotator(),
    BoxAnnotator(color_by="person"),
    HeatmapAnnotator(),
)


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


@pytest.mark.parametrize("annotate", [SkeletonAnnotator, BoxAnnotator])
def test_an_unknown_coloring_is_refused(annotate: Any) -> None:
    with pytest.raises(HrkitError, match="color_by must be one of side, person, not 'limb'"):
        annotate(color_by="limb")


# heatmaps


@pytest.mark.slow
@pytest.mark.parametrize("joint", [None, "left_wrist"])
def test_a_heatmap_peaks_at_its_joint(joint: str | None) -> None:
    pipeline = synthetic_pipelines.pipeline()
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


# status


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
