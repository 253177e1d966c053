"""Where drawn frames go: an MP4 file, a folder of pictures, a window or nowhere."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import tempfile
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
from numpy.typing import NDArray

from hrkit.errors import VideoError, one_line
from hrkit.files import atomic_path
from hrkit.images import WRITABLE, write_image

FilePath = str | os.PathLike[str]
AnySink = TypeVar("AnySink", bound="Sink")

QUALITY = {"crf": "20", "preset": "veryfast", "bf": "0"}
"""x264's options. B-frames would save a fifth of the size, and make the length of videos of uneven rate inexact."""

CLOCK = 90_000
"""Ticks a second, at least, that times are rounded to."""

ROUNDING = 1e-3
"""Seconds that two times of a regular rate may be off, where a container counts milliseconds as Matroska does."""

COPIED = ("aac", "mp3", "mp3float", "opus", "libopus")
"""Decoders of the sound that browsers play within MP4; other sound becomes AAC."""

ROUNDED_CHROMA = 2 | 0x40000
"""swscale's SWS_BILINEAR | SWS_ACCURATE_RND; without the latter it cuts off, and greys become a little green."""

AAC_RATES = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""Samples a second that are kept; MP3 within MP4 must not have fewer than the first."""

CONNECT_SECONDS = 2.0
"""How long a display on another machine may take to answer."""


class Sink:
    """Takes frames; a context manager, which closes also when its block raises."""

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Takes the next (H,W,3) BGR frame, which the source shows `time` seconds after its first picture.

        Raises `VideoError` for what is no such frame, or cannot be written.
        """

    def close(self) -> None:
        """Finishes what was written; a second time does nothing."""

    def __enter__(self: AnySink) -> AnySink:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class NoSink(Sink):
    """Drops the frames."""


class Mp4Sink(Sink):
    """H.264 with 4:2:0 colours: every browser plays it, and begins before it has the whole file.

    Frames keep their times, the first being 0; one that is not later than the one before comes a tick after it. With
    `fps`, times within a millisecond of that rate are exactly on it, and the last frame lasts 1 / fps; without, it
    lasts as long as the one before. Odd sides grow by a row or column like the last.

    The first sound of the video `audio_from`, if it has one, is kept from the first frame to the end of the last: as it
    is if browsers know it, else as AAC. Where it is damaged it ends.

    The file appears when it is closed, after an exception too, and only if a frame was written. Raises `VideoError` at
    once for a path that does not end in .mp4 or cannot be written, for `audio_from` that cannot be read or is that path
    itself, for a rate that is none, and for a build of FFmpeg without x264; later for a frame of another size, which is
    left out, and for a full disk.
    """

    def __init__(self, path: FilePath, *, fps: float | None, audio_from: FilePath | None = None) -> None:
        target = Path(os.path.abspath(path))  # a relative name with a colon is an address to FFmpeg
        if target.suffix.lower() != ".mp4":
            raise VideoError(f"{path}: a video can be written to a file that ends in .mp4 only")
        if target.is_dir():
            raise VideoError(f"{path} is a folder; name a file")
        if fps is not None and not 0.001 <= fps <= CLOCK:
            raise VideoError(f"{path}: {fps} frames a second is no rate; pass None if it is not known")
        if "libx264" not in av.codecs_available:
            raise VideoError(f"{path}: this PyAV has no libx264 to write it; reinstall it from PyPI: pip install av")
        self._path = path
        self._rate = None if fps is None else Fraction(fps).limit_denominator(1001)
        steps = 1 if self._rate is None else self._rate.numerator
        self._clock = steps * -(-CLOCK // steps)  # a frame of that rate is a whole number of ticks
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

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        _check_frame(self._path, image)
        if self._closed:
            raise VideoError(f"{self._path}: is finished, and takes no more frames")
        if self._size and image.shape[:2] != self._size:
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

    def _start(self, image: NDArray[np.uint8], time: float) -> None:
        self._video: VideoStream = self._output.add_stream("libx264", rate=self._rate or 25, options=dict(QUALITY))
        self._video.height, self._video.width = (side + side % 2 for side in image.shape[:2])
        self._video.pix_fmt = "yuv420p"
        self._video.time_base = self._video.codec_context.time_base = Fraction(1, self._clock)
        self._video.codec_context.thread_type = "FRAME"
        # ITU-T H.273: primaries and curve of BT.709, which sRGB has too; the matrix of BT.601, as _yuv makes it and as
        # readers believe that heed no tags; limited range
        context = self._video.codec_context
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
            packet.duration = self._lasts  # of the others, the next one's time counts
            self._output.mux(packet)

    def _mux_sound(self, end: int) -> None:
        """Writes the sound up to a time in ticks."""
        while True:
            if self._waiting is None:
                with contextlib.suppress(av.FFmpegError, ValueError):  # ValueError: not the layout it began with
                    self._waiting = next(self._sound, None)
            if self._waiting is None or _end(self._waiting) * self._clock > end:
                return
            self._output.mux(self._waiting)
            self._waiting = None


class PictureSink(Sink):
    """`000000.jpg`, `000001.jpg`, ... in a folder; `ending` says of which format.

    Raises `VideoError` for an ending that cannot be written, and a folder that cannot be made or written to.
    """

    def __init__(self, folder: FilePath, ending: str = ".jpg") -> None:
        if ending.lower() not in WRITABLE:
            raise VideoError(f"{folder}: no pictures can be written as {ending}; endings are {', '.join(WRITABLE)}")
        self._folder, self._ending, self._count = Path(folder), ending, 0
        with _video_errors(folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        path = self._folder / f"{self._count:06d}{self._ending}"
        _check_frame(path, image)
        with _video_errors(path):
            write_image(path, image)
        self._count += 1


class WindowSink(Sink):
    """A window that shows the newest frame; raises `VideoError` where there can be none."""

    closed = False
    """Whether it is gone, be it that the user closed it; what is written then is not shown."""

    def __init__(self, title: str) -> None:
        reason = display_available()
        if reason is not None:
            raise VideoError(reason)
        self._title, self._key, self._shown = title, "", False

    def write(self, image: NDArray[np.uint8], time: float, wait: float = 0.0) -> None:
        """As any sink; then as `wait`."""
        _check_frame(self._title, image)
        if self.closed:
            return
        if not self._shown:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(self._title, image.shape[1], image.shape[0])
        cv2.imshow(self._title, image)
        self._shown = True
        self.wait(wait)

    def wait(self, seconds: float) -> None:
        """Lets the window live for so long, or until a key is pressed."""
        if self.closed or not self._shown:
            return
        code = cv2.waitKey(max(1, round(seconds * 1000)))
        if code >= 0:
            self._key = {27: "esc", 32: "space"}.get(code & 0xFF, chr(code & 0xFF).lower())
        try:
            self.closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error:  # what some toolkits say of a window that is gone
            self.closed = True

    def key(self) -> str:
        """The last key that was pressed since this was last asked: a character, "esc", "space", or "" for none."""
        key, self._key = self._key, ""
        return key

    def close(self) -> None:
        if self._shown and not self.closed:
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)  # until it is asked for events the window stays
        self.closed = True


def open_sink(path: FilePath | None, *, fps: float | None = None, audio_from: FilePath | None = None) -> Sink:
    """The sink for a path: `name.mp4`, a folder for pictures, `folder/*.png` for those of an ending, None for nothing.

    What has no ending, ends in / or is there as a folder is one. Raises `VideoError` as the sinks do, and for another
    ending.
    """
    if path is None:
        return NoSink()
    target = Path(path)
    if target.suffix.lower() == ".mp4" and not os.fspath(path).endswith(("/", os.sep)):
        return Mp4Sink(path, fps=fps, audio_from=audio_from)
    if target.stem == "*" and target.suffix.lower() in WRITABLE:
        return PictureSink(target.parent, target.suffix)
    if not target.suffix or os.fspath(path).endswith(("/", os.sep)) or target.is_dir():
        return PictureSink(path)
    raise VideoError(f"{path}: a video ends in .mp4; pictures go to folder/, or to folder/* with {', '.join(WRITABLE)}")


def display_available() -> str | None:
    """Why there can be no window here, in a line; None if there can.

    To be asked before one is opened: without a display Qt ends the process, and with the X11 libraries of PyAV, which
    it gets where `av` is imported before `cv2`, it hangs (PyAV-Org/PyAV#978). A display that answers and then refuses,
    as one of another user does, is not found out.
    """
    toolkit = re.search(r"GUI: *(\S+)", cv2.getBuildInformation())
    if toolkit is None or toolkit[1] == "NONE":
        return "this OpenCV shows no windows; install opencv-python in place of opencv-python-headless"
    if not sys.platform.startswith("linux"):
        return None
    packages = Path(cv2.__file__).parents[1]
    display = os.environ.get("DISPLAY", "")
    if display and not _answers(display):
        return f"the display {display!r} does not answer; set DISPLAY to one that does, or write to a file instead"
    if not display and not os.environ.get("WAYLAND_DISPLAY"):
        return "there is no display for a window (DISPLAY is not set); write to a file instead"
    plugins = packages / "cv2" / "qt" / "plugins" / "platforms"  # of PyPI's opencv-python, which has that for X11 alone
    if not display and plugins.is_dir() and not list(plugins.glob("*wayland*")):
        return "this OpenCV shows windows on X11 only (DISPLAY is not set); start Xwayland, or write to a file instead"
    taken = re.findall(r"/av\.libs/(libxcb-.+)", Path("/proc/self/maps").read_text())
    if any(list(packages.glob(f"opencv*.libs/{name}")) for name in taken):
        return "a window would hang, as av was imported before cv2; import cv2 first"
    return None


def _answers(display: str) -> bool:
    """Whether somebody listens at an X11 display, `host:number.screen`."""
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
    """Keeps an empty file from being moved into place."""


@contextlib.contextmanager
def _video_errors(path: FilePath) -> Iterator[None]:
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise VideoError(f"{path}: cannot be written ({one_line(error)})") from None


def _check_frame(name: FilePath, image: NDArray[np.uint8]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise VideoError(f"{name}: a frame is (H,W,3) uint8 BGR, not {image.dtype} of shape {image.shape}")


def _yuv(image: NDArray[np.uint8], ticks: int, time_base: Fraction | None) -> av.VideoFrame:
    """A (H,W,3) BGR frame as YUV 4:2:0 of even size, limited range, BT.601."""
    height, width = image.shape[:2]
    even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    frame = av.VideoFrame.from_ndarray(even.view(np.uint8), format="bgr24")
    frame = frame.reformat(
        format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG", interpolation=ROUNDED_CHROMA
    )
    frame.pts, frame.time_base = ticks, time_base
    return frame


def _open_sound(path: FilePath, target: Path) -> InputContainer:
    """Raises `VideoError` for what cannot be read, or is the target."""
    source = Path(os.path.abspath(path))
    try:
        if target.exists() and source.samefile(target):
            raise VideoError(f"{path}: cannot be read and written at once; name another file")
        return av.open(str(source), metadata_errors="replace")
    except (OSError, av.FFmpegError) as error:
        raise VideoError(f"{path}: its sound cannot be read ({one_line(error)})") from None


def _add_sound(source: InputContainer, output: OutputContainer, first: float) -> Iterator[Packet]:
    """Gives `output` a stream for the sound of `source`; packets for it, from `first` seconds on, which then are 0."""
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
        with contextlib.suppress(av.InvalidDataError):  # a damaged packet is silent
            for frame in packet.decode():
                yield from made.encode(frame)
    yield from made.encode(None)


def _from(first: float, packets: Iterator[Packet], made: AudioStream) -> Iterator[Packet]:
    """The packets of growing times since `first` seconds, moved to `made` and to where that is 0."""
    last = -1
    for packet in packets:
        if packet.pts is None:  # there are no more
            continue
        packet.pts -= round(first / packet.time_base)
        packet.dts = packet.pts
        if packet.pts > last:
            last = packet.pts
            packet.stream = made
            yield packet


def _end(packet: Packet) -> Fraction:
    """Seconds."""
    return ((packet.pts or 0) + (packet.duration or 0)) * packet.time_base
