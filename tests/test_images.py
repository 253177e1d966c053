"""Pictures in and out: every kind is converted or refused, never silently wrong."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from numpy.typing import NDArray

from hrkit import images
from hrkit.errors import ImageError
from hrkit.images import ENDINGS, WRITABLE, as_frame, find_images, read_image, write_image

RED, GREEN = (0, 0, 255), (0, 255, 0)


def two_colors(height: int = 8, width: int = 6) -> NDArray[np.uint8]:
    """(H,W,3) BGR: red above, green below."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 2], frame[height // 2 :] = RED, GREEN
    return frame


def noise(height: int = 40, width: int = 30) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def pil(frame: NDArray[np.uint8]) -> PIL.Image.Image:
    return PIL.Image.fromarray(frame[:, :, ::-1])


def png(path: Path, values: NDArray[np.uint16], color_type: int) -> Path:
    """A 16-bit PNG of (H,W,C) values: colour type 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, color_type, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


# files


@pytest.mark.parametrize("ending", WRITABLE)
def test_what_is_written_is_read(tmp_path: Path, ending: str) -> None:
    frame = two_colors(32, 32)
    write_image(tmp_path / f"picture{ending}", frame)
    read = read_image(tmp_path / f"picture{ending}")
    lossy = ending in (".jpg", ".jpeg", ".webp")
    np.testing.assert_allclose(read[[4, 28]], frame[[4, 28]], atol=6 if lossy else 0)
    assert (read.dtype, read.flags.c_contiguous, read.flags.writeable) == (np.uint8, True, True)


@pytest.mark.parametrize("name", ["Frühstück.png", "写真.png", "with space.png", "[a].png", "a*b.png", "a'b.PNG"])
def test_names_of_all_sorts(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / name, two_colors())
    assert (as_frame(str(tmp_path / name)) == two_colors()).all()
    assert find_images(tmp_path / name) == [tmp_path / name]
    assert find_images(tmp_path) == [tmp_path / name]


ORIENTATIONS = {
    1: lambda frame: frame,
    2: lambda frame: frame[:, ::-1],
    3: lambda frame: frame[::-1, ::-1],
    4: lambda frame: frame[::-1],
    5: lambda frame: frame.transpose(1, 0, 2),
    6: lambda frame: np.rot90(frame, -1),
    7: lambda frame: frame[::-1, ::-1].transpose(1, 0, 2),
    8: lambda frame: np.rot90(frame, 1),
}


@pytest.mark.parametrize("orientation", list(ORIENTATIONS))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    pil(noise()).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), ORIENTATIONS[orientation](noise()))


@pytest.mark.parametrize("orientation", list(ORIENTATIONS))
@pytest.mark.parametrize("ending", [".jpg", ".webp", ".tif", ".heic", ".avif"])
def test_orientations_of_other_formats(tmp_path: Path, ending: str, orientation: int) -> None:
    if ending == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()  # writes them as properties of the file
    corner = np.full((40, 64, 3), 30, np.uint8)
    corner[:20, :16], corner[:20, 16:32] = RED, GREEN
    picture = pil(corner)
    picture.getexif()[0x0112] = orientation
    given = {} if ending == ".heic" else {"exif": picture.getexif()}  # which its encoder would only copy
    picture.save(tmp_path / f"turned{ending}", quality=95, **given)
    read = read_image(tmp_path / f"turned{ending}")
    want = ORIENTATIONS[orientation](corner)
    assert read.shape == want.shape
    assert np.abs(read.astype(int) - want).mean() < 4


def test_heic_is_read_without_being_asked_for(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(pil(two_colors(64, 96))).save(tmp_path / "photo.heic", quality=95)
    code = f"from hrkit.images import *; print(read_image({str(tmp_path / 'photo.heic')!r}).shape)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "(64, 96, 3)\n"


def test_without_its_decoder_heic_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "ID", [name for name in PIL.Image.ID if name != "HEIF"])
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(ImageError, match=r"photo\.heic: is a HEIC picture, which needs pip install pillow-heif"):
        read_image(tmp_path / "photo.heic")


def test_endings_are_those_that_pillow_reads() -> None:
    PIL.Image.init()
    pytest.importorskip("pillow_heif").register_heif_opener()
    stubs = {"BUFR", "GRIB", "HDF5", "WMF", "EPS", "MPEG"}  # need another program, or are no pictures
    read = {
        ending for ending, name in PIL.Image.registered_extensions().items() if name in PIL.Image.OPEN.keys() - stubs
    }
    assert read <= set(ENDINGS)
    assert len(set(ENDINGS)) == len(ENDINGS)


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


def test_cmyk_jpeg(tmp_path: Path) -> None:
    pil(two_colors(32, 32)).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "print.jpg")[[4, 28]], two_colors(32, 32)[[4, 28]], atol=6)


@pytest.mark.filterwarnings("error")
def test_palette_with_transparency(tmp_path: Path) -> None:
    pil(two_colors()).convert("P", palette=PIL.Image.Palette.ADAPTIVE, colors=2).save(
        tmp_path / "palette.png", transparency=bytes([0, 128])
    )
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), two_colors())


def test_alpha_is_dropped(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([two_colors(), np.zeros((8, 6), np.uint8)]))
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), two_colors())


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png(tmp_path: Path, color_type: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (5, 7, channels), np.uint16)
    read = read_image(png(tmp_path / "deep.png", values, color_type))
    colors = values[..., 2::-1] if channels > 2 else values[..., :1].repeat(3, 2)
    np.testing.assert_allclose(read, colors // 256, atol=1)


@pytest.mark.parametrize(("largest", "bits"), [(255, 8), (1000, 10), (4095, 12), (65535, 16)])
def test_32_bit_greys_have_as_many_bits_as_they_need(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, largest: int, bits: int
) -> None:
    values = np.linspace(0, largest, 40).astype(np.int32).reshape(5, 8)
    PIL.Image.fromarray(values).save(tmp_path / "long.tif")
    read = read_image(tmp_path / "long.tif")
    np.testing.assert_array_equal(read, (values >> (bits - 8)).astype(np.uint8)[:, :, None].repeat(3, 2))
    (message,) = caplog.messages
    assert message == f"{tmp_path / 'long.tif'}: its 32-bit values, up to {largest}, are taken for {bits}-bit ones"


def test_negative_greys_are_refused(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.full((4, 4), -3, np.int32)).save(tmp_path / "long.tif")
    with pytest.raises(ImageError, match=r"long\.tif: 32-bit pictures"):
        read_image(tmp_path / "long.tif")


def test_16_bit_pictures_that_use_few_of_them_are_told(caplog: pytest.LogCaptureFixture) -> None:
    assert as_frame(np.full((4, 4), 4095, np.uint16)).max() == 15
    assert caplog.messages == ["a picture of 16 bits has no values above 4095 and is nearly black; scale it"]
    as_frame(np.full((4, 4), 4096, np.uint16))
    as_frame(np.zeros((4, 4), np.uint16))
    assert len(caplog.messages) == 1


def test_float_tiff_is_refused(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ImageError, match=r"float\.tif: 32-bit pictures have no fixed range"):
        read_image(tmp_path / "float.tif")


def test_32_bit_grey_is_refused_beyond_16_bits(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "long.tif")
    with pytest.raises(ImageError, match="32-bit"):
        read_image(tmp_path / "long.tif")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.jpg", b"not a picture at all", "is no picture"),
        ("page.png", b"<!doctype html><html>", "is no picture"),
        ("empty.jpg", b"", "is no picture"),
        ("head.png", b"\x89PNG\r\n\x1a\n", "picture|cannot be read"),
    ],
)
def test_what_is_no_picture(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=f"{name}: .*({message})"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("ending", WRITABLE)
def test_truncated(tmp_path: Path, ending: str) -> None:
    write_image(tmp_path / f"whole{ending}", noise())
    whole = (tmp_path / f"whole{ending}").read_bytes()
    (tmp_path / f"half{ending}").write_bytes(whole[: len(whole) // 2])
    for picture in (tmp_path / f"half{ending}", str(tmp_path / f"half{ending}")):
        with pytest.raises(ImageError, match=f"half{ending}"):
            as_frame(picture)


def test_a_truncated_picture_that_was_opened_before(tmp_path: Path) -> None:
    write_image(tmp_path / "whole.jpg", noise())
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:1000])
    with PIL.Image.open(tmp_path / "half.jpg") as picture, pytest.raises(ImageError, match=r"half\.jpg.*truncated"):
        as_frame(picture)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_raise_nothing_else(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    refused = 0
    for ending in (".jpg", ".png", ".bmp", ".webp", ".tif"):
        write_image(tmp_path / f"whole{ending}", noise(12, 9))
        whole = (tmp_path / f"whole{ending}").read_bytes()
        for _ in range(40):
            content = bytearray(whole)
            content[random.integers(min(200, len(content)))] = random.integers(256)
            (tmp_path / "damaged").write_bytes(content)
            try:
                assert read_image(tmp_path / "damaged").dtype == np.uint8
            except ImageError:
                refused += 1
    assert refused


@pytest.mark.parametrize(
    ("name", "hint"),
    [("clip.mp4", "Pipeline.video reads"), ("folder", "hrkit.images.find_images"), ("*", "hrkit.images.find_images")],
)
def test_what_is_no_picture_names_what_reads_it(name: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no picture")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ImageError, match=f"; {hint}"):
        read_image(tmp_path / name)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"missing\.jpg: no such file"):
        read_image(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        read_image("with a \0.jpg")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(PIL.Image, "open", denied)
    with pytest.raises(ImageError, match=r"secret\.jpg: cannot be read .*Permission denied"):
        read_image(tmp_path / "secret.jpg")


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "large.png", np.zeros((50, 50, 3), np.uint8))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match=r"large\.png: is too large .*2500 pixels"):
        read_image(tmp_path / "large.png")


@pytest.mark.filterwarnings("error")
def test_pillows_limit_on_pixels_is_none_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.PILLOWS_LIMIT == PIL.Image.MAX_IMAGE_PIXELS
    write_image(tmp_path / "large.png", np.zeros((50, 50, 3), np.uint8))
    for limit in (2000, 1000):  # from where Pillow warns, and refuses
        monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", limit)
        monkeypatch.setattr(images, "PILLOWS_LIMIT", limit)
        assert read_image(tmp_path / "large.png").shape == (50, 50, 3)
        assert limit == PIL.Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(images, "MOST_PIXELS", 2499)
    with pytest.raises(ImageError, match=r"large\.png: is too large, 50x50 px"):
        read_image(tmp_path / "large.png")


@pytest.mark.parametrize("size", [(1, 1), (20_000, 2), (2, 20_000)])
def test_small_and_long(tmp_path: Path, size: tuple[int, int]) -> None:
    frame = np.full((*size, 3), 7, np.uint8)
    write_image(tmp_path / "picture.png", frame)
    np.testing.assert_array_equal(read_image(tmp_path / "picture.png"), frame)


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


# writing


def test_write_makes_the_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "b" / "picture.png", two_colors())
    assert sorted(os.listdir(tmp_path / "a" / "b")) == ["picture.png"]


@pytest.mark.parametrize("name", ["picture.gif", "picture", "picture.txt", "picture.jpg.part"])
def test_endings_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=r"endings are \.jpg"):
        write_image(tmp_path / name, two_colors())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_frame_is_not_written(tmp_path: Path, frame: NDArray[Any]) -> None:
    with pytest.raises(ImageError, match=r"picture\.png: a frame is"):
        write_image(tmp_path / "picture.png", frame)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("ending", "width"), [(".webp", 17_000), (".jpg", 70_000)])
def test_larger_than_the_format_allows(tmp_path: Path, ending: str, width: int) -> None:
    with pytest.raises(ImageError, match="cannot be written"):
        write_image(tmp_path / f"long{ending}", np.zeros((1, width, 3), np.uint8))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ending", WRITABLE)
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, ending: str) -> None:
    resource = pytest.importorskip("resource")
    before, large = two_colors(), np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    write_image(tmp_path / f"picture{ending}", before)
    content = (tmp_path / f"picture{ending}").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        for name in ("picture", "another"):
            with pytest.raises(OSError, match="File too large"):
                write_image(tmp_path / f"{name}{ending}", large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == [f"picture{ending}"]
    assert (tmp_path / f"picture{ending}").read_bytes() == content


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        write_image(tmp_path / "file" / "picture.png", two_colors())
    assert (tmp_path / "file").read_text() == "in the way"


# finding


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "inside/c.jpg", "[1]/d.jpg", "1/e.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["a.PNG", "b.jpg"]),
        ("b.jpg", ["b.jpg"]),
        ("missing.jpg", ["missing.jpg"]),
        ("*.jpg", ["b.jpg"]),
        ("[ab].*", ["a.PNG", "b.jpg"]),
        ("?.jpg", ["b.jpg"]),
        ("*", ["a.PNG", "b.jpg"]),
        ("*/*", ["1/e.jpg", "[1]/d.jpg", "inside/c.jpg"]),
        ("*/*.jpg", ["1/e.jpg", "[1]/d.jpg", "inside/c.jpg"]),
        ("[1]", ["[1]/d.jpg"]),
        ("[1]/d.jpg", ["[1]/d.jpg"]),
        ("[1]/e.jpg", ["1/e.jpg"]),
    ],
)
@pytest.mark.parametrize("relative", [False, True])
def test_find(folder: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, names: list[str], relative: bool) -> None:
    monkeypatch.chdir(folder)
    base = Path() if relative else folder
    assert find_images(base / pattern) == [base / name for name in names]


def test_what_a_glob_and_a_folder_in_it_stand_for_is_found_once(folder: Path) -> None:
    found = find_images(folder / "**", deep=True)
    assert len(set(found)) == len(found) > 1


@pytest.mark.parametrize("pattern", ["*.bmp", "folder.jpg", "empty", "empty/**.jpg"])
def test_nothing_found(folder: Path, pattern: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ImageError, match=r"no pictures|nvalid pattern"):
        find_images(folder / pattern)


def test_what_is_left_out_of_a_folder_is_said_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "README").touch()
    for _ in range(2):
        find_images(folder)
    find_images(folder / "b.jpg")
    others, folders = "2 files of other kinds are left out (.txt, no ending)", "4 folders in it are not searched"
    assert caplog.messages == [f"{folder}: {others}; {folders}"]


def test_an_empty_name_is_not_the_folder() -> None:
    with pytest.raises(ImageError, match="empty"):
        find_images("")


def test_every_writable_ending_counts_as_a_picture() -> None:
    assert set(WRITABLE) <= set(ENDINGS)
