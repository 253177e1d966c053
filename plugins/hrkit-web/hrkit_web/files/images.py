"""Photos from callers. Their headers are checked before anything is decoded."""

from __future__ import annotations

import re
import warnings
from typing import BinaryIO

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from hrkit.errors import ImageError
from hrkit.images import as_frame
from hrkit_web.errors import RefusedError

FORMATS = ("JPEG", "PNG", "WEBP")

SCANS = 100
"""Most scans in a JPEG. Each is a pass over the whole picture, and a small file can hold thousands; ten are usual."""

PIXEL_BYTES = 27
"""Peak memory of decoding, per pixel: the decoder's picture, copies in other modes and the frame. Measured with 25
million pixels: WebP 26.5, 16-bit grey PNG 19.1, other PNGs 15 to 18, JPEG 18.1."""

SEGMENTS = 2000
"""Most segments searched for scans in a JPEG. A JPEG with a hundred scans has a few hundred."""

_SEGMENT = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xd9-\xdd\xe0-\xef\xfe]")
"""JPEG markers that are followed by a length, and the end marker. All others have no length or are refused by decoders.
Within a scan 0xff is followed by zero or by a restart marker, which has no length."""

_END, _SCAN = 0xD9, 0xDA


def open_photo(file: BinaryIO, most_pixels: int) -> PIL.Image.Image:
    """Opens a JPEG, PNG or WebP and reads its header only.

    If a JPEG has further pictures behind the first, as those of phones may, the first is taken. Raises `RefusedError`:
    415 for other formats, 413 for too many pixels, 422 for an animation or too many scans.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            picture = PIL.Image.open(file, formats=FORMATS)
    except PIL.Image.DecompressionBombError:
        raise _too_large(most_pixels) from None
    except Exception:  # damaged headers raise errors of many types
        raise RefusedError(415, f"not a readable picture; send {', '.join(FORMATS)}") from None
    if picture.width * picture.height > most_pixels:
        raise _too_large(most_pixels)
    if picture.format in ("JPEG", "MPO"):  # Pillow's name for JPEGs with more than one picture
        file.seek(0)
        if _many_scans(file.read()):
            raise RefusedError(422, f"the JPEG has more than {SCANS} scans")
        file.seek(0)
    elif getattr(picture, "is_animated", False):
        raise RefusedError(422, "the picture is animated; send a still picture, or a video")
    return picture


def decode(picture: PIL.Image.Image) -> NDArray[np.uint8]:
    """Decodes to an upright (H,W,3) uint8 BGR frame. Raises `RefusedError` with 422 if the picture is damaged."""
    try:
        return as_frame(picture)
    except ImageError as error:
        raise RefusedError(422, str(error)) from None


def _many_scans(data: bytes) -> bool:
    """Whether the first picture of a JPEG has more than `SCANS` scans.

    What looks like a scan inside a segment or behind the picture does not count. Segments are separated
    as in libjpeg, so that libjpeg cannot find a scan that is not counted here.
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
