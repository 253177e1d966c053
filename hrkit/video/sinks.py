"""Where drawn frames go: an MP4 file, a window or nowhere."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import cv2  # before av, see display_available
import numpy as np

# isort: split
import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from hrkit import geometry
from hrkit.errors import VideoError, one_line
from hrkit.files import FilePath, atomic_path
from hrkit.images import check_frame
from hrkit.structures import Frame

AnySink = TypeVar("AnySink", bound="Sink")

# x264's options. B-frames would save a fifth of the size and make the length inexact if the rate is uneven.
QUALITY = {"crf": "20", "preset": "veryfast", "bf": "0"}
CLOCK = 90_000  # least number of ticks per second that times are rounded to
ROUNDING = 1e-3  # seconds by which times may miss a regular rate, since Matroska counts milliseconds
# swscale's SWS_BILINEAR | SWS_ACCURATE_RND. Without the latter it truncates, and grey turns slightly green.
ROUNDED_CHROMA = 2 | 0x40000
COPIED = ("aac", "mp3", "mp3float", "opus", "libopus")  # decoders of the sound that browsers play in an MP4 file
AAC_RATES = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # samples/s that are kept; MP3 in MP4 needs the first
CONNECT_SECONDS = 2.0  # timeout of a display on another machine


class Sink:
    """Takes frames. A context manager that closes the sink, also if its block raises."""

    def write(self, image: Frame, time: float) -> None:
        """Takes the next (H,W,3) BGR frame, shown `time` seconds after the source began.

        Raises `VideoError` if it is no such frame or cannot be written.
        """

    def close(self) -> None:
        """Finishes the output. Closing again does nothing."""

    def __enter__(self: AnySink) -> AnySink:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class NoSink(Sink):
    """Drops the frames."""


class Mp4Sink(Sink):
    """Writes an MP4 file (H.264, 4:2:0) that every browser plays before it has the whole file.

    Frames keep their times, counted from the first frame; a frame that is not later than the one before comes one tick
    after it. With `fps`, times within a millisecond of that rate are moved onto it, and the last frame lasts 1 / fps;
    without, it lasts as long as the one before. Odd sides grow by one row or column that repeats the last. With `fit`,
    a frame of another size than the first is resized into the middle of one of that size.

    The first sound stream of the video `audio_from` is kept from the first frame to the end of the last: copied if
    browsers play it, else converted to AAC. It ends at the first damage.

    The file appears when the sink is closed, also after an exception, and only if a frame was written. Raises
    `VideoError` at once for a path that does not end in .mp4 or cannot be written, for an `audio_from` that cannot be
    read or is that path, for an invalid rate, and if FFmpeg has no x264; later for a frame of another size without
    `fit`, which is left out, and for a full disk.
    """

    def __init__(
        self, path: FilePath, *, fps: float | None, audio_from: FilePath | None = None, fit: bool = False
    ) -> None:
        target = Path(os.path.abspath(path))  # FFmpeg takes a relative name with a colon for an address
        if target.suffix.lower() != ".mp4":
            raise VideoError(f"{path}: a video can be written to a file that ends in .mp4 only")
        if target.is_dir():
            raise VideoError(f"{path} is a folder; name a file")
        if fps is not None and not 0.001 <= fps <= CLOCK:
            raise VideoError(f"{path}: {fps} frames a second is no rate; pass None if it is not known")
        if "libx264" not in av.codecs_available:
            raise VideoError(f"{path}: this PyAV has no libx264 to write it; reinstall it from PyPI: pip install av")
        self._path, self._fit = path, fit
        self._rate = None if fps is None else Fraction(fps).limit_denominator(1001)
        steps = 1 if self._rate is None else self._rate.numerator
        self._clock = steps * -(-CLOCK // steps)  # so that a frame lasts a whole number of ticks
        self._size: tuple[int, ...] = ()
        self._first, self._last, self._lasts = 0.0, -1, round(self._clock / (self._rate or 25))
        self._sound: Iterator[Packet] = iter(())
        self._waiting: Packet | None = None
        with contextlib.ExitStack() as stack:
            self._source = None if audio_from is None else stack.enter_context(_open_sound(audio_from, target))
            with _video_errors(path):
                temporary = stack.enter_context(atomic_path(target))
            options = {"movflags": "+faststart"}
            self._output: OutputContainer = av.open(str(temporary), "w", format="mp4", options=options)
            stack.callback(self._output.close)
            self._stack = stack.pop_all()
        self._closed = False

    def write(self, image: Frame, time: float) -> None:
        check_frame(self._path, image, VideoError)
        if self._closed:
            raise VideoError(f"{self._path}: is finished, and takes no more frames")
        if self._size and image.shape[:2] != self._size and self._fit:
            given, image = image, np.empty((*self._size, 3), np.uint8)
            geometry.letterbox(given, image)
        elif self._size and image.shape[:2] != self._size:
            was, now = (f"{width}x{height}" for height, width in (self._size, image.shape[:2]))
            raise VideoError(f"{self._path}: a frame of {now} cannot follow those of {was}; all must have one size")
        with _video_errors(self._path):
            if not self._size:
                self._start(image, time)
            ticks = max(self._ticks(time - self._first), self._last + 1)
            self._encode(_yuv(image, ticks, self._video.time_base))
            if self._rate is None and self._last >= 0:
                self._lasts = ticks - self._last
            self._last = ticks
            self._mux_sound(ticks)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(_NothingWrittenError), _video_errors(self._path), self._stack:
            if self._last < 0:
                raise _NothingWrittenError
            self._encode(None)
            self._mux_sound(self._last + self._lasts)

    def _start(self, image: Frame, time: float) -> None:
        self._video: VideoStream = self._output.add_stream("libx264", rate=self._rate or 25, options=dict(QUALITY))
        self._video.height, self._video.width = (side + side % 2 for side in image.shape[:2])
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        self._video.time_base = context.time_base = Fraction(1, self._clock)
        context.thread_type = "FRAME"
        # ITU-T H.273: primaries and curve of BT.709, as in sRGB; the matrix of BT.601, which _yuv uses and readers that
        # ignore tags assume; limited range
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 1, 1, 6, 1
        if self._source is not None:
            self._sound = _add_sound(self._source, self._output, time)
        self._size, self._first = image.shape[:2], time

    def _ticks(self, seconds: float) -> int:
        if self._rate is not None:
            beat = round(seconds * self._rate)
            if abs(seconds - beat / self._rate) <= ROUNDING:
                return int(beat * self._clock / self._rate)
        return round(seconds * self._clock)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for packet in self._video.encode(frame):
            packet.duration = self._lasts  # counts for the last frame only
            self._output.mux(packet)

    def _mux_sound(self, end: int) -> None:
        """Writes the sound up to `end` ticks."""
        while True:
            if self._waiting is None:
                with contextlib.suppress(av.FFmpegError, ValueError):  # ValueError: the channel layout changed
                    self._waiting = next(self._sound, None)
            packet = self._waiting
            if packet is None or ((packet.pts or 0) + (packet.duration or 0)) * packet.time_base * self._clock > end:
                return
            self._output.mux(packet)
            self._waiting = None


class WindowSink(Sink):
    """A window that shows the newest frame. Raises `VideoError` if there can be no window."""

    closed: bool = False
    """Whether the window is gone, also if the user closed it. Frames written later are not shown."""

    def __init__(self, title: str) -> None:
        if (reason := display_available()) is not None:
            raise VideoError(reason)
        self._title, self._key, self._shown = title, "", False

    def write(self, image: Frame, time: float, wait: float = 0.0) -> None:
        """Shows the frame, then calls `wait`."""
        check_frame(self._title, image, VideoError)
        if self.closed:
            return
        if not self._shown:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(self._title, image.shape[1], image.shape[0])
        cv2.imshow(self._title, image)
        self._shown = True
        self.wait(wait)

    def wait(self, seconds: float) -> None:
        """Handles the window's events for `seconds`, or until a key is pressed."""
        if self.closed or not self._shown:
            return
        code = cv2.waitKey(max(1, round(seconds * 1000)))
        if code >= 0:
            self._key = {27: "esc", 32: "space"}.get(code & 0xFF, chr(code & 0xFF).lower())
        try:
            self.closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error:  # some toolkits raise for a window that is gone
            self.closed = True

    def key(self) -> str:
        """The last key pressed since the last call: a character, "esc", "space", or "" for none."""
        key, self._key = self._key, ""
        return key

    def close(self) -> None:
        if self._shown and not self.closed:
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)  # the window stays until its events are handled
        self.closed = True


def open_sink(path: FilePath | None, *, fps: float | None = None, audio_from: FilePath | None = None) -> Sink:
    """An `Mp4Sink` that fits all frames for a path; for None a sink that drops them. Raises as `Mp4Sink`."""
    return NoSink() if path is None else Mp4Sink(path, fps=fps, audio_from=audio_from, fit=True)


def display_available() -> str | None:
    """Why no window can be opened here, in one line; None if one can.

    Ask this before opening a window: without a display Qt ends the process, and with the X11 libraries of PyAV, which
    are loaded if `av` is imported before `cv2`, it hangs (PyAV-Org/PyAV#978). A display that answers and then refuses,
    such as another user's, is not detected.
    """
    toolkit = re.search(r"GUI: *(\S+)", cv2.getBuildInformation())
    if toolkit is None or toolkit[1] == "NONE":
        return "this OpenCV shows no windows; install opencv-python in place of opencv-python-headless"
    if not sys.platform.startswith("linux"):
        return None
    display = os.environ.get("DISPLAY", "")
    if display and not _answers(display):
        return f"the display {display!r} does not answer; set DISPLAY to one that does, or write to a file instead"
    if not display and not os.environ.get("WAYLAND_DISPLAY"):
        return "there is no display for a window (DISPLAY is not set); write to a file instead"
    packages = Path(cv2.__file__).parents[1]
    plugins = packages / "cv2" / "qt" / "plugins" / "platforms"  # PyPI's opencv-python has them for X11 only
    if not display and plugins.is_dir() and not list(plugins.glob("*wayland*")):
        return "this OpenCV shows windows on X11 only (DISPLAY is not set); start Xwayland, or write to a file instead"
    taken = re.findall(r"/av\.libs/(libxcb-.+)", Path("/proc/self/maps").read_text(encoding="utf-8"))
    if any(list(packages.glob(f"opencv*.libs/{name}")) for name in taken):
        return "a window would hang, as av was imported before cv2; import cv2 first"
    return None


def _answers(display: str) -> bool:
    """Whether a server listens at an X11 display, `host:number.screen`."""
    parts = re.fullmatch(r"(.*):(\d+)(\.\d+)?", display)
    if parts is None:
        return False
    host, number = parts[1].strip("[]"), int(parts[2])
    if host not in ("", "unix"):
        with contextlib.suppress(OSError), socket.create_connection((host, 6000 + number), CONNECT_SECONDS):
            return True
        return False
    for name in (f"\0/tmp/.X11-unix/X{number}", f"/tmp/.X11-unix/X{number}"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as local:
            local.connect(name)
            return True
    return False


class _NothingWrittenError(Exception):
    """Prevents an empty file from being moved into place."""


@contextlib.contextmanager
def _video_errors(path: FilePath) -> Iterator[None]:
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise VideoError(f"{path}: cannot be written ({one_line(error)})") from None


def _yuv(image: Frame, ticks: int, time_base: Fraction | None) -> av.VideoFrame:
    """YUV 4:2:0 of even size, limited range, BT.601."""
    height, width = image.shape[:2]
    even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    frame = av.VideoFrame.from_ndarray(even.view(np.uint8), format="bgr24")
    frame = frame.reformat(
        format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG", interpolation=ROUNDED_CHROMA
    )
    frame.pts, frame.time_base = ticks, time_base
    return frame


def _open_sound(path: FilePath, target: Path) -> InputContainer:
    """Raises `VideoError` if the file cannot be read or is the target."""
    source = Path(os.path.abspath(path))
    try:
        if target.exists() and source.samefile(target):
            raise VideoError(f"{path}: cannot be read and written at once; name another file")
        return av.open(str(source), metadata_errors="replace")
    except (OSError, av.FFmpegError) as error:
        raise VideoError(f"{path}: its sound cannot be read ({one_line(error)})") from None


def _add_sound(source: InputContainer, output: OutputContainer, first: float) -> Iterator[Packet]:
    """Adds a sound stream to `output`. Returns its packets from `first` seconds on, with times counted from there."""
    given = next((stream for stream in source.streams.audio if stream.codec_context is not None), None)
    if given is None:
        return iter(())
    pictures = source.streams.video[0] if source.streams.video else None
    if pictures is not None and pictures.start_time is not None and pictures.time_base is not None:
        first += float(pictures.start_time * pictures.time_base)
    if given.codec_context.name in COPIED and given.rate >= AAC_RATES[0]:
        made = output.add_stream_from_template(given)
        packets: Iterator[Packet] = source.demux(given)
    else:
        made = output.add_stream("aac", rate=given.rate if given.rate in AAC_RATES else AAC_RATES[-1])
        made.layout = "mono" if given.channels == 1 else "stereo"
        packets = _as_aac(source, given, made)
    return _from(first, packets, made)


def _as_aac(source: InputContainer, given: AudioStream, made: AudioStream) -> Iterator[Packet]:
    for packet in source.demux(given):
        with contextlib.suppress(av.InvalidDataError):  # a damaged packet becomes silence
            for frame in packet.decode():
                yield from made.encode(frame)
    yield from made.encode(None)


def _from(first: float, packets: Iterator[Packet], made: AudioStream) -> Iterator[Packet]:
    """The packets for `made`, with increasing times counted from `first` seconds."""
    last = -1
    for packet in packets:
        if packet.pts is None:  # the end of the stream
            continue
        packet.pts -= round(first / packet.time_base)
        packet.dts = packet.pts
        if packet.pts > last:
            last = packet.pts
            packet.stream = made
            yield packet
