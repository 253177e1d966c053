"""Crops and the letterbox with torch give the pixels that OpenCV gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hrkit import Pipeline, create_pose_model, geometry, ops, warping
from hrkit.benchmark.inference import PHOTO
from hrkit.detectors import yolov3
from hrkit.images import read_image
from hrkit.skeletons import coco17
from small_pictures import noise

SIZE = (256, 192)
PLACES_OF_THE_WARP = 1 if int(cv2.__version__.split(".")[0]) >= 5 else 8
"""Grey levels: the warp of OpenCV 4 places its samples on a grid of 1/32 px."""

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
side = st.integers(1, 70)
box = st.tuples(st.floats(-90, 120), st.floats(-90, 120), st.floats(0.5, 150), st.floats(0.5, 150))


def boxes_in(frame: NDArray[np.uint8], count: int = 8) -> NDArray[np.float64]:
    """(N,4) xywh, some of them reaching outside."""
    height, width = frame.shape[:2]
    low, high = [-0.2 * width, -0.2 * height, 0.05 * width, 0.05 * height], [0.8 * width, 0.8 * height, width, height]
    return np.random.default_rng(1).uniform(low, high, (count, 4))


def warped(frame: NDArray[np.uint8], transforms: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    crops = warping.warp_tensor(torch.from_numpy(frame), torch.tensor(transforms), size)
    assert crops.dtype == torch.uint8
    assert crops.is_contiguous()
    return crops.numpy()


def letterboxed(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    out = np.empty((*size, 3), np.uint8)
    geometry.letterbox(frame, out)
    return out


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.int64]:
    assert one.shape == other.shape
    return np.abs(one.astype(np.int64) - other)


def plainly_warped(
    frame: NDArray[np.uint8], transform: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """One crop, pixel by pixel from the definition, in float64."""
    height, width = frame.shape[:2]
    rows, columns = np.mgrid[: size[0], : size[1]]
    places = geometry.apply_affine(geometry.invert_affine(transform), np.stack([columns, rows], -1).reshape(-1, 2))
    corner = np.floor(places)
    part = places - corner
    values = np.zeros((len(places), 3))
    for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = (corner + [right, below]).T.astype(int)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        weight = (part[:, 0] if right else 1 - part[:, 0]) * (part[:, 1] if below else 1 - part[:, 1])
        values[inside] += weight[inside, None] * frame[y[inside], x[inside]]
    return np.round(values).astype(np.uint8).reshape(*size, 3)


@given(
    height=side,
    width=side,
    boxes=st.lists(box, max_size=4),
    rotation=st.floats(-180, 180),
    udp=st.booleans(),
    size=st.sampled_from([(32, 24), (24, 32), (1, 1), (16, 16)]),
)
def test_crops_are_what_the_definition_says(
    height: int, width: int, boxes: list[tuple], rotation: float, udp: bool, size: tuple[int, int]
) -> None:
    if size == (1, 1):
        udp = False  # its maps have no inverse there
    frame = noise(height, width)
    transforms = geometry.crop_transform(np.array(boxes).reshape(-1, 4), size, rotation=rotation, udp=udp)
    crops = warped(frame, transforms, size)
    assert crops.shape == (len(boxes), *size, 3)
    for crop, transform in zip(crops, transforms, strict=True):
        assert apart(crop, plainly_warped(frame, transform, size)).max() <= 1


@pytest.mark.parametrize("rotation", [0, 33, 180])
@pytest.mark.parametrize("zoom", [1, 4])
def test_crops_of_the_photo_are_opencvs(rotation: float, zoom: int) -> None:
    frame = read_image(PHOTO).repeat(zoom, 0).repeat(zoom, 1)
    transforms = geometry.crop_transform(boxes_in(frame), SIZE, rotation=rotation)
    difference = apart(warped(frame, transforms, SIZE), geometry.warp_crops(frame, transforms, SIZE))
    assert difference.max() <= PLACES_OF_THE_WARP
    assert difference.mean() < 0.1


@pytest.mark.slow
@pytest.mark.needs_shared
def test_real_photos_are_cropped_and_letterboxed_alike(shared: Path) -> None:
    photos = [*sorted((shared / "media").glob("*.jpg")), *sorted((shared / "data/coco_val/images").glob("*.jpg"))[:9]]
    frames = [read_image(photo) for photo in photos]
    squares = warping.letterbox_tensors([torch.from_numpy(frame) for frame in frames], (416, 416)).numpy()
    assert len(frames) == len(squares) == 12
    for frame, square in zip(frames, squares, strict=True):
        transforms = geometry.crop_transform(boxes_in(frame), SIZE)
        difference = apart(warped(frame, transforms, SIZE), geometry.warp_crops(frame, transforms, SIZE))
        assert difference.max() <= PLACES_OF_THE_WARP
        assert difference.mean() < 0.1
        assert apart(square, letterboxed(frame, (416, 416))).max() <= 1


@pytest.mark.slow
def test_far_from_the_corner_of_a_large_picture_pixels_are_as_exact() -> None:
    frame = np.zeros((4320, 7680, 3), np.uint8)
    frame[-300:, -300:] = noise(300, 300)
    transforms = geometry.crop_transform([[7400, 4050, 90, 160], [7500, 4200, 100, 100]], SIZE, rotation=12)
    crops = warped(frame, transforms, SIZE)
    for crop, transform in zip(crops, transforms, strict=True):
        assert crop.mean() > 60
        assert apart(crop, plainly_warped(frame, transform, SIZE)).max() <= 1


def test_nobody() -> None:
    assert warped(noise(5, 5), np.zeros((0, 2, 3)), SIZE).shape == (0, *SIZE, 3)


@settings(max_examples=40)
@given(height=st.integers(1, 300), width=st.integers(1, 300), size=st.sampled_from([(64, 64), (48, 96), (7, 5)]))
def test_the_letterbox_is_opencvs(height: int, width: int, size: tuple[int, int]) -> None:
    frames = [noise(height, width), noise(width, height), noise(1, 1)]
    squares = warping.letterbox_tensors([torch.from_numpy(frame) for frame in frames], size)
    assert squares.dtype == torch.uint8
    for frame, square in zip(frames, squares.numpy(), strict=True):
        assert apart(square, letterboxed(frame, size)).max() <= 1


def test_around_the_frame_is_exactly_the_same_grey() -> None:
    black = np.zeros((5, 90, 3), np.uint8)
    square = warping.letterbox_tensors([torch.from_numpy(black)], (64, 64))[0].numpy()
    np.testing.assert_array_equal(square, letterboxed(black, (64, 64)))


def test_frames_go_up_whatever_their_memory_looks_like() -> None:
    frame = noise(6, 8)
    frame.flags.writeable = False
    for view in (frame, frame[::-1, 1:7], frame[..., ::-1]):
        there = warping.upload(view, torch.device("cpu"))
        np.testing.assert_array_equal(there.numpy(), view)
        there.zero_()  # it is a copy
    assert frame.any()


def test_opencv_cuts_for_the_cpu() -> None:
    assert [warping.on_device(torch.device(name)) for name in ("cpu", "mps", "cuda:1")] == [False, False, True]


@pytest.fixture
def cut_by_torch(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, everything from there on is cut as on a GPU; OpenCV's functions are gone."""

    def switch() -> None:
        monkeypatch.setattr(warping, "on_device", lambda device: True)
        monkeypatch.setattr(geometry, "warp_crops", None)
        monkeypatch.setattr(geometry, "letterbox", None)

    return switch


def test_a_pose_model_gets_the_same_crops(cut_by_torch: Callable[[], None]) -> None:
    model = create_pose_model("synthetic")
    photo = read_image(PHOTO)
    boxes = np.array([[36.0, 79, 212, 400], [-20, -30, 300, 200], [1, 1, 6, 6]])
    people = [(photo, boxes[:2]), (noise(9, 7), boxes[2:]), (photo, boxes[:0])]
    wanted = model.crops(people, model.create_codec())
    cut_by_torch()
    crops = model.crops(people, model.create_codec())
    np.testing.assert_array_equal(crops.to_frame, wanted.to_frame)
    assert crops.images.shape == (3, 3, *model.input_size)
    assert crops.images.stride() == wanted.images.stride()
    difference = (crops.images - wanted.images) * 255 * torch.tensor(model.spec.std).view(1, 3, 1, 1)
    assert difference[:2].abs().max() < PLACES_OF_THE_WARP + 0.01
    assert difference.abs().mean() < 0.3


def test_a_detector_sees_the_same(cut_by_torch: Callable[[], None]) -> None:
    detector = yolov3.yolov3_tiny(weights=None, input_size=96, max_batch_size=2)
    seen: list[Tensor] = []
    detector.network.register_forward_pre_hook(lambda network, inputs: seen.append(inputs[0].clone()))
    frames = [read_image(PHOTO), noise(60, 90), noise(1, 7)]
    detector.detect(frames)
    cut_by_torch()
    detector.detect(frames)
    assert [len(batch) for batch in seen] == [2, 1, 2, 1]
    for batch, wanted in zip(seen[2:], seen[:2], strict=True):
        assert batch.stride() == wanted.stride()
        assert (batch - wanted).abs().max() < 1.01 / 255


@pytest.mark.slow
def test_the_photo_has_the_same_people_in_the_same_poses(cut_by_torch: Callable[[], None]) -> None:
    pytest.importorskip("hrkit_lite", reason="needs the plugin hrkit-lite")
    pipeline = Pipeline.from_names("lite", "lite_person", device="cpu")
    wanted = pipeline(PHOTO)
    cut_by_torch()
    found = pipeline.detect([PHOTO])[0]
    assert len(found) == len(wanted) == 2
    assert np.abs(found.xyxy - wanted.detections.xyxy).max() < 1
    # in the same boxes: joints that nobody sees jump when a box moves by half a pixel, whoever cuts it
    poses = pipeline.predict(PHOTO, wanted.detections)
    areas = wanted.detections.areas
    similar = ops.oks(poses.keypoints, wanted.keypoints, areas, areas, coco17.sigmas)
    assert np.diag(similar).min() > 0.999


@needs_cuda
@settings(max_examples=20)
@given(height=side, width=side, rotation=st.floats(-180, 180))
def test_the_gpu_cuts_as_the_cpu_does(height: int, width: int, rotation: float) -> None:
    frame = noise(height, width)
    transforms = geometry.crop_transform(boxes_in(frame), SIZE, rotation=rotation)
    there = warping.upload(frame, torch.device("cuda"))
    crops = warping.warp_crops(frame, transforms, SIZE, there.device)
    assert crops.is_cuda
    assert apart(crops.cpu().numpy(), warped(frame, transforms, SIZE)).max() <= 1
    square = warping.letterbox_tensors([there], (64, 64))[0]
    assert apart(square.cpu().numpy(), letterboxed(frame, (64, 64))).max() <= 1
