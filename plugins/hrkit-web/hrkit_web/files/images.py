"""Photos from outside: what they are is read from their header first, and only then are they decoded."""

from __future__ import annotations

import contextlib
import re
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

PIXEL_BYTES = 27
"""That decoding takes at its peak, the decoder's own picture, copies in other modes and the frame together. Measured
with 25 million pixels: WebP 26.5, 16-bit grey PNG 19.1, other PNGs 15 to 18, JPEG 18.1."""

SEGMENTS = 2000
"""Of a JPEG that has to be looked through for its scans; one with a hundred scans has a few hundred."""

_SEGMENT = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xd9-\xdd\xe0-\xef\xfe]")
"""What has a length behind it in a JPEG, and its end. No other byte than zero follows 0xff within a scan, unless it is
a restart, which has no length; what is not here is refused by decoders, or has none."""

_END, _SCAN = 0xD9, 0xDA


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

    Of a JPEG with more pictures behind the first, as phones make them, it is the first. Raises `RefusedError`: 415 for
    anything else, 413 for too many pixels, 422 for a moving picture.
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
    if picture.format in ("JPEG", "MPO"):  # Pillow's name for JPEGs with more than one picture
        file.seek(0)
        if _many_scans(file.read()):
            raise RefusedError(422, f"a JPEG of more than {SCANS} scans")
        file.seek(0)
    elif getattr(picture, "is_animated", False):
        raise RefusedError(422, "this is a moving picture; send one picture, or a video")
    return picture


def decode(picture: PIL.Image.Image) -> NDArray[np.uint8]:
    """(H,W,3) BGR, upright. Raises `RefusedError` with 422 for what is damaged."""
    try:
        return as_frame(picture)
    except ImageError as error:
        raise RefusedError(422, str(error)) from None


def _many_scans(data: bytes) -> bool:
    """Whether the first picture of a JPEG has more than `SCANS`; what its segments hold, and what follows, is no scan.

    Segments are told apart as libjpeg does, so that it finds no scan that is not counted here.
    """
    if data.count(bytes([0xFF, _SCAN])) <= SCANS:
        return False
    scans, at = 0, 2
    for _ in range(SEGMENTS):
        found = _SEGMENT.search(data, at)
        if found is None or found[0][1] == _END:
            return False
        scans += found[0][1] == _SCAN
        if scans > SCANS:
            return True
        at = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2], "big"))
    return True


def _too_large(most_pixels: int) -> RefusedError:
    return RefusedError(413, f"too many pixels; at most {most_pixels / 1e6:g} million")
