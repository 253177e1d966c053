"""Picture files of every kind are read as frames or refused, never silently wrong."""

from __future__ import annotations

import errno
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
from numpy.typing import NDArray

from hrkit import images
from hrkit.errors import ImageError
from hrkit.images import ENDINGS, WRITABLE, as_frame, find_images, read_image, write_image
from small_pictures import GREEN, RED, noise, pil, two_colors


def png(path: Path, values: NDArray[np.uint16], color_type: int) -> Path:
    """A 16-bit PNG of (H,W,C) values: colour type 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, color_type, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


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


@pytest.mark.slow
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
