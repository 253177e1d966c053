"""Sources of frames, and video files: frames as a player shows them, at their true times."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import av
import numpy as np
from attrs import frozen
from av.container import InputContainer

from hrkit.errors import VideoError
from hrkit.files import FilePath, is_address, without_secrets
from hrkit.structures import Frame
from hrkit.video.decoding import Decoder, open_container, reason, shown, video_stream

logger: logging.Logger = logging.getLogger("hrkit")

AnySource = TypeVar("AnySource", bound="FrameSource")

RESTART = 0.25  # seconds by which times go back if another recording begins
SAME_RATE = 0.01  # share by which times may differ from a frame rate that a container gives
RATE_PACKETS = 1000  # packets whose times tell the frame rate


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
    """Size of the first frame as it is shown, px; None if frames differ or it is not known yet."""
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
    broken: int = 0
    """Frames so far that could not be decoded and are left out."""
    repaired: int = 0
    """Frames so far that are damaged: the decoder made up parts of them, and perhaps of the frames that follow."""

    def __iter__(self) -> Iterator[VideoFrame]:
        """The frames, once. Raises `VideoError` after the last readable frame if the source is cut short."""
        ...

    def close(self) -> None:
        """Releases files and devices."""
        return

    def __enter__(self: AnySource) -> AnySource:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class VideoFile(FrameSource):
    """Every frame of a file, or of the address of one, with its presentation time. Frames may differ in size.

    A frame that cannot be decoded is left out and counted in `broken`; the number is logged at the end. Of several
    video tracks it reads the one that a player takes. `container` is one that is open already. With `max_pixels` a much
    larger frame is an error before memory is allocated for it. Raises `VideoError` if PyAV can decode no frame.
    """

    def __init__(
        self, path: FilePath, *, container: InputContainer | None = None, max_pixels: int | None = None
    ) -> None:
        self._path, self._name, self._max_pixels = os.fspath(path), without_secrets(path), max_pixels
        self._container = container or open_container(self._path)
        try:
            self._decoder = Decoder(self._container, self._name, max_pixels=max_pixels)
            self._stream = self._decoder.stream
            fps, frames = self._rate()
            self._frames = self._timed(1 / fps if fps else 0.0)
            first = next(self._frames, None)
            if first is None:
                raise VideoError(f"{self._name}: there are no frames in it")
        except BaseException:
            self.close()
            raise
        self._first = first
        self.info: SourceInfo = SourceInfo(
            name=Path(self._name).name,
            width=first.image.shape[1],
            height=first.image.shape[0],
            fps=fps,
            frames=frames,
            audio_from=Path(self._path) if self._container.streams.audio and self._is_file else None,
        )

    def __iter__(self) -> Iterator[VideoFrame]:
        yield self._first
        yield from self._frames

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    @property
    def _is_file(self) -> bool:
        return not is_address(self._path) and Path(self._path).is_file()

    def _rate(self) -> tuple[float | None, int | None]:
        """Frames per second and the number of frames.

        A container that counts its frames knows both. For others the times of the first packets tell the rate.
        """
        stream = self._stream
        guess = float(stream.average_rate or stream.guessed_rate or 0) or None
        if stream.frames:
            return guess, stream.frames
        times, ended = self._packet_times() if self._is_file else ([], False)
        known = [time for time in times if time is not None]
        steps = [step for step in np.diff(known).tolist() if step >= 0]  # times go back where recordings are joined
        rate = len(steps) / sum(steps) if sum(steps) else guess
        if rate and guess and abs(rate / guess - 1) < SAME_RATE:
            rate = guess
        if ended:
            return rate, len(times)
        return rate, round((self._container.duration or 0) / av.time_base * (rate or 0)) or None

    def _packet_times(self) -> tuple[list[float | None], bool]:
        """Decoding times of at most `RATE_PACKETS` packets, seconds, and whether there are no more."""
        times: list[float | None] = []
        with open_container(self._path) as container, contextlib.suppress(av.error.FFmpegError, IndexError):
            for packet in container.demux(video_stream(container, self._name)):
                if len(times) == RATE_PACKETS:
                    return times, False
                if packet.size:
                    times.append(None if packet.dts is None else packet.dts * float(packet.time_base or 0))
        return times, True

    def _timed(self, step: float) -> Iterator[VideoFrame]:
        """The frames, and what is wrong with the file. `step` is the usual number of seconds between two frames."""
        index, time, begin = 0, 0.0, float((self._stream.start_time or 0) * (self._stream.time_base or 0))
        for frame in self._decoded():
            # a frame without a time follows at the average rate; times never go back
            now = time + step * (index > 0) if frame.time is None else frame.time - begin
            if now < time - RESTART:  # a recording that was appended
                begin, now = begin + now - time - step, time + step
            time = max(time, now)
            self.broken, self.repaired = self._decoder.broken, self._decoder.repaired
            yield VideoFrame(index, time, shown(frame, self._stream))
            index += 1
        self._report(index, time)

    def _decoded(self) -> Iterator[av.VideoFrame]:
        yield from self._decoder
        if self._decoder.incomplete and self._is_file:  # read again in one thread, which loses none
            done = self._decoder.frames
            with open_container(self._path) as container:
                again = Decoder(container, self._name, threads=False, max_pixels=self._max_pixels)
                yield from itertools.islice(again, done, None)
            if again.frames >= done:
                self._decoder = again

    def _report(self, frames: int, time: float) -> None:
        """Says what is damaged after the last of the frames, at `time` seconds."""
        decoder, stream = self._decoder, self._stream
        self.broken: int = decoder.broken
        self.repaired: int = decoder.repaired
        for count, what in ((self.broken, "broken and left out"), (self.repaired, "damaged and only partly shown")):
            if count and frames:
                logger.warning("%s: %d of its frames %s %s", self._name, count, "is" if count == 1 else "are", what)
        failure = decoder.failure or (None if frames else decoder.error)
        if frames and self._container.size < 0 and isinstance(failure, OSError) and failure.errno == errno.EIO:
            failure = None  # what FFmpeg says at the end of an answer without a length
        if failure is not None:
            raise VideoError(f"{self._name}: cannot be read from frame {frames} on ({reason(failure)})")
        # frames that an edit list leaves out are claimed too, but are not part of the duration
        missing = float((stream.duration or 0) * (stream.time_base or 0)) - time
        there = frames + self.broken - decoder.cut
        if 0 < there < stream.frames and missing > 1.5 * decoder.longest:
            raise VideoError(f"{self._name}: ends after {frames} of {stream.frames} frames; the file is cut short")
