"""Reads and writes pictures as (H,W,3) uint8 BGR frames. Pictures that cannot be shown faithfully are refused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from hrkit.errors import HrkitError, ImageError
from hrkit.files import atomic_path, find_files
from hrkit.structures import Frame

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""Endings of pictures in a folder."""

WRITABLE = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Endings of pictures that `write_image` can write."""

ImageSource = str | os.PathLike[str] | NDArray[Any] | PIL.Image.Image  # Any: numbers of several kinds


def as_frame(image: ImageSource) -> Frame:
    """A path, PIL image or array as a (H,W,3) uint8 BGR frame.

    Arrays are (H,W), (H,W,1), (H,W,3) BGR or (H,W,4) BGRA, whose alpha is dropped. Their values are uint8, uint16 (the
    high byte is kept) or floats from 0 to 1. Raises `ImageError` for anything else, and if a file cannot be read.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, PIL.Image.Image):
        name = getattr(image, "filename", "") or "picture"
        with _picture_errors(name):
            return _from_pil(image, name)
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    raise ImageError(f"a picture must be a path, an array (H,W,3) BGR or a PIL image, not {type(image).__name__}")


def read_image(path: str | os.PathLike[str]) -> Frame:
    """The picture in a file, upright (EXIF orientation applied), as (H,W,3) uint8 BGR.

    Raises `ImageError` if the file is missing, empty, truncated, too large or no picture.
    """
    name = os.fspath(path)
    with _picture_errors(name), PIL.Image.open(path) as picture:
        return _from_pil(picture, name)


def write_image(path: str | os.PathLike[str], frame: Frame) -> None:
    """Writes a (H,W,3) BGR frame in the format of the ending. The file appears whole or not at all.

    Raises `ImageError` for an ending that is not in `WRITABLE`, for an array that is no such frame, and for a frame
    that is too large for the format; `OSError` as the file system does.
    """
    if Path(path).suffix.lower() not in WRITABLE:
        raise ImageError(f"{path}: cannot write such a picture; endings are {', '.join(WRITABLE)}")
    check_frame(path, frame)
    with atomic_path(path) as temporary:
        try:
            PIL.Image.fromarray(frame[:, :, ::-1]).save(temporary, quality=95)
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ImageError(f"{path}: a frame of shape {frame.shape} cannot be written so ({error})") from None


def check_frame(name: str | os.PathLike[str], frame: Frame, error: type[HrkitError] = ImageError) -> None:
    """Raises `error` for an array that is no frame. The message begins with `name`."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
        raise error(f"{name}: a frame is (H,W,3) uint8 BGR, not {frame.dtype} of shape {frame.shape}")


def find_images(pattern: str | os.PathLike[str]) -> list[Path]:
    """The pictures that a path, folder or glob stands for, sorted by name.

    A path that exists is taken as it is, also with `*` in its name. Hidden files, and files with other endings in a
    folder or for a glob that ends in `*`, are left out. Raises `ImageError` if nothing is found.
    """
    if not os.fspath(pattern):
        raise ImageError("the name of a picture is empty")
    _, found = find_files(os.fspath(pattern), ENDINGS)
    if not found:
        raise ImageError(f"{pattern}: no pictures there ({', '.join(ENDINGS)})")
    return sorted(map(Path, found))


@contextlib.contextmanager
def _picture_errors(name: str) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: is a folder, not a picture") from None
    except PIL.UnidentifiedImageError:
        raise ImageError(f"{name}: is no picture, or of a kind that cannot be read") from None
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"{name}: is too large ({error}); make it smaller first") from None
    except Exception as error:  # decoders raise errors of any kind for damaged files
        raise ImageError(f"{name}: cannot be read ({error})") from None


def _from_pil(picture: PIL.Image.Image, name: str) -> Frame:
    upright = PIL.ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I;16"):
        return _from_array(np.asarray(upright).astype(np.uint16))
    if upright.mode in ("I", "F"):
        values = np.asarray(upright)
        if upright.mode == "I" and values.size and values.min() >= 0 and values.max() <= 65535:
            return _from_array(values.astype(np.uint16))  # 16-bit grey PNGs in some versions of Pillow
        raise ImageError(f"{name}: 32-bit pictures have no fixed range of values; save it with 8 or 16 bits")
    if upright.mode == "P":
        upright = upright.convert("RGBA")  # first, since a palette may have transparency
    return _from_array(np.asarray(upright.convert("RGB"))[:, :, ::-1])


def _from_array(array: NDArray[Any]) -> Frame:  # Any: numbers of several kinds
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(f"an array of shape {array.shape} is no picture; wanted (H,W), (H,W,3) BGR or (H,W,4) BGRA")
    if 0 in array.shape:
        raise ImageError(f"an array of shape {array.shape} has no pixels")
    array = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[:, :, :3]
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ImageError("a float picture must hold values from 0 to 1; divide by its range, or pass uint8")
        array = np.round(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(
            f"a picture of {array.dtype} has no fixed range of values; pass uint8, uint16 or floats in 0..1"
        )
    return np.ascontiguousarray(array)
