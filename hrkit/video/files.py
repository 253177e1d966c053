"""Frames of video files and of pictures, upright, with their true times."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np

# isort: split
import av  # after cv2, whose windows hang with the X11 libraries of PyAV
from attrs import field, frozen
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from hrkit.errors import ImageError, VideoError, one_line
from hrkit.images import find_images, read_image

AnySource = TypeVar("AnySource", bound="FrameSource")

TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
"""By the degrees, counterclockwise, that a frame is to be turned to stand upright."""

PADDING = 65_536
"""Pixels that decoders may need around a small frame."""


@frozen(eq=False)
class VideoFrame:
    """One frame of a source."""

    index: int
    """From 0."""
    time: float
    """Seconds since the source began."""
    image: NDArray[np.uint8]
    """(H,W,3) BGR, upright."""


@frozen
class SourceInfo:
    """What a source says of itself before it is read."""

    name: str
    width: int | None = None
    height: int | None = None
    """Of its upright frames, px; None where they differ or nobody knows yet."""
    fps: float | None = None
    """Frames a second, on average."""
    frames: int | None = None
    """How many there are, by its own account."""
    live: bool = False
    """Whether it goes on without us: then the newest frame counts, else every one."""
    audio_from: Path | None = field(default=None)
    """The file that holds its sound, if it has any."""


class FrameSource(Protocol):
    """Frames one after another; a context manager that closes it."""

    info: SourceInfo
    dropped: int = 0
    """Frames of a live source that came faster than they were taken."""

    def __iter__(self) -> Iterator[VideoFrame]:
        """The frames, once. Raises `VideoError` for what cannot be read to its end, after the frames before."""
        ...

    def close(self) -> None:
        """Lets go of files and devices."""
        return

    def __enter__(self: AnySource) -> AnySource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class VideoFile(FrameSource):
    """A file, or the address of one, that PyAV can read: every frame, with its presentation time.

    `timeout` is how many seconds an address may say nothing, when it is opened and later. A frame of far more than
    `max_pixels`, be it the first or a later one, is an error before memory is taken for it. Raises `VideoError` for
    what is no video that this build can decode.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout: tuple[float, float] | None = None,
        max_pixels: int | None = None,
    ) -> None:
        self._name = os.fspath(path)
        self._longest = 0.0  # seconds that a frame lasts
        self._container = open_container(self._name, timeout=timeout)
        try:
            self._stream = video_stream(self._container, self._name)
            if max_pixels is not None:
                self._stream.codec_context.options = {"max_pixels": str(2 * max_pixels + PADDING)}
            self._frames = self._decoded()
            self._first = next(self._frames, None)
        except BaseException:
            self.close()
            raise
        if self._first is None:
            self.close()
            raise VideoError(f"{self._name}: there are no frames in it")
        height, width = self._first.image.shape[:2]
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.info = SourceInfo(
            name=Path(self._name).name,
            width=width,
            height=height,
            fps=float(rate) if rate else None,
            frames=self._promised(),
            audio_from=Path(self._name) if self._container.streams.audio and Path(self._name).is_file() else None,
        )

    def __iter__(self) -> Iterator[VideoFrame]:
        first = self._first
        assert first is not None
        yield first
        for frame in self._frames:
            if frame.image.shape != first.image.shape:
                sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (frame.image, first.image)]
                raise VideoError(f"{self._name}: frame {frame.index} is {sizes[0]}, those before are {sizes[1]}")
            yield frame

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def _decoded(self) -> Iterator[VideoFrame]:
        index, time = 0, 0.0
        step = float(1 / self._stream.average_rate) if self._stream.average_rate else 0.0
        begin = float((self._stream.start_time or 0) * (self._stream.time_base or 0))
        damage: list[av.error.FFmpegError] = []
        for frame in self._frames_until(damage):
            # a frame without a time comes as the rate has it; none comes before the one it follows
            time = max(time, frame.time - begin) if frame.time is not None else time + step * (index > 0)
            yield VideoFrame(index, time, upright(frame))
            index += 1
        if damage:
            raise VideoError(f"{self._name}: cannot be read from frame {index} on ({reason(damage[0])})")
        promised = self._stream.frames
        # frames that an edit list leaves out are promised too, but the length does without them
        missing = float((self._stream.duration or 0) * (self._stream.time_base or 0)) - time
        if 0 < index < promised and missing > 1.5 * self._longest:
            raise VideoError(f"{self._name}: ends after {index} of {promised} frames; the file is cut short")

    def _frames_until(self, damage: list[av.error.FFmpegError]) -> Iterator[av.VideoFrame]:
        """All that can be decoded; what ends it before its end is put into `damage`."""
        try:
            for packet in self._container.demux(self._stream):
                self._longest = max(self._longest, float((packet.duration or 0) * (packet.time_base or 0)))
                yield from packet.decode()
        except av.error.FFmpegError as error:
            damage.append(error)
            with contextlib.suppress(av.error.FFmpegError):  # those that the decoder's threads still hold
                yield from self._stream.decode(None)

    def _promised(self) -> int | None:
        """How many frames the file tells of, or makes expect by its length."""
        if self._stream.frames:
            return self._stream.frames
        seconds = (self._container.duration or 0) / av.time_base
        return round(seconds * float(self._stream.average_rate)) or None if self._stream.average_rate else None


class PictureFolder(FrameSource):
    """The pictures of a folder or glob in natural order, `fps` a second."""

    def __init__(self, pattern: str | os.PathLike[str], fps: float = 25.0) -> None:
        self._paths = sorted(find_images(pattern), key=natural_key)
        self._fps = fps
        self.info = SourceInfo(name=Path(pattern).name or os.fspath(pattern), fps=fps, frames=len(self._paths))

    def __iter__(self) -> Iterator[VideoFrame]:
        for index, path in enumerate(self._paths):
            try:
                yield VideoFrame(index, index / self._fps, read_image(path))
            except ImageError as error:
                raise VideoError(str(error)) from None


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sorts numbers in names by their value: frame2 before frame10."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def open_container(name: str, **options: Any) -> InputContainer:
    """What PyAV opens; `options` are its own. Raises `VideoError` in one line."""
    try:
        return av.open(name, **options)
    except FileNotFoundError:
        raise VideoError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise VideoError(f"{name}: is a folder, not a video") from None
    except (av.error.InvalidDataError, av.error.EOFError):
        raise VideoError(f"{name}: is no video, or one that is cut short") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{name}: cannot be opened ({reason(error)})") from None


def reason(error: Exception) -> str:
    """What FFmpeg says of an error, without its numbers."""
    if isinstance(error, av.error.ExitError):
        return "nothing came for too long"
    return getattr(error, "strerror", None) or one_line(error)


def video_stream(container: InputContainer, name: str) -> VideoStream:
    """The first video of a container, to be decoded by several threads. Raises `VideoError` if none can be."""
    if not container.streams.video:
        raise VideoError(f"{name}: there are no pictures in it")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise VideoError(f"{name}: this build of PyAV knows no decoder for it; convert it to H.264 first")
    stream.thread_type = "AUTO"
    return stream


def upright(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """(H,W,3) BGR, turned as its rotation tag asks."""
    image = frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False)
    turn = TURNS.get(frame.rotation % 360)
    return image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)
