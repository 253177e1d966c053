"""Photos from outside: what they are is read from their header first, and only then are they decoded."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from hrkit.errors import ImageError
from hrkit.images import as_frame
from hrkit_web.errors import BusyError, RefusedError

FORMATS = ("JPEG", "PNG", "WEBP")

SCANS = 100
"""Of a JPEG; each is a pass over the whole picture, of which a small file may ask for thousands. Ten are usual."""

PIXEL_BYTES = 8
"""That decoding takes at its peak: the decoder's own picture, one in another mode, the frame."""


class Room:
    """Memory for decoded pictures, of which there is so much and no more."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def for_bytes(self, wanted: int) -> Iterator[None]:
        """Keeps so much for the block; raises `BusyError` if it is not there."""
        with self._lock:
            if wanted > self._free:
                raise BusyError("too many pictures at once; try again in a second")
            self._free -= wanted
        try:
            yield
        finally:
            with self._lock:
                self._free += wanted


def open_photo(file: BinaryIO, most_pixels: int) -> PIL.Image.Image:
    """A JPEG, PNG or WebP of which nothing but the header was read.

    Raises `RefusedError`: 415 for anything else, 413 for too many pixels, 422 for more pictures than one.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            picture = PIL.Image.open(file, formats=FORMATS)
    except PIL.Image.DecompressionBombError:
        raise _too_large(most_pixels) from None
    except Exception:  # on damaged headers the readers raise all sorts
        raise RefusedError(415, f"no picture that can be read here; send {', '.join(FORMATS)}") from None
    if picture.width * picture.height > most_pixels:
        raise _too_large(most_pixels)
    if getattr(picture, "is_animated", False):
        raise RefusedError(422, "this is a moving picture; send one picture, or a video")
    if picture.format == "JPEG":
        file.seek(0)
        if file.read().count(b"\xff\xda") > SCANS:  # the marker of a scan; within one it cannot come
            raise RefusedError(422, f"a JPEG of more than {SCANS} scans")
        file.seek(0)
    return picture


def decode(picture: PIL.Image.Image) -> NDArray[np.uint8]:
    """(H,W,3) BGR, upright. Raises `RefusedError` with 422 for what is damaged."""
    try:
        return as_frame(picture)
    except ImageError as error:
        raise RefusedError(422, str(error)) from None


def _too_large(most_pixels: int) -> RefusedError:
    return RefusedError(413, f"too many pixels; at most {most_pixels / 1e6:g} million")
