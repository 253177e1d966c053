"""Cameras and network streams: the newest frame comes next, and what drops is opened again."""

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
from hrkit.images import ENDINGS
from hrkit.structures import Frame
from hrkit.video.files import (
    FrameSource,
    PictureFolder,
    SourceInfo,
    VideoFile,
    VideoFrame,
    natural_key,
    open_container,
    reason,
    upright,
    video_stream,
)

logger = logging.getLogger("hrkit")


TIMEOUT = (10.0, 5.0)
"""Seconds for which an address may say nothing, when it is opened and later."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds before it is tried again; twice as long from time to time."""
BROKEN_IN_A_ROW = 30
"""Frames that cannot be decoded, after which it is opened anew."""

_REAL_TIME = ("rtsp", "rtmp", "rtp", "udp", "srt")  # goes on without us, whatever length it tells
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class Connection(Protocol):
    """A camera or stream while it lasts."""

    fps: float | None

    def read(self) -> Frame | None:
        """The next frame; None for one that is broken. Raises `VideoError` when there are no more."""
        ...

    def close(self) -> None:
        """Lets go of it."""
        ...


class Camera:
    """A camera of this machine, by its number. Raises `VideoError` if there is none."""

    def __init__(self, number: int) -> None:
        self._name = f"camera {number}"
        if number < 0:  # which crashes OpenCV
            raise VideoError(f"{self._name} cannot be opened; cameras are counted from 0")
        before = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(0)  # OpenCV prints pages about cameras that are not there
        try:
            self._capture = cv2.VideoCapture(number)
        finally:
            cv2.utils.logging.setLogLevel(before)
        if not self._capture.isOpened():
            self._capture.release()
            raise VideoError(f"{self._name} cannot be opened; is it plugged in, and free?{_cameras()}")
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or None

    def read(self) -> Frame | None:
        """The next frame."""
        there, image = self._capture.read()
        if not there:
            raise VideoError(f"{self._name} gives no more frames")
        return np.asarray(image, np.uint8)

    def close(self) -> None:
        """Lets go of the camera."""
        self._capture.release()


class Stream:
    """A stream by its address: RTSP, HTTP and whatever else PyAV knows."""

    def __init__(self, address: str) -> None:
        self._name = address
        options = {"rtsp_transport": "tcp"} if address.lower().startswith("rtsp") else {}
        self._container = open_container(address, options=options, timeout=TIMEOUT)
        try:
            self._stream = video_stream(self._container, address)
        except VideoError:
            self.close()
            raise
        self._packets = self._container.demux(self._stream)
        self._waiting: list[av.VideoFrame] = []
        rate = self._stream.average_rate
        self.fps = float(rate) if rate else None
        told = bool(self._container.duration or self._stream.frames)
        self.has_end = told and not address.lower().startswith(_REAL_TIME)
        """Whether it is a file that tells its length."""

    def read(self) -> Frame | None:
        """The next frame."""
        try:
            while not self._waiting:
                packet = next(self._packets)
                if packet.size == 0:
                    raise VideoError(f"{self._name} has ended")
                try:
                    self._waiting = list(packet.decode())
                except av.error.InvalidDataError:
                    return None
            return upright(self._waiting.pop(0))
        except StopIteration:
            raise VideoError(f"{self._name} has ended") from None
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"{self._name} broke off ({reason(error)})") from None

    def close(self) -> None:
        """Closes the connection."""
        self._container.close()


class LiveSource(FrameSource):
    """Frames as they come: a thread of its own reads, and of what it has read only the newest is kept.

    When the camera or stream drops it is opened again, with pauses that grow, and that is logged; `VideoError` is
    raised where no frame has come for `give_up_after` seconds, and at once where it cannot be opened in the beginning.
    `pause` waits for some seconds, and says whether it was told to stop meanwhile; `clock` tells seconds. `connection`
    is one that is open.
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
        self.broken = 0
        """Frames that could not be decoded."""
        self._connect = connect
        self._give_up_after = give_up_after
        self._stop = threading.Event()
        self._pause = pause or self._stop.wait
        self._clock = clock
        self._changed = threading.Condition()
        self._newest: VideoFrame | None = None
        self._error: Exception | None = None
        first = connection or connect()
        self.info = SourceInfo(name=name, fps=first.fps, live=True)
        self._thread = threading.Thread(target=self._work, args=(first,), name="hrkit-live", daemon=True)
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
        """Ends reading; no frame comes any more. Takes the timeout of reading where nothing comes."""
        self._end()
        self._thread.join()
        self._newest = None

    def _work(self, connection: Connection) -> None:
        """What the thread does."""
        try:
            self._read(connection)
        except Exception as error:  # whatever it is, who waits for frames hears of it
            self._tell(error=error)
        finally:
            self._end()

    def _end(self) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def _read(self, connection: Connection | None) -> None:
        """Reads until it is told to stop, or gives up."""
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
                self._tell(frame=VideoFrame(index, last - began, image))
                index += 1
        finally:
            if connection is not None:
                connection.close()

    def _tell(self, frame: VideoFrame | None = None, error: Exception | None = None) -> None:
        with self._changed:
            self.dropped += frame is not None and self._newest is not None
            self._newest, self._error = frame or self._newest, error
            self._changed.notify_all()


def open_source(source: str | os.PathLike[str] | int, *, picture_fps: float = 25.0) -> FrameSource:
    """What gives the frames of a source.

    A number is a camera, an address (`rtsp://...`, `http://...`) a stream, or a file where it tells its length; else it
    is a video, or a picture, folder or glob of pictures, which are taken to be `picture_fps` a second.

    Raises `VideoError`, `ImageError` for what is none of these.
    """
    text = os.fspath(source) if not isinstance(source, int) else str(source)
    if isinstance(source, int) or (text.isdecimal() and not Path(text).exists()):
        number = int(text)
        return LiveSource(f"camera {number}", lambda: Camera(number))
    if _ADDRESS.match(text):
        stream = Stream(text)
        if not stream.has_end:
            return LiveSource(text, lambda: Stream(text), connection=stream)
        stream.close()
        return VideoFile(text, timeout=TIMEOUT)
    path = Path(text)
    if path.is_dir() or path.suffix.lower() in ENDINGS or (not path.exists() and any(sign in text for sign in "*?[")):
        return PictureFolder(text, picture_fps)
    return VideoFile(path)


def _cameras() -> str:
    """Which there are, where the system shows them as files."""
    if sys.platform != "linux":
        return ""
    found = sorted(Path("/dev").glob("video*"), key=natural_key)
    return f" There are {', '.join(map(str, found))}" if found else " There is no /dev/video*"
