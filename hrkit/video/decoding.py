"""Opens containers of videos, and makes of decoded frames what a player shows."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

# isort: split
import av  # after cv2, whose windows hang with the X11 libraries of PyAV
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from hrkit.errors import VideoError, one_line
from hrkit.files import is_address, without_secrets
from hrkit.structures import Frame

BESIDE = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.dependent | Disposition.still_image
"""Marks of video tracks that accompany another one: covers, thumbnails, layers."""

SQUARE = 0.01  # pixels whose shape differs by less from a square are taken for squares, so rounding resizes no frame
BROKEN_IN_A_ROW = 16  # damages of a container without a packet between them, after which it is given up
PADDING = 65_536  # pixels that decoders may need around a small frame
ODDEST = 10.0  # longest pixels that are believed, in widths per height


def open_container(name: str, **options: Any) -> InputContainer:  # Any: the options of `av.open`
    """`av.open` of a file or an address. Colons are part of a file's name.

    Raises `VideoError`, which names an address without its password.
    """
    path, name = name if is_address(name) else os.path.abspath(name), without_secrets(name)
    try:
        return av.open(path, metadata_errors="replace", **options)
    except FileNotFoundError:
        raise VideoError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise VideoError(f"{name}: is a folder, not a video") from None
    except (av.error.InvalidDataError, av.error.EOFError):
        raise VideoError(f"{name}: is no video, or one that is cut short") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{name}: cannot be opened ({reason(error)})") from None


def reason(error: Exception) -> str:
    """FFmpeg's message, without its error numbers."""
    if isinstance(error, av.error.ExitError):
        return "nothing came for too long"
    return getattr(error, "strerror", None) or one_line(error)


def video_stream(container: InputContainer, name: str) -> VideoStream:
    """The video track that a player takes, set up to decode with several threads.

    It is the first one marked as default, or the first one; covers and tracks without a decoder come last. Raises
    `VideoError` if none can be decoded.
    """
    if not container.streams.video:
        raise VideoError(f"{name}: there are no pictures in it")
    stream = max(container.streams.video, key=_preference)
    if stream.codec_context is None:
        raise VideoError(f"{name}: this build of PyAV knows no decoder for it; convert it to H.264 first")
    stream.thread_type = "AUTO"
    return stream


def _preference(stream: VideoStream) -> tuple[bool, ...]:
    marks = stream.disposition
    return stream.codec_context is not None, not marks & BESIDE, bool(marks & Disposition.default)


class Decoder:
    """Decodes every frame of a container that can be decoded, and counts the others.

    It uses several `threads`. A frame of many more than `max_pixels` ends it before memory is allocated for it. Raises
    `VideoError` as `video_stream`.
    """

    def __init__(
        self, container: InputContainer, name: str, *, threads: bool = True, max_pixels: int | None = None
    ) -> None:
        self.stream: VideoStream = video_stream(container, name)
        self.broken: int = 0
        self.repaired: int = 0
        self.frames: int = 0
        self.packets: int = 0
        self.error: Exception | None = None
        """Why the last broken frame could not be decoded."""
        self.failure: Exception | None = None
        """Why the container could not be read to its end."""
        self.longest: float = 0.0
        """Duration of the longest frame, seconds."""
        self.cut: bool = False
        """Whether the last packet is only a part of one."""
        self._container, self._max_pixels = container, max_pixels
        self._last_packet = self._last_frame = -1  # latest presentation times
        if not threads:
            self.stream.codec_context.thread_count = 1
        if max_pixels is not None:
            self.stream.codec_context.options = {"max_pixels": str(2 * max_pixels + PADDING)}

    def __iter__(self) -> Iterator[av.VideoFrame]:
        failures = 0
        while True:
            try:
                for packet in self._container.demux(self.stream):
                    failures = 0
                    yield from self._decoded(packet)
                    if self.failure is not None:
                        break
                return
            except IndexError:  # PyAV's, at the end, if tracks appeared on the way
                yield from self._decoded(None)
                return
            except av.error.FFmpegError as error:
                failures += 1
                if failures < BROKEN_IN_A_ROW and isinstance(error, av.error.InvalidDataError):
                    continue  # demuxing goes on behind the damage
                self.failure = error
                yield from self._decoded(None)
                return

    @property
    def incomplete(self) -> bool:
        """Whether frames are missing at the end: a frame that is broken hides those that other threads still hold."""
        timed = self._last_packet >= 0
        return self._last_frame < self._last_packet if timed else self.frames + self.broken < self.packets

    def _decoded(self, packet: av.Packet | None) -> Iterator[av.VideoFrame]:
        """The next frames. The last packet, or None, gives those that the decoder's threads still hold."""
        if packet is not None and packet.size and not packet.is_discard:
            self.packets += 1
            self.cut = packet.is_corrupt
            self.longest = max(self.longest, float((packet.duration or 0) * (packet.time_base or 0)))
            self._last_packet = max(self._last_packet, -1 if packet.pts is None else packet.pts)
        try:
            frames = self.stream.decode(packet)
        except av.error.EOFError:  # there are no more
            return
        except av.error.FFmpegError as error:
            self.broken += 1
            self.error = error
            context = self.stream.codec_context
            if self._max_pixels is not None and context.width * context.height > self._max_pixels:
                self.failure = error
            return
        for frame in frames:
            self.frames += 1
            self.repaired += frame.is_corrupt
            self._last_frame = max(self._last_frame, -1 if frame.pts is None else frame.pts)
            yield frame


def shown(frame: av.VideoFrame, stream: VideoStream) -> Frame:
    """(H,W,3) BGR as a player shows it: square pixels, then turned and mirrored as the frame's display matrix says.

    The longer side of pixels that are not square grows into more of them, so no detail is lost.
    """
    width, height = frame.width, frame.height
    aspect = float(stream.sample_aspect_ratio or 1)
    if 1 / ODDEST <= aspect <= ODDEST and abs(aspect - 1) > SQUARE:
        width, height = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    image = frame.to_ndarray(format="bgr24", width=width, height=height).astype(np.uint8, copy=False)
    return _turned(image, *_display_axes(frame))


def _display_axes(frame: av.VideoFrame) -> tuple[float, float, float, float]:
    """The linear part a, b, c, d of the display matrix: what is stored at (x, y) is shown at (ax + cy, bx + dy)."""
    try:
        side_data: Any = frame.side_data  # whose type hint knows motion vectors only
        matrix = side_data["DISPLAYMATRIX"]
    except KeyError:
        return 1, 0, 0, 1
    except ValueError:  # there is side data of a kind that PyAV does not know
        turn = math.radians(frame.rotation)
        return math.cos(turn), -math.sin(turn), math.sin(turn), math.cos(turn)
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return a, b, c, d


def _turned(image: Frame, a: float, b: float, c: float, d: float) -> Frame:
    """The image turned by the closest multiple of 90 degrees, and mirrored."""
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, a, d = np.asarray(cv2.transpose(image), np.uint8), c, b
    if a < 0 or d < 0:
        image = np.asarray(cv2.flip(image, 0 if a >= 0 else 1 if d >= 0 else -1), np.uint8)
    return image
