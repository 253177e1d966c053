"""Arrays, tensors and pictures of Pillow become frames or are refused, never silently wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from numpy.typing import NDArray

from hrkit.errors import ImageError
from hrkit.images import as_frame
from small_pictures import noise, pil, two_colors

# pictures of Pillow


def test_exif_orientation_of_a_given_picture() -> None:
    picture = pil(noise())
    picture.getexif()[0x0112] = 6
    np.testing.assert_array_equal(as_frame(picture), np.rot90(noise(), -1))
    assert picture.size == (30, 40)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV"])
def test_colors_of_every_mode(mode: str) -> None:
    np.testing.assert_allclose(as_frame(pil(two_colors()).convert(mode)), two_colors(), atol=2)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I", "I;16"])
def test_grey_modes(mode: str) -> None:
    scale = {"I": 257, "I;16": 257, "1": 255}.get(mode, 1)
    value = 1 if mode == "1" else 200
    picture = PIL.Image.new(mode, (6, 8), (value, 9) if mode == "LA" else value * scale)
    wanted = 255 if mode == "1" else 200
    assert as_frame(picture).tolist() == np.full((8, 6, 3), wanted).tolist()


# arrays


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_arrays(shape: tuple[int, ...], dtype: type) -> None:
    whole = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)
    array = np.zeros(shape, dtype)
    array[1] = whole
    given = array.copy()
    frame = as_frame(array)
    assert (frame.shape, frame.dtype, frame.flags.c_contiguous) == ((4, 5, 3), np.uint8, True)
    assert (frame[1] == 255).all()
    assert frame.sum() == 255 * 5 * 3
    np.testing.assert_array_equal(array, given)


def test_16_bit_pictures_that_use_few_of_them_are_told(caplog: pytest.LogCaptureFixture) -> None:
    assert as_frame(np.full((4, 4), 4095, np.uint16)).max() == 15
    assert caplog.messages == ["a picture of 16 bits has no values above 4095 and is nearly black; scale it"]
    as_frame(np.full((4, 4), 4096, np.uint16))
    as_frame(np.zeros((4, 4), np.uint16))
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("kind", ["read-only", "strided", "mirrored", "transposed", "memmap", "big-endian", "masked"])
def test_arrays_of_every_layout(tmp_path: Path, kind: str) -> None:
    array = noise(8, 6)
    given: NDArray[Any] = array
    if kind == "read-only":
        given = array.copy()
        given.flags.writeable = False
    elif kind == "strided":
        given = array.repeat(2, 0).repeat(3, 1)[::2, ::3]
    elif kind == "mirrored":
        given = array[::-1, ::-1][:, :, ::-1].copy()[::-1, ::-1, ::-1]
    elif kind == "transposed":
        given = np.asfortranarray(array)
    elif kind == "memmap":
        given = np.memmap(tmp_path / "frame", np.uint8, "w+", shape=array.shape)
        given[:] = array
    elif kind == "big-endian":
        given = (array.astype(np.uint16) * 257).astype(">u2")
    elif kind == "masked":
        given = np.ma.masked_greater(array, 250)
    frame = as_frame(given)
    np.testing.assert_array_equal(frame, array)
    assert type(frame) is np.ndarray
    assert frame.flags.c_contiguous
    assert frame.flags.writeable


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.float64])
def test_tensors_are_taken_as_arrays(dtype: torch.dtype) -> None:
    scale = 1 if dtype == torch.uint8 else 255
    tensor = (torch.from_numpy(noise()) / scale).to(dtype)
    np.testing.assert_allclose(as_frame(tensor), noise(), atol=0 if dtype != torch.float16 else 1)
    assert as_frame(tensor.requires_grad_() if scale > 1 else tensor).shape == (40, 30, 3)


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(3, 8, 8), torch.zeros(8, 8, 3, dtype=torch.bfloat16), torch.eye(3).to_sparse(), torch.tensor(1.0)],
)
def test_tensors_that_are_no_pictures(tensor: torch.Tensor) -> None:
    with pytest.raises(ImageError) as error:
        as_frame(tensor)
    assert "\n" not in str(error.value)


def test_channels_keep_their_order() -> None:
    array = np.zeros((2, 2, 4), np.uint8)
    array[:] = (1, 2, 3, 4)
    assert as_frame(array)[0, 0].tolist() == [1, 2, 3]
    assert as_frame(array[::-1, :, :3]).flags.c_contiguous


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 0), np.uint8),
        np.zeros(5, np.uint8),
        np.zeros((5, 5, 2), np.uint8),
        np.zeros((3, 5, 5), np.uint8),
        np.zeros((1, 5, 5, 3), np.uint8),
        np.zeros((5, 5, 3), np.int32),
        np.zeros((5, 5, 3), bool),
        np.zeros((5, 5, 3), complex),
        np.zeros((5, 5, 3), object),
        np.full((5, 5, 3), 200.0),
        np.full((5, 5, 3), -0.1),
        np.full((5, 5, 3), np.nan),
        np.full((5, 5, 3), np.inf),
        PIL.Image.new("RGB", (0, 5)),
        PIL.Image.new("F", (5, 5)),
        PIL.Image.new("La", (5, 5)),
        None,
        3,
        b"picture.jpg",
        [[1, 2], [3, 4]],
    ],
)
def test_refused(image: Any) -> None:
    with pytest.raises(ImageError):
        as_frame(image)
