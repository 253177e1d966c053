"""Crops, boxes and the letterbox."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrkit import geometry
from hrkit.errors import BoxError, ImageError

coordinate = st.floats(-500, 2000)
extent = st.floats(0.5, 1500)
box = st.tuples(coordinate, coordinate, extent, extent)
size = st.sampled_from([(256, 192), (384, 288), (256, 256), (192, 256)])


@given(box=box, size=size, rotation=st.floats(-180, 180), udp=st.booleans())
def test_a_crop_and_its_inverse_are_one(box: tuple, size: tuple[int, int], rotation: float, udp: bool) -> None:
    forward = geometry.crop_transform(box, size, rotation=rotation, udp=udp)
    points = np.random.default_rng(0).uniform(-100, 3000, (9, 2))
    there = geometry.apply_affine(forward, points)
    back = geometry.apply_affine(geometry.invert_affine(forward), there)
    np.testing.assert_allclose(back, points, atol=1e-6)


@given(box=box, size=size, udp=st.booleans())
def test_the_box_lies_in_the_middle_of_its_crop_with_a_margin(box: tuple, size: tuple[int, int], udp: bool) -> None:
    x, y, width, height = box
    corners = np.array([[x, y], [x + width, y + height]])
    mapped = geometry.apply_affine(geometry.crop_transform(box, size, udp=udp), corners)
    last = np.array([size[1], size[0]]) - (1 if udp else 0)
    np.testing.assert_allclose(mapped.mean(0), last / 2, atol=1e-6)
    # it touches the margin of 1.25 on its longer side and stays inside on the other
    share = (mapped[1] - mapped[0]) / last
    assert share.max() == pytest.approx(1 / 1.25, rel=1e-6)


@given(box=box, size=size, rotation=st.floats(-180, 180))
def test_a_crop_is_a_similarity(box: tuple, size: tuple[int, int], rotation: float) -> None:
    linear = geometry.crop_transform(box, size, rotation=rotation)[:, :2]
    scale = np.linalg.det(linear)
    assert scale > 0
    np.testing.assert_allclose(linear @ linear.T, np.eye(2) * scale, atol=1e-9 * max(1, scale))


def test_many_boxes_at_once() -> None:
    boxes = np.random.default_rng(1).uniform(1, 100, (5, 4))
    together = geometry.crop_transform(boxes, (256, 192))
    np.testing.assert_array_equal(together, [geometry.crop_transform(one, (256, 192)) for one in boxes])
    assert geometry.crop_transform(np.zeros((0, 4)), (256, 192)).shape == (0, 2, 3)


@pytest.mark.parametrize("bad", [(0, 0, 0, 5), (0, 0, 5, 0), (0, 0, -1, 5)])
def test_boxes_without_area(bad: tuple) -> None:
    with pytest.raises(BoxError, match="without area"):
        geometry.crop_transform(bad, (256, 192))


def test_boxes_there_and_back_and_clipped() -> None:
    xyxy = np.array([[-5.0, 2, 30, 40], [90, 90, 200, 300]])
    np.testing.assert_allclose(geometry.xywh_to_xyxy(geometry.xyxy_to_xywh(xyxy)), xyxy)
    np.testing.assert_array_equal(geometry.clip_boxes(xyxy, (100, 95)), [[0, 2, 30, 40], [90, 90, 95, 100]])
    assert xyxy[0, 0] == -5


@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_the_letterbox_holds_the_whole_frame(height: int, width: int) -> None:
    scale_x, scale_y, left, top = geometry.letterbox_transform((height, width), (416, 416))
    new_width, new_height = scale_x * width, scale_y * height
    assert max(new_width, new_height) == pytest.approx(416)
    assert 0 <= left <= 416 - new_width + 1e-6
    assert 0 <= top <= 416 - new_height + 1e-6
    assert left == (416 - round(new_width)) // 2
    assert top == (416 - round(new_height)) // 2


def test_the_letterbox_is_grey_around_the_frame() -> None:
    frame = np.full((50, 100, 3), 200, np.uint8)
    square = np.empty((416, 416, 3), np.uint8)
    geometry.letterbox(frame, square)
    assert (square[:104] == 128).all()
    assert (square[104:312] == 200).all()
    assert (square[312:] == 128).all()


def test_a_picture_too_wide_for_the_warp_is_refused() -> None:
    frame = np.zeros((2, geometry.MAX_SIDE + 1, 3), np.uint8)
    with pytest.raises(ImageError, match="too large"):
        geometry.warp_crops(frame, geometry.crop_transform([[0, 0, 2, 2]], (256, 192)), (256, 192))
