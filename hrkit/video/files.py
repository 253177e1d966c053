"""Video files and folders of pictures: upright frames with their true times."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np

# isort: split
import av  # after cv2, whose windows hang with the X11 libraries of PyAV
from attrs import frozen
from av.container import InputContainer
from av.video.stream import VideoStream

from hrkit.errors import ImageError, VideoError, one_line
from hrkit.images import find_images, read_image
from hrkit.structures import Frame

AnySource = TypeVar("AnySource", bound="FrameSource")

# OpenCV's code per rotation tag, in degrees counterclockwise
TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
PADDING = 65_536  # pixels that decoders may need around a small frame


@frozen(eq=False)
class VideoFrame:
    """One frame of a source."""

    index: int
    """Number of the frame, starting at 0."""
    time: float
    """Seconds since the source began."""
    image: Frame
    """(H,W,3) BGR, upright."""


@frozen
class SourceInfo:
    """What is known about a source before it is read."""

    name: str
    width: int | None = None
    height: int | None = None
    """Size of the upright frames, px; None if they differ or it is not known yet."""
    fps: float | None = None
    """Average frames per second."""
    frames: int | None = None
    """Number of frames that the source claims to have."""
    live: bool = False
    """Whether the source runs in real time, so the newest frame is wanted instead of each one."""
    audio_from: Path | None = None
    """The file with its sound, if it has any."""


class FrameSource(Protocol):
    """Frames one after another. A context manager that closes the source."""

    info: SourceInfo
    dropped: int = 0
    """Frames of a live source that were replaced by newer ones before they were taken."""

    def __iter__(self) -> Iterator[VideoFrame]:
        """The frames, once. Raises `VideoError` after the last readable frame if the source is damaged."""
        ...

    def close(self) -> None:
        """Releases files and devices."""
        return

    def __enter__(self: AnySource) -> AnySource:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class VideoFile(FrameSource):
    """Every frame of a file, or of the address of one, with its presentation time.

    `timeout` is the number of seconds an address may stay silent: while it is opened, and later. With `max_pixels` a
    much larger frame is an error before memory is allocated for it. Raises `VideoError` if PyAV cannot decode the file.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, timeout: tuple[float, float] | None = None, max_pixels: int | None = None
    ) -> None:
        self._name = os.fspath(path)
        self._longest = 0.0  # duration of a frame in seconds
        self._container = open_container(self._name, timeout=timeout)
        try:
            self._stream = video_stream(self._container, self._name)
            if max_pixels is not None:
                self._stream.codec_context.options = {"max_pixels": str(2 * max_pixels + PADDING)}
            self._frames = self._timed()
            first = next(self._frames, None)
            if first is None:
                raise VideoError(f"{self._name}: there are no frames in it")
        except BaseException:
            self.close()
            raise
        self._first = first
        rate = self._stream.average_rate or self._stream.guessed_rate
        estimate = round((self._container.duration or 0) / av.time_base * float(self._stream.average_rate or 0))
        self.info = SourceInfo(
            name=Path(self._name).name,
            width=first.image.shape[1],
            height=first.image.shape[0],
            fps=float(rate) if rate else None,
            frames=self._stream.frames or estimate or None,
            audio_from=Path(self._name) if self._container.streams.audio and Path(self._name).is_file() else None,
        )

    def __iter__(self) -> Iterator[VideoFrame]:
        yield self._first
        for frame in self._frames:
            if frame.image.shape != self._first.image.shape:
                sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (frame.image, self._first.image)]
                raise VideoError(f"{self._name}: frame {frame.index} is {sizes[0]}, those before are {sizes[1]}")
            yield frame

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def _timed(self) -> Iterator[VideoFrame]:
        index, time = 0, 0.0
        step = float(1 / self._stream.average_rate) if self._stream.average_rate else 0.0
        begin = float((self._stream.start_time or 0) * (self._stream.time_base or 0))
        try:
            for frame in self._decoded():
                # a frame without a time follows at the average rate; times never go back
                time = max(time, frame.time - begin) if frame.time is not None else time + step * (index > 0)
                yield VideoFrame(index, time, upright(frame))
                index += 1
        except av.error.FFmpegError as error:
            raise VideoError(f"{self._name}: cannot be read from frame {index} on ({reason(error)})") from None
        claimed = self._stream.frames
        # frames that an edit list leaves out are claimed too, but are not part of the duration
        missing = float((self._stream.duration or 0) * (self._stream.time_base or 0)) - time
        if 0 < index < claimed and missing > 1.5 * self._longest:
            raise VideoError(f"{self._name}: ends after {index} of {claimed} frames; the file is cut short")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Every frame that can be decoded. The error that ends them early is raised after the last one."""
        try:
            for packet in self._container.demux(self._stream):
                self._longest = max(self._longest, float((packet.duration or 0) * (packet.time_base or 0)))
                yield from packet.decode()
        except av.error.FFmpegError as error:
            with contextlib.suppress(av.error.FFmpegError):  # frames that the decoder's threads still hold
                yield from self._stream.decode(None)
            raise error from None


class PictureFolder(FrameSource):
    """The pictures of a folder or glob in natural order, at `fps` pictures per second."""

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
    """A key that sorts numbers in names by value: frame2 before frame10."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def open_container(name: str, **options: Any) -> InputContainer:  # Any: the options of `av.open`
    """`av.open`. Raises `VideoError`."""
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
    """FFmpeg's message, without its error numbers."""
    if isinstance(error, av.error.ExitError):
        return "nothing came for too long"
    return getattr(error, "strerror", None) or one_line(error)


def video_stream(container: InputContainer, name: str) -> VideoStream:
    """The first video stream, set up to decode with several threads. Raises `VideoError` if it cannot be decoded."""
    if not container.streams.video:
        raise VideoError(f"{name}: there are no pictures in it")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise VideoError(f"{name}: this build of PyAV knows no decoder for it; convert it to H.264 first")
    stream.thread_type = "AUTO"
    return stream


def upright(frame: av.VideoFrame) -> Frame:
    """(H,W,3) BGR, rotated as the frame's tag says."""
    image = frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False)
    turn = TURNS.get(frame.rotation % 360)
    return image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)
