"""Cameras, the screen and network streams: the newest frame first, reconnected when they drop."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

# isort: split
import av  # after cv2, whose windows hang with the X11 libraries of PyAV

from hrkit.errors import VideoError
from hrkit.files import FilePath, is_address, without_secrets
from hrkit.images import ENDINGS
from hrkit.structures import Frame
from hrkit.video.decoding import open_container, reason, shown, video_stream
from hrkit.video.files import FrameSource, SourceInfo, VideoFile, VideoFrame
from hrkit.video.pictures import PictureFile, PictureFolder, natural_key
from hrkit.video.screen import Screen

logger: logging.Logger = logging.getLogger("hrkit")

TIMEOUT = (10.0, 5.0)  # seconds an address may stay silent: while it is opened, and later
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds between attempts to open a source again; each pause is twice the last
BROKEN_IN_A_ROW = 30  # frames that cannot be decoded before the source is opened again
_REAL_TIME = ("rtsp", "rtmp", "rtp", "udp", "srt")  # run in real time, even if they claim a length
_LISTS = ("hls", "dash", "mpjpeg")  # formats that go on after the answer to a request, unless they tell a length
_ENDLESS = ("mpegts", "flv", "mjpeg", "h264", "hevc", "m4v", "asf")  # formats that need no end


class Connection(Protocol):
    """An open camera or stream."""

    fps: float | None

    def read(self) -> Frame | None:
        """The next frame; None for one that cannot be decoded. Raises `VideoError` if there are no more."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...


class Camera:
    """A camera of this machine, by its number. Raises `VideoError` if there is none."""

    def __init__(self, number: int) -> None:
        self._name = f"camera {number}"
        if not 0 <= number < 2**31:  # crashes OpenCV
            raise VideoError(f"{self._name} cannot be opened; cameras are counted from 0")
        before = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(0)  # OpenCV prints pages about missing cameras
        try:
            self._capture = cv2.VideoCapture(number)
        finally:
            cv2.utils.logging.setLogLevel(before)
        if not self._capture.isOpened():
            self._capture.release()
            there = ", ".join(map(str, sorted(Path("/dev").glob("video*"), key=natural_key)))
            listed = (f" There are {there}" if there else " There is no /dev/video*") if sys.platform == "linux" else ""
            raise VideoError(f"{self._name} cannot be opened; is it plugged in, and free?{listed}")
        self.fps: float | None = self._capture.get(cv2.CAP_PROP_FPS) or None

    def read(self) -> Frame | None:
        """The next frame."""
        there, image = self._capture.read()
        if not there:
            raise VideoError(f"{self._name} gives no more frames")
        return np.asarray(image, np.uint8)

    def close(self) -> None:
        """Releases the camera."""
        self._capture.release()


class Stream:
    """A stream by its address: RTSP, HTTP and whatever else PyAV supports."""

    def __init__(self, address: str) -> None:
        self._name = without_secrets(address)
        options = {"rtsp_transport": "tcp"} if address.lower().startswith("rtsp") else {}
        self.container: av.container.InputContainer = open_container(address, options=options, timeout=TIMEOUT)
        try:
            self._stream = video_stream(self.container, self._name)
        except VideoError:
            self.close()
            raise
        self._packets = self.container.demux(self._stream)
        self._waiting: list[av.VideoFrame] = []
        rate = self._stream.average_rate
        self.fps: float | None = float(rate) if rate else None
        self.has_end: bool = not address.lower().startswith(_REAL_TIME) and self._is_finite()
        """Whether the address is that of a file."""

    def _is_finite(self) -> bool:
        """Whether the container tells its length, or is of a kind that is made as a file and not endlessly."""
        if self.container.duration or self._stream.frames:
            return True
        kinds = set(self.container.format.name.split(","))
        return kinds.isdisjoint(_LISTS) and (self.container.size > 0 or kinds.isdisjoint(_ENDLESS))

    def read(self) -> Frame | None:
        """The next frame; None for one that cannot be decoded."""
        try:
            while not self._waiting:
                packet = next(self._packets, None)
                if packet is None or packet.size == 0:
                    raise VideoError(f"{self._name} has ended")
                try:
                    self._waiting = list(packet.decode())
                except av.error.InvalidDataError:
                    return None
            return shown(self._waiting.pop(0), self._stream)
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"{self._name} broke off ({reason(error)})") from None

    def close(self) -> None:
        """Closes the connection."""
        self.container.close()


class LiveSource(FrameSource):
    """The newest frame of a camera or stream, which is read in a background thread.

    A camera or stream that drops is opened again, after pauses that grow, and that is logged. `VideoError` is raised if
    no frame comes for `give_up_after` seconds, and at once if the first connection fails. `connection` is one that is
    open already. `pause` waits for the given seconds and says whether to stop; `clock` gives seconds.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Connection],
        *,
        give_up_after: float = 60.0,
        pause: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
        connection: Connection | None = None,
    ) -> None:
        self._connect = connect
        self._give_up_after = give_up_after
        self._stop = threading.Event()
        self._pause = pause or self._stop.wait
        self._clock = clock
        self._changed = threading.Condition()
        self._newest: VideoFrame | None = None
        self._error: Exception | None = None
        self.broken: int = 0
        self.dropped: int = 0
        first = connection or connect()
        self.info: SourceInfo = SourceInfo(name=name, fps=first.fps, live=True)
        self._thread = threading.Thread(target=self._read, args=(first,), name="hrkit-live", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[VideoFrame]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest or self._error or self._stop.is_set())
                frame, self._newest = self._newest, None
            if frame is not None:
                yield frame
            elif self._error is not None:
                raise self._error
            else:
                return

    def close(self) -> None:
        """Stops reading. This takes up to the timeout of a read that is under way."""
        self._end()
        self._thread.join()
        self._newest = None

    def _end(self) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def _read(self, connection: Connection | None) -> None:
        """Reads until it is stopped or gives up. Runs in the thread."""
        began = last = self._clock()
        index = broken = 0
        pause = FIRST_PAUSE
        try:
            while not self._stop.is_set():
                try:
                    connection = connection or self._connect()
                    image = connection.read()
                    broken = broken + 1 if image is None else 0
                    if broken >= BROKEN_IN_A_ROW:
                        raise VideoError(f"{self.info.name} gives only broken frames")
                except VideoError as error:
                    if connection is not None:
                        connection.close()
                    connection, broken = None, 0
                    if self._stop.is_set():
                        return
                    if self._clock() - last > self._give_up_after:
                        raise VideoError(f"{error}; no frame for {self._give_up_after:.0f} s") from None
                    logger.warning("%s; trying again in %.1f s", error, pause)
                    if self._pause(pause):
                        return
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
                if image is None:
                    self.broken += 1
                    continue
                if pause > FIRST_PAUSE:
                    logger.warning("%s is back", self.info.name)
                last, pause = self._clock(), FIRST_PAUSE
                began = last if index == 0 else began
                with self._changed:
                    self.dropped += self._newest is not None
                    self._newest = VideoFrame(index, last - began, image)
                    self._changed.notify_all()
                index += 1
        except Exception as error:  # of any kind, so that whoever waits for a frame gets it
            self._error = error
        finally:
            if connection is not None:
                connection.close()
            self._end()


def is_device(source: str) -> bool:
    """Whether a source is a camera of this machine, by its number, or `screen` or `screen:2`, and not a file's name."""
    return re.fullmatch(r"\d+|screen(:\d+)?", source) is not None and not os.path.exists(source)


def open_source(source: FilePath | int, *, picture_fps: float = 25.0) -> FrameSource:
    """Opens a camera, the screen, a stream, a video or a folder of pictures.

    A number is a camera, `screen` the first screen and `screen:2` the second. An address (`rtsp://...`, `http://...`)
    is a stream, or a file if it has an end. Anything else is a video, or a picture, folder or glob of pictures. These
    are played at `picture_fps`, animations at their times.

    Raises `VideoError`, and `ImageError` if there are no pictures.
    """
    text = str(source) if isinstance(source, int) else os.fspath(source)
    if text.startswith("screen") and is_device(text):
        return LiveSource(text, lambda: Screen(int(text.partition(":")[2] or 1)))
    if isinstance(source, int) or is_device(text):
        return LiveSource(f"camera {int(text)}", lambda: Camera(int(text)))
    if is_address(text):
        stream = Stream(text)
        if not stream.has_end:
            return LiveSource(without_secrets(text), lambda: Stream(text), connection=stream)
        return VideoFile(text, container=stream.container)
    path = Path(text)
    if path.is_file():
        return PictureFile(text, picture_fps) if path.suffix.lower() in ENDINGS else VideoFile(text)
    if path.is_dir() or path.suffix.lower() in ENDINGS or (not path.exists() and any(sign in text for sign in "*?[")):
        return PictureFolder(text, picture_fps)
    return VideoFile(text)
