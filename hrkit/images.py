"""Reads and writes pictures as (H,W,3) uint8 BGR frames. Pictures that cannot be shown faithfully are refused."""

from __future__ import annotations

import contextlib
import io
import logging
import mimetypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from hrkit.errors import HrkitError, ImageError, one_line
from hrkit.files import FilePath, atomic_path, find_files, is_address, without_secrets
from hrkit.structures import Frame

logger: logging.Logger = logging.getLogger("hrkit")

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".webp", ".gif", ".tif", ".tiff"),
    *(".heic", ".heics", ".heif", ".heifs", ".hif", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga", ".icb", ".vda", ".vst", ".psd", ".qoi", ".dds", ".pcx", ".dcx"),
    *(".sgi", ".rgb", ".rgba", ".bw", ".ras", ".ico", ".icns", ".cur", ".pcd", ".pxr", ".im", ".iim", ".msp", ".blp"),
    *(".ftc", ".ftu", ".gbr", ".xbm", ".xpm", ".fit", ".fits", ".fli", ".flc"),
)
"""Endings of pictures in a folder."""

WRITABLE = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Endings of pictures that `write_image` can write."""

MOST_PIXELS = 500_000_000
"""Pixels of the largest picture that is read."""

MOST_BYTES, TIMEOUT = 200_000_000, 30.0  # of a picture at an address, and seconds without an answer
PILLOWS_LIMIT = 89_478_485  # pixels from which on Pillow warns; phones take larger photos
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
STILL = ("MPO", "PSD")  # formats whose further frames are previews or layers
DARK = 4096  # 16-bit pictures without a larger value are nearly black

ImageSource = FilePath | NDArray[Any] | PIL.Image.Image  # Any: numbers of several kinds

_limit_lock = threading.Lock()

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else Python prints what is raised too


def as_frame(image: ImageSource) -> Frame:
    """A path, an address (https://...), a PIL image or an array as a (H,W,3) uint8 BGR frame.

    Arrays, or tensors, are (H,W), (H,W,1), (H,W,3) BGR or (H,W,4) BGRA, whose alpha is dropped. Their values are uint8,
    uint16 (the high byte is kept) or floats from 0 to 1. Raises `ImageError` for anything else, and if a file cannot be
    read.
    """
    if hasattr(image, "detach") and hasattr(image, "cpu"):  # a tensor; torch is not imported for the check
        try:
            image = image.detach().cpu().numpy()
        except (TypeError, RuntimeError) as error:  # of a type that NumPy does not have, or sparse
            raise ImageError(f"this tensor is no picture ({one_line(error)})") from None
    if isinstance(image, np.ndarray):
        return _from_array(np.asarray(image))
    if isinstance(image, PIL.Image.Image):
        name = getattr(image, "filename", "") or "picture"
        with _picture_errors(name):
            return _from_pil(image, name)
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    wrong = "None, which cv2.imread gives for what it cannot read" if image is None else type(image).__name__
    is_many = isinstance(image, (int, Iterator))
    hint = "; Pipeline.video reads cameras, Pipeline.stream any number of pictures" if is_many else ""
    raise ImageError(f"a picture must be a path, an array (H,W,3) BGR or a PIL image, not {wrong}{hint}")


def read_image(path: FilePath) -> Frame:
    """The picture in a file or at an address, upright (EXIF orientation applied), as (H,W,3) uint8 BGR.

    Of an animation, or of several pages, the first is taken, and that is logged. An ICC profile is not applied, as by
    OpenCV and Pillow. Raises `ImageError` if the file is missing, empty, truncated, too large or no picture, or if it
    cannot be fetched.
    """
    name = without_secrets(path)
    with _opened(os.fspath(path)) as picture:
        numbers = _frame_numbers(picture)
        if len(numbers) > 1:
            logger.warning("%s: has %d frames or pages; the first is taken", name, len(numbers))
        return _from_pil(picture, name)


def read_frames(path: FilePath) -> Iterator[Frame]:
    """Every frame of an animation, or page of a file, as `read_image` gives them.

    Raises `ImageError` as `read_image`, after the last frame that can be read.
    """
    name = os.fspath(path)
    with _opened(name) as picture:
        for number in _frame_numbers(picture):
            picture.seek(number)
            yield _from_pil(picture, name)


def frame_seconds(path: FilePath) -> Iterator[float | None]:
    """How long each frame of an animation is shown, seconds; None for a picture or page. Raises as `read_frames`."""
    with _opened(os.fspath(path)) as picture:
        for number in _frame_numbers(picture):
            picture.seek(number)
            if picture.format in ("WEBP", "AVIF"):
                picture.load()  # which finds the duration
            yield picture.info.get("duration", 0) / 1000 or None


def check_writable(path: FilePath) -> None:
    """Raises `ImageError` for a file extension that is not in `WRITABLE`."""
    if Path(path).suffix.lower() not in WRITABLE:
        raise ImageError(f"{path}: cannot write such a picture; extensions are {', '.join(WRITABLE)}")


def write_image(path: FilePath, frame: Frame) -> None:
    """Writes a (H,W,3) BGR frame in the format of the ending. The file appears whole or not at all.

    Raises `ImageError` for an ending that is not in `WRITABLE`, for an array that is no such frame, and for a frame
    that is too large for the format; `OSError` as the file system does.
    """
    check_writable(path)
    check_frame(path, frame)
    encoded = io.BytesIO()  # Pillow would not notice that a disk is full
    try:
        kind = PIL.Image.registered_extensions()[Path(path).suffix.lower()]
        PIL.Image.fromarray(frame[:, :, ::-1]).save(encoded, kind, quality=95)
    except (ValueError, OSError) as error:
        raise ImageError(f"{path}: a frame of shape {frame.shape} cannot be written so ({error})") from None
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())


def check_frame(name: FilePath, frame: Frame, error: type[HrkitError] = ImageError) -> None:
    """Raises `error` for an array that is no frame. The message begins with `name`."""
    if not isinstance(frame, np.ndarray):
        raise error(f"{name}: a frame is an array (H,W,3) uint8 BGR, not {type(frame).__name__}")
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
        raise error(f"{name}: a frame is (H,W,3) uint8 BGR, not {frame.dtype} of shape {frame.shape}")


def find_images(pattern: FilePath, *, deep: bool = False) -> list[Path]:
    """The pictures that a path, folder or glob stands for, sorted by name.

    A path that exists is taken as it is, also with `*` in its name. Hidden files, and files with other endings in a
    folder or for a glob that ends in `*`, are left out; with `deep` a folder includes everything below it. Raises
    `ImageError` if nothing is found.
    """
    if not os.fspath(pattern):
        raise ImageError("the name of a picture is empty")
    _, found = find_files(os.fspath(pattern), ENDINGS, deep=deep)
    if not found:
        raise ImageError(f"{pattern}: no pictures there ({', '.join(ENDINGS[:12])} and others)")
    return sorted(map(Path, found))


@contextlib.contextmanager
def _picture_errors(name: str) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        hint = "; hrkit.images.find_images lists the pictures that match" if "*" in name else ""
        raise ImageError(f"{name}: no such file{hint}") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: is a folder, not a picture; hrkit.images.find_images lists its pictures") from None
    except PIL.UnidentifiedImageError:
        is_video = (mimetypes.guess_type(name)[0] or "").startswith("video/")
        hint = "; Pipeline.video reads videos" if is_video else ""
        raise ImageError(f"{name}: is no picture, or of a kind that cannot be read{hint}") from None
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"{name}: is too large ({error}); make it smaller first") from None
    except Exception as error:  # decoders raise errors of any kind for damaged files
        raise ImageError(f"{name}: cannot be read ({error})") from None


@contextlib.contextmanager
def _opened(name: str) -> Iterator[PIL.Image.Image]:
    """The picture in a file. Raises `ImageError`, in the block too."""
    given, name = name, without_secrets(name)
    with _picture_errors(name), _open(_fetched(given) if is_address(given) else given) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise ImageError(f"{name}: is too large, {picture.width}x{picture.height} px; make it smaller first")
        yield picture


def _fetched(address: str) -> io.BytesIO:
    """What is at an address. Raises `ImageError` for more than `MOST_BYTES`, and as `urlopen`."""
    import urllib.request  # loads slowly

    if not address.lower().startswith(("http://", "https://")):
        raise ImageError(f"{without_secrets(address)}: pictures are fetched from http:// and https:// only")
    request = urllib.request.Request(address, headers={"User-Agent": "hrkit"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        content = answer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ImageError(f"{without_secrets(address)}: is larger than {MOST_BYTES // 1_000_000} MB")
    return io.BytesIO(content)


def _open(source: str | io.BytesIO) -> PIL.Image.Image:
    """`PIL.Image.open` without Pillow's limit on pixels, unless the program set another, and for HEIC too."""
    with _limit_lock:
        limit = PIL.Image.MAX_IMAGE_PIXELS
        if limit == PILLOWS_LIMIT:
            PIL.Image.MAX_IMAGE_PIXELS = None
        try:
            return PIL.Image.open(source)
        except PIL.UnidentifiedImageError:
            _read_heif_from_now_on(source)
            return PIL.Image.open(source)
        finally:
            PIL.Image.MAX_IMAGE_PIXELS = limit


def _read_heif_from_now_on(source: str | io.BytesIO) -> None:
    """Registers the decoder of HEIF, which loads slowly, with Pillow, if that is what the file is."""
    with open(source, "rb") if isinstance(source, str) else io.BytesIO(source.getvalue()) as file:
        start = file.read(12)
    if start[4:8] != b"ftyp" or start[8:] not in HEIF_BRANDS:
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        name = source if isinstance(source, str) else "what the address gives"
        raise ImageError(f"{name}: is a HEIC picture, which needs pip install pillow-heif") from None
    register_heif_opener()


def _frame_numbers(picture: PIL.Image.Image) -> list[int]:
    """The numbers of the frames or pages that are pictures of their own. Goes to the first."""
    numbers = list(range(1 if picture.format in STILL else getattr(picture, "n_frames", 1)))
    if picture.format == "TIFF" and len(numbers) > 1:
        numbers = [number for number in numbers if not _is_reduced(picture, number)] or [0]
        picture.seek(numbers[0])
    return numbers


def _is_reduced(picture: PIL.Image.Image, number: int) -> bool:
    """Whether a page of a TIFF is a smaller version of another."""
    picture.seek(number)
    return bool(getattr(picture, "tag_v2", {}).get(254, 0) & 1)


def _from_pil(picture: PIL.Image.Image, name: str) -> Frame:
    picture.load()
    turned = picture.getexif().get(PIL.ExifTags.Base.Orientation, 1) != 1
    upright = PIL.ImageOps.exif_transpose(picture) if turned else picture  # copies large pictures only if it must
    if upright.mode.startswith("I;16"):
        return _from_array(np.asarray(upright).astype(np.uint16))
    if upright.mode in ("I", "F"):
        return _from_32_bits(np.asarray(upright), name)
    if upright.mode == "P":
        upright = upright.convert("RGBA")  # first, since a palette may have transparency
    rgb = upright if upright.mode == "RGB" else upright.convert("RGB")
    return _from_array(cv2.cvtColor(np.asarray(rgb), cv2.COLOR_RGB2BGR))


def _from_32_bits(values: NDArray[Any], name: str) -> Frame:  # Any: int32 or float32
    """A grey frame from (H,W) values of 8 to 16 bits, the fewest that hold the largest value."""
    most = 0 if not values.size else values.max()
    if values.dtype != np.int32 or most > 65535 or (values < 0).any():
        raise ImageError(f"{name}: 32-bit pictures have no fixed range of values; save it with 8 or 16 bits")
    bits = max(8, int(most).bit_length())
    logger.warning("%s: its 32-bit values, up to %d, are taken for %d-bit ones", name, most, bits)
    return _from_array((values >> (bits - 8)).astype(np.uint8))


def _from_array(array: NDArray[Any]) -> Frame:  # Any: numbers of several kinds
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        hint = "; transpose(1, 2, 0) brings channels to the end" if array.ndim == 3 and array.shape[0] in (1, 3) else ""
        wanted = "(H,W), (H,W,3) BGR or (H,W,4) BGRA"
        raise ImageError(f"an array of shape {array.shape} is no picture; wanted {wanted}{hint}")
    if 0 in array.shape:
        raise ImageError(f"an array of shape {array.shape} has no pixels")
    array = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[:, :, :3]
    if array.dtype.newbyteorder("=") == np.uint16:
        if 256 <= (most := int(array.max())) < DARK:
            logger.warning("a picture of 16 bits has no values above %d and is nearly black; scale it", most)
        array = (array >> 8).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ImageError("a float picture must hold values from 0 to 1; divide by its range, or pass uint8")
        array = np.round(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(
            f"a picture of {array.dtype} has no fixed range of values; pass uint8, uint16 or floats in 0..1"
        )
    return np.require(array, requirements=("C", "W"))  # torch and OpenCV want such arrays
