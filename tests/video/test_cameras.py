"""Cameras and streams: the newest frame, what drops is opened again, and nothing goes on after closing."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hrkit.errors import VideoError
from hrkit.structures import Frame
from hrkit.video import cameras
from hrkit.video.cameras import BROKEN_IN_A_ROW, LONGEST_PAUSE, LiveSource, Stream, open_source
from hrkit.video.files import VideoFile, open_container
from made_videos import jpeg, make_video, number_of, numbered, serve, serve_files, serve_without_length


class Script:
    """A camera that gives what is written down for each connection: numbers of frames, None for a broken one, an error,
    or something to call first."""

    fps = 25.0

    def __init__(self, *connections: list[int | VideoError | Callable[[], object] | None]) -> None:
        self.connections = [list(parts) for parts in connections]
        self.opened = self.closed = 0
        self._parts: list[int | VideoError | Callable[[], object] | None] = []

    def connect(self) -> Script:
        if not self.connections:
            raise VideoError("the camera is gone")
        self.opened += 1
        self._parts = self.connections.pop(0)
        return self

    def read(self) -> Frame | None:
        while self._parts:
            part = self._parts.pop(0)
            if callable(part):
                part()
            elif isinstance(part, VideoError):
                raise part
            else:
                return None if part is None else numbered(part)
        raise VideoError("the camera has ended")

    def close(self) -> None:
        self.closed += 1


def played(script: Script) -> LiveSource:
    """A source of a script that does not wait, and stops where the script ends."""
    return LiveSource("camera", script.connect, pause=lambda seconds: not script.connections)


def stepwise(count: int) -> tuple[list[int | VideoError | Callable[[], object] | None], Iterator[threading.Event]]:
    """`count` frames, each after the event that goes with it."""
    events = [threading.Event() for _ in range(count)]
    parts: list[int | VideoError | Callable[[], object] | None] = []
    for number, event in enumerate(events):
        parts += [lambda event=event: event.wait(60), number]  # type: ignore[misc]
    return parts, iter(events)


def test_every_frame_comes_to_who_is_quick_enough() -> None:
    parts, events = stepwise(5)
    with played(Script(parts)) as source:
        frames = iter(source)
        for number in range(5):
            next(events).set()
            frame = next(frames)
            assert (frame.index, number_of(frame.image)) == (number, number)
        assert source.dropped == 0
        assert source.info.live


def test_who_is_slow_gets_the_newest() -> None:
    ready, done = threading.Event(), threading.Event()
    with played(Script([0, lambda: ready.wait(60), 1, 2, 3, 4, done.set])) as source:
        frames = iter(source)
        assert next(frames).index == 0
        ready.set()
        assert done.wait(60)
        newest = next(frames)
        assert (newest.index, number_of(newest.image)) == (4, 4)
        assert source.dropped == 3
        assert newest.time > 0


def test_what_drops_is_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    gate = [threading.Event() for _ in range(2)]
    script = Script([0, lambda: gate[0].wait(60), VideoError("the cable was pulled")], [1, lambda: gate[1].wait(60), 2])
    with caplog.at_level(logging.WARNING, "hrkit"), played(script) as source:
        frames = iter(source)
        assert number_of(next(frames).image) == 0
        gate[0].set()
        assert number_of(next(frames).image) == 1
        gate[1].set()
    assert script.opened == 2
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "the cable was pulled; trying again in 0.5 s"
    assert "camera is back" in told


def test_pauses_grow_and_it_gives_up() -> None:
    pauses: list[float] = []
    script = Script([0])

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) > 8

    source = LiveSource("camera", script.connect, pause=pause)
    with source:
        assert [number_of(frame.image) for frame in source] == [0]
    assert pauses == [0.5, 1.0, 2.0, 4.0] + [LONGEST_PAUSE] * 5


def test_without_a_frame_for_too_long_it_gives_up() -> None:
    now, pauses = [100.0], []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        now[0] += seconds
        return False

    source = LiveSource("camera", Script([0]).connect, pause=pause, clock=lambda: now[0])
    seen = []
    with source, pytest.raises(VideoError, match="the camera is gone; no frame for 60 s"):
        seen.extend((frame.index, frame.time) for frame in source)
    assert seen == [(0, 0.0)]
    assert 60 < sum(pauses) <= 60 + LONGEST_PAUSE


def test_times_are_those_of_arrival() -> None:
    now = [100.0]
    parts, events = stepwise(3)
    with LiveSource("camera", Script(parts).connect, pause=lambda seconds: True, clock=lambda: now[0]) as source:
        frames = iter(source)
        times = []
        for moment in (100.0, 100.5, 103.0):
            now[0] = moment
            next(events).set()
            times.append(next(frames).time)
    assert times == [0.0, 0.5, 3.0]


def test_whatever_goes_wrong_is_heard_of_and_lets_the_camera_go() -> None:
    script = Script([0, lambda: 1 / 0])
    with played(script) as source, pytest.raises(ZeroDivisionError):
        list(source)
    assert script.closed == 1


def test_broken_frames_are_left_out_and_counted() -> None:
    parts, events = stepwise(1)
    script = Script([None, None, *parts])
    with played(script) as source:
        next(events).set()
        assert next(iter(source)).index == 0
        assert source.broken == 2


def test_many_broken_frames_in_a_row_are_a_connection_that_dropped(caplog: pytest.LogCaptureFixture) -> None:
    script = Script([None] * BROKEN_IN_A_ROW, [7])
    with caplog.at_level(logging.WARNING, "hrkit"), played(script) as source:
        assert number_of(next(iter(source)).image) == 7
    assert "only broken frames" in caplog.records[0].getMessage()
    assert script.closed >= 1


def test_closing_ends_the_thread_while_it_waits() -> None:
    source = LiveSource("camera", Script([0], [1]).connect)
    next(iter(source))
    source.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "hrkit-live"]
    assert list(source) == []


def test_closing_ends_the_thread_while_it_reads(caplog: pytest.LogCaptureFixture) -> None:
    reading, silent = threading.Event(), threading.Event()

    def timeout() -> None:
        reading.set()
        silent.wait(60)
        raise VideoError("nothing came for too long")

    script = Script([0, timeout])
    source = LiveSource("camera", script.connect)
    assert reading.wait(60)
    closing = threading.Thread(target=source.close)
    closing.start()
    assert [frame.index for frame in source] == [0]  # ends when it is told to stop
    silent.set()
    closing.join(60)
    assert not [thread for thread in threading.enumerate() if thread.name == "hrkit-live"]
    assert script.closed == 1
    assert not caplog.records


# streams


def test_a_stream_over_http(caplog: pytest.LogCaptureFixture) -> None:
    hold = threading.Event()
    broken = b"\xff\xd8 this is no picture"
    first = [jpeg(number) for number in range(5)]
    second = [jpeg(20), broken, *[jpeg(21)] * 4, hold]
    with caplog.at_level(logging.WARNING, "hrkit"), serve([first, second]) as address:
        stream = Stream(address)
        assert not stream.has_end
        source = LiveSource(address, lambda: Stream(address), pause=lambda seconds: False, connection=stream)
        with source:
            frames = iter(source)
            found = []
            while 21 not in found:
                found.append(number_of(next(frames).image))
            hold.set()
    assert found == sorted(found)
    assert any("trying again" in record.getMessage() for record in caplog.records)


def test_a_stream_that_is_not_there() -> None:
    with serve([]) as address, pytest.raises(VideoError, match="cannot be opened") as error:
        open_source(address)
    assert "\n" not in str(error.value)


def test_a_stream_that_lags_does_not_pile_up() -> None:
    late, hold = threading.Event(), threading.Event()
    parts = [*[jpeg(number) for number in range(4)], late, *[jpeg(number) for number in range(10, 40)], hold]
    with serve([parts]) as address, open_source(address) as source:
        frames = iter(source)
        assert number_of(next(frames).image) <= 3
        late.set()
        last = 0
        while last < 38:  # the last frame of all may still be in the reader
            frame = next(frames)
            last = number_of(frame.image)
        assert source.dropped <= frame.index
        hold.set()


# which is which


def test_a_file_over_http_is_read_like_a_file(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", 30)
    with serve_files(tmp_path) as address, open_source(f"{address}/a.mp4") as source:
        assert isinstance(source, VideoFile)
        assert (source.info.frames, source.info.live, source.info.audio_from) == (30, False, None)
        assert [number_of(frame.image) for frame in source] == list(range(30))


def live_webm(path: Path) -> Path:
    """A file as browsers record it: without a duration."""
    return make_video(path, 20, codec="libvpx", container={"live": "1"})


@pytest.mark.slow
def test_a_file_over_http_without_a_duration_is_read_once_to_its_end(tmp_path: Path) -> None:
    live_webm(tmp_path / "recorded.webm")
    with open_container(str(tmp_path / "recorded.webm")) as container:
        assert container.duration is None
    with serve_files(tmp_path) as address, open_source(f"{address}/recorded.webm") as source:
        assert not source.info.live
        assert [number_of(frame.image) for frame in source] == list(range(20))


@pytest.mark.parametrize("name", ["a.webm", "a.mkv", "a.mp4"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_over_http_that_nobody_knows_the_length_of(tmp_path: Path, name: str, chunked: bool) -> None:
    path = live_webm(tmp_path / name) if name == "a.webm" else make_video(tmp_path / name, 20)
    asked: list[str] = []
    with (
        serve_without_length(path.read_bytes(), asked, chunked=chunked) as address,
        open_source(f"{address}/{name}") as source,
    ):
        assert not source.info.live
        assert [number_of(frame.image) for frame in source] == list(range(20))
    assert asked == [f"/{name}"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.ts", "a.flv"])
def test_streams_without_an_end_are_live(tmp_path: Path, name: str) -> None:
    path = make_video(tmp_path / name, 50, container={"flvflags": "no_duration_filesize"} if name == "a.flv" else {})
    with serve_without_length(path.read_bytes(), []) as address, open_source(f"{address}/{name}") as source:
        assert source.info.live
        next(iter(source))
    with serve_files(tmp_path) as address, open_source(f"{address}/{name}") as source:
        assert not source.info.live
        assert len(list(source)) == 50


def playlist(folder: Path, *, ended: bool) -> Path:
    make_video(folder / "part.ts", 50)
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", "#EXTINF:2.0,", "part.ts"]
    path = folder / "list.m3u8"
    path.write_text("\n".join([*lines, "#EXT-X-ENDLIST"] if ended else lines) + "\n")
    return path


@pytest.mark.parametrize("ended", [False, True])
def test_a_playlist_says_whether_it_has_an_end(tmp_path: Path, ended: bool) -> None:
    playlist(tmp_path, ended=ended)
    with serve_files(tmp_path) as address:
        stream = Stream(f"{address}/list.m3u8")
        assert stream.has_end is ended
        stream.close()


@pytest.mark.parametrize(("address", "has_end"), [("rtsp://a/b", False), ("RTMP://a/b", False), ("https://a/b", True)])
def test_what_goes_on_without_us_has_no_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, has_end: bool
) -> None:
    path = make_video(tmp_path / "a.mp4")
    asked = {}

    def opened(name: str, **options: object) -> object:
        asked.update(options)
        return open_container(str(path))

    monkeypatch.setattr(cameras, "open_container", opened)
    stream = Stream(address)
    stream.close()
    assert stream.has_end is has_end
    assert asked["options"] == ({"rtsp_transport": "tcp"} if address.startswith("rtsp") else {})
    assert asked["timeout"] == cameras.TIMEOUT


class NoCamera:
    """What OpenCV gives where there is no camera."""

    def __init__(self, number: int) -> None:
        self.number = number

    def isOpened(self) -> bool:  # noqa: N802
        return False

    def release(self) -> None:
        """Nothing to release."""


class FakeCamera(NoCamera):
    """A camera with three frames."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.left = 3

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, what: int) -> float:
        return 30.0

    def read(self) -> tuple[bool, Frame | None]:
        self.left -= 1
        return (True, numbered(self.number)) if self.left >= 0 else (False, None)


def test_cameras_are_counted_from_0() -> None:
    for number in (-1, 2**31, 10**20):
        with pytest.raises(VideoError, match=f"camera {number} cannot be opened; cameras are counted from 0"):
            open_source(number)


@pytest.mark.parametrize("number", [7, "7"])
def test_no_such_camera(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int | str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cv2, "VideoCapture", NoCamera)
    with pytest.raises(VideoError, match="camera 7 cannot be opened"):
        open_source(number)


def test_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    with open_source(5) as source:
        assert (source.info.name, source.info.fps, source.info.live) == ("camera 5", 30.0, True)
        assert number_of(next(iter(source)).image) == 5


def test_a_file_that_is_called_like_a_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "a.mp4").rename("7")
    with open_source("7") as source:
        assert isinstance(source, VideoFile)


class FakeScreens:
    """mss, with one screen of 4x2 px whose pixels say how often it was read; it is used in one thread."""

    ScreenShotError = RuntimeError

    def __init__(self) -> None:
        self.exception, self.grabbed, self.thread = self, 0, threading.get_ident()
        self.monitors = [{}, {}]

    def mss(self) -> FakeScreens:
        self.thread = threading.get_ident()
        return self

    def grab(self, monitor: object) -> NDArray[np.uint8]:
        assert self.thread == threading.get_ident()
        self.grabbed += 1
        return np.full((2, 4, 4), self.grabbed, np.uint8)

    def close(self) -> None:
        """Nothing to free."""


def test_the_screen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "mss", FakeScreens())
    monkeypatch.setattr("hrkit.video.screen.RATE", 1e9)
    with open_source("screen") as source:
        frame = next(iter(source))
        assert (source.info.live, frame.image.shape) == (True, (2, 4, 3))
        assert frame.image.max() >= 2
    with pytest.raises(VideoError, match="there is no screen 2; there are 1"):
        open_source("screen:2")
    monkeypatch.setitem(sys.modules, "mss", None)
    with pytest.raises(VideoError, match=r"pip install 'hrkit-pose\[screen\]'"):
        open_source("screen")
    (tmp_path / "screen").touch()  # a file of this name is that file
    with pytest.raises(VideoError, match="screen: is no video"):
        open_source("screen")
