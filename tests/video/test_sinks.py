"""Frames come back out of files as they went in, with their times and sound; what cannot be written is said at once."""

from __future__ import annotations

import contextlib
import functools
import http.server
import itertools
import json
import os
import queue
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrkit.errors import VideoError
from hrkit.images import read_image
from hrkit.structures import Frame
from hrkit.video.sinks import CLOCK, Mp4Sink, NoSink, WindowSink, open_sink

COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 50, 120), (30, 160, 220), (128, 128, 128), (255,) * 3, (0,) * 3)
"""BGR, in stripes from left to right."""


def stripes(height: int = 64, width: int = 256) -> Frame:
    edges = np.arange(width) * len(COLORS) // width
    return np.repeat(np.array(COLORS, np.uint8)[edges][None], height, axis=0)


def numbered(number: int, height: int = 48, width: int = 64) -> Frame:
    """Grey, and brighter from one number to the next."""
    return np.full((height, width, 3), 10 + 6 * number, np.uint8)


def number_of(frame: Frame) -> int:
    return round((float(frame.mean()) - 10) / 6)


def record(path: Path, times: Sequence[float], fps: float | None = None, audio_from: Path | None = None) -> Path:
    with Mp4Sink(path, fps=fps, audio_from=audio_from) as sink:
        for number, time in enumerate(times):
            sink.write(numbered(number % 40), time)
    return path


def read(path: Path) -> tuple[list[Frame], list[Fraction]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [frame.to_ndarray(format="bgr24") for frame in frames], [f.pts * f.time_base for f in frames]


def length(path: Path, kind: str = "video") -> Fraction:
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return stream.duration * stream.time_base


# what is in a video


def test_every_frame_is_there_in_order_at_its_time(tmp_path: Path) -> None:
    frames, times = read(record(tmp_path / "a.mp4", [k / 25 for k in range(40)], fps=25))
    assert [number_of(frame) for frame in frames] == list(range(40))
    assert times == [Fraction(k, 25) for k in range(40)]
    with av.open(str(tmp_path / "a.mp4")) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.frames, stream.average_rate, stream.duration * stream.time_base) == (40, 25, Fraction(40, 25))
        assert next(container.decode(stream)).rotation == 0


@pytest.mark.parametrize(
    "rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60), Fraction(10), Fraction(1, 3)]
)
@pytest.mark.parametrize("digits", [9, 3])
def test_a_regular_rate_is_exact_also_in_milliseconds_from_the_middle(
    tmp_path: Path, rate: Fraction, digits: int
) -> None:
    given_times = [round(float((k + 1234) / rate), digits) for k in range(30)]
    _, times = read(record(tmp_path / "a.mp4", given_times, fps=float(rate)))
    assert times == [k / rate for k in range(30)]
    assert length(tmp_path / "a.mp4") == 30 / rate


def test_an_uneven_rate_is_kept(tmp_path: Path) -> None:
    given_times = [7.0, 7.1, 7.15, 7.65, 7.9]
    for fps, lasts in ((None, 0.25), (30, 1 / 30)):
        frames, times = read(record(tmp_path / "a.mp4", given_times, fps=fps))
        assert [number_of(frame) for frame in frames] == [0, 1, 2, 3, 4]
        np.testing.assert_allclose(np.array(times, float), np.array(given_times) - 7, atol=1e-3)
        assert float(length(tmp_path / "a.mp4")) == pytest.approx(0.9 + lasts, abs=1e-3)


def test_times_that_do_not_grow_are_nudged_and_the_next_ones_kept(tmp_path: Path) -> None:
    frames, times = read(record(tmp_path / "a.mp4", [0, 0.5, 0.5, 0.2, 1, -3, 1.5], fps=None))
    tick = Fraction(1, CLOCK)
    half = Fraction(1, 2)
    assert times == [0, half, half + tick, half + 2 * tick, 1, 1 + tick, 3 * half]
    assert [number_of(frame) for frame in frames] == list(range(7))


@settings(max_examples=30)
@given(gaps=st.lists(st.floats(0, 2), min_size=1, max_size=12), fps=st.sampled_from([None, 12.5, 29.97]))
def test_times_come_back(tmp_path_factory: pytest.TempPathFactory, gaps: list[float], fps: float | None) -> None:
    given_times = list(itertools.accumulate(gaps))
    _, times = read(record(tmp_path_factory.mktemp("times") / "a.mp4", given_times, fps))
    wanted = np.array(given_times) - given_times[0]
    np.testing.assert_allclose(np.array(times, float), wanted, atol=1.1e-3)
    assert (np.diff(np.array(times, float)) > 0).all()


def test_a_single_frame_lasts_as_its_rate_says(tmp_path: Path) -> None:
    assert length(record(tmp_path / "a.mp4", [3.0], fps=10)) == Fraction(1, 10)
    assert length(record(tmp_path / "a.mp4", [3.0], fps=None)) == Fraction(1, 25)


@pytest.mark.parametrize("size", [(48, 64), (47, 64), (48, 63), (721, 13), (1, 1), (2, 2)])
def test_odd_sides_grow_by_one_like_the_last(tmp_path: Path, size: tuple[int, int]) -> None:
    frame = np.full((*size, 3), 40, np.uint8)
    frame[-1, :], frame[:, -1] = 200, 200
    with Mp4Sink(tmp_path / "a.mp4", fps=25) as sink:
        sink.write(frame, 0)
    ((read_back,), _) = read(tmp_path / "a.mp4")
    assert read_back.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    np.testing.assert_allclose(read_back[size[0] - 1 :, size[1] - 1 :], 200, atol=12)


def test_colors_come_back_and_are_tagged(tmp_path: Path) -> None:
    frame = stripes()
    with Mp4Sink(tmp_path / "a.mp4", fps=25) as sink:
        for k in range(3):
            sink.write(frame, k / 25)
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    for read_back in (read(tmp_path / "a.mp4")[0][-1], capture.read()[1]):
        np.testing.assert_allclose(read_back[32, 16::32].astype(int), frame[32, 16::32], atol=6)
    with av.open(str(tmp_path / "a.mp4")) as container:
        first = next(container.decode(video=0))
    assert (first.color_primaries, first.color_trc, first.colorspace, first.color_range) == (1, 1, 6, 1)


def test_real_pictures_stay_good(tmp_path: Path) -> None:
    photo = read_image(Path(__file__).parents[2] / "hrkit" / "assets" / "basketball.jpg")
    with Mp4Sink(tmp_path / "a.mp4", fps=25) as sink:
        sink.write(photo[:, ::-1], 0)  # a view, too
    error = read(tmp_path / "a.mp4")[0][0].astype(float) - photo[:, ::-1]
    assert 10 * np.log10(255**2 / np.square(error).mean()) > 35


def boxes(path: Path) -> list[str]:
    content, at, found = path.read_bytes(), 0, []
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        found.append(kind.decode())
        at += size
    return found


def test_the_index_comes_first(tmp_path: Path) -> None:
    found = boxes(record(tmp_path / "a.mp4", [k / 25 for k in range(10)], fps=25))
    assert found[0] == "ftyp"
    assert found.index("moov") < found.index("mdat")


# sound


def sine(
    path: Path, codec: str, *, seconds: float = 3.0, onset: float = 1.0, rate: int = 48_000, pictures: bool = False
) -> Path:
    """A file with a tone that sets in late, and black pictures that begin with it where wanted."""
    times = np.arange(round(seconds * rate)) / rate
    wave = np.where(times < onset, 0, np.sin(2 * np.pi * 440 * times) / 2).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        video = container.add_stream("mpeg4", rate=25) if pictures else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for k in range(round(seconds * 25)):
                container.mux(video.encode(av.VideoFrame.from_ndarray(numbered(k % 40), format="bgr24")))
            container.mux(video.encode(None))
        for start in range(0, len(wave), 1000):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1000], format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def sound(path: Path) -> tuple[str, float, float]:
    """Codec, when the tone sets in, and when the sound ends; seconds."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=48_000)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = [
            (frame.pts / 48_000, frame.to_ndarray()[0])
            for given in container.decode(stream)
            for frame in resampler.resample(given)
        ]
    times = np.concatenate([begin + np.arange(len(wave)) / 48_000 for begin, wave in frames])
    loud = np.abs(np.concatenate([wave for _, wave in frames])) > 0.1
    return stream.codec_context.name, float(times[loud][0]), float(times[-1])


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


SOUNDS = [
    ("a.m4a", "aac", "aac"),
    ("a.aac", "aac", "aac"),
    ("a.ts", "aac", "aac"),
    ("a.mp3", "libmp3lame", "mp3float"),
    ("a.mkv", "libopus", "opus"),
    ("a.wav", "pcm_s16le", "aac"),
    ("a.mkv", "flac", "aac"),
    ("a.mkv", "ac3", "aac"),
]


@pytest.mark.parametrize(("name", "codec", "becomes"), SOUNDS, ids=[f"{codec}-{name}" for name, codec, _ in SOUNDS])
@pytest.mark.parametrize(("first", "seconds"), [(0.0, 2.0), (0.0, 5.0), (0.6, 1.2)])
def test_sound_is_kept_in_step_and_cut_to_the_pictures(
    tmp_path: Path, name: str, codec: str, becomes: str, first: float, seconds: float
) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV does not write {codec}")
    source = sine(tmp_path / name, codec, pictures=name.endswith((".ts", ".mkv")))
    times = [first + k / 25 for k in range(round(seconds * 25))]
    output = record(tmp_path / "out.mp4", times, fps=25, audio_from=source)
    assert length(output) == Fraction(len(times), 25)
    now, onset, end = sound(output)
    assert (now, len(read(output)[0])) == (becomes, len(times))
    assert onset == pytest.approx(1.0 - first, abs=0.03)
    assert min(seconds, 3 - first) - 0.06 < end <= min(seconds, 3.1 - first)
    with av.open(str(output)) as container:
        assert container.duration == round(1e6 * seconds)


@pytest.mark.parametrize("name", ["a.m4a", "a.aac", "a.ts", "a.mp4"])
def test_sound_that_fits_is_copied_bit_for_bit(tmp_path: Path, name: str) -> None:
    source = packets(sine(tmp_path / name, "aac", pictures=name.endswith((".ts", ".mp4"))))
    output = packets(record(tmp_path / "out.mp4", [k / 10 for k in range(50)], fps=10, audio_from=tmp_path / name))
    if name in ("a.aac", "a.ts"):  # without the headers that each packet has there
        source = [packet[7:] for packet in source]
    assert source[1:-1] == output[-len(source) + 1 : -1]
    assert len(source) - len(output) in (0, 1)


@pytest.mark.parametrize(("codec", "name", "rate"), [("pcm_s16le", "a.wav", 96_000), ("pcm_s16le", "a.wav", 8000)])
def test_sound_of_other_rates(tmp_path: Path, codec: str, name: str, rate: int) -> None:
    source = sine(tmp_path / name, codec, rate=rate)
    now, onset, end = sound(record(tmp_path / "out.mp4", [k / 10 for k in range(20)], fps=10, audio_from=source))
    assert (now, onset) == ("aac", pytest.approx(1, abs=0.03))
    assert 1.94 < end <= 2


def test_sound_and_pictures_lie_side_by_side(tmp_path: Path) -> None:
    source = sine(tmp_path / "a.wav", "pcm_s16le", seconds=20)
    output = record(tmp_path / "out.mp4", [k / 10 for k in range(200)], fps=10, audio_from=source)
    with av.open(str(output)) as container:
        placed = sorted((p.pos, p.stream.type, float(p.pts * p.time_base)) for p in container.demux() if p.size)
    latest = {"audio": 0.0, "video": 0.0}
    for _, kind, time in placed:
        latest[kind] = time
        assert abs(latest["audio"] - latest["video"]) < 1.5


def test_a_file_without_sound_gives_none(tmp_path: Path) -> None:
    silent = record(tmp_path / "silent.mp4", [0, 0.1], fps=10)
    output = record(tmp_path / "out.mp4", [0, 0.1], fps=10, audio_from=silent)
    with av.open(str(output)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.mkv", "flac"), ("a.ts", "aac")])
def test_damaged_sound_does_not_cost_the_pictures(tmp_path: Path, name: str, codec: str) -> None:
    source = sine(tmp_path / name, codec)
    content = bytearray(source.read_bytes())
    middle = slice(len(content) // 3, len(content) // 2)
    content[middle] = np.random.default_rng(0).bytes(len(content[middle]))
    source.write_bytes(content)
    output = record(tmp_path / "out.mp4", [k / 10 for k in range(30)], fps=10, audio_from=source)
    frames, times = read(output)
    assert ([number_of(frame) for frame in frames], times[-1]) == (list(range(30)), Fraction(29, 10))


# files


def test_nothing_is_there_before_it_is_whole_and_nothing_else_after(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    with Mp4Sink(tmp_path / "new" / "Ä b%d:1.MP4", fps=25) as sink:
        sink.write(numbered(0), 0)
        assert not (tmp_path / "new" / "Ä b%d:1.MP4").exists()
    sink.close()
    assert os.listdir(tmp_path / "new") == ["Ä b%d:1.MP4"]
    assert (tmp_path / "new" / "Ä b%d:1.MP4").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    assert len(read(tmp_path / "new" / "Ä b%d:1.MP4")[0]) == 1
    with pytest.raises(VideoError, match="finished"):
        sink.write(numbered(1), 1)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_what_was_written_before_an_exception_is_kept(tmp_path: Path, error: type[BaseException]) -> None:
    source = sine(tmp_path / "a.wav", "pcm_s16le")

    def interrupted() -> None:
        with Mp4Sink(tmp_path / "a.mp4", fps=25, audio_from=source) as sink:
            for k in range(12):
                sink.write(numbered(k), k / 25)
            raise error

    with pytest.raises(error):
        interrupted()
    assert [number_of(frame) for frame in read(tmp_path / "a.mp4")[0]] == list(range(12))
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "a.wav"]


def test_without_frames_there_is_no_file(tmp_path: Path) -> None:
    source = sine(tmp_path / "a.wav", "pcm_s16le")
    with Mp4Sink(tmp_path / "a.mp4", fps=25, audio_from=source):
        pass
    with pytest.raises(ZeroDivisionError), Mp4Sink(tmp_path / "a.mp4", fps=25):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["a.wav"]


def test_an_older_file_stays_where_nothing_was_written(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"before")
    with Mp4Sink(tmp_path / "a.mp4", fps=25):
        pass
    assert (tmp_path / "a.mp4").read_bytes() == b"before"


def test_a_frame_of_another_size_is_refused_and_the_others_kept(tmp_path: Path) -> None:
    with Mp4Sink(tmp_path / "a.mp4", fps=25) as sink:
        for k in range(3):
            sink.write(numbered(k), k / 25)
        with pytest.raises(VideoError, match=r"a\.mp4: a frame of 32x24 cannot follow those of 64x48"):
            sink.write(numbered(3, 24, 32), 3 / 25)
    assert [number_of(frame) for frame in read(tmp_path / "a.mp4")[0]] == [0, 1, 2]


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_frame_is_refused(tmp_path: Path, frame: Frame) -> None:
    with (
        pytest.raises(VideoError, match=r"a frame is \(H,W,3\) uint8 BGR"),
        Mp4Sink(tmp_path / "a.mp4", fps=25) as sink,
    ):
        sink.write(frame, 0)
    assert os.listdir(tmp_path) == []


def test_what_is_too_large_for_the_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"a\.mp4: cannot be written"), Mp4Sink(tmp_path / "a.mp4", fps=25) as sink:
        sink.write(np.zeros((2, 40_000, 3), np.uint8), 0)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.avi", r"ends in \.mp4"),
        ("a", r"ends in \.mp4"),
        ("folder.mp4", "is a folder; name a file"),
        ("file/a.mp4", "cannot be written"),
    ],
)
def test_paths_that_cannot_be_written_are_refused_at_once(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(VideoError, match=f"{name}.*{says}") as caught:
        Mp4Sink(tmp_path / name, fps=25)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.mp4"]


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e-9, 1e9])
def test_rates_that_are_none(tmp_path: Path, fps: float) -> None:
    with pytest.raises(VideoError, match="is no rate"):
        Mp4Sink(tmp_path / "a.mp4", fps=fps)


def test_a_build_without_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"aac"})
    with pytest.raises(VideoError, match="no libx264"):
        Mp4Sink(tmp_path / "a.mp4", fps=25)
    assert os.listdir(tmp_path) == []


def test_sound_that_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no sound")
    for name in ("text.txt", "missing.mp4", "."):
        with pytest.raises(VideoError, match="sound cannot be read"):
            Mp4Sink(tmp_path / "a.mp4", fps=25, audio_from=tmp_path / name)
    assert os.listdir(tmp_path) == ["text.txt"]


def test_a_video_is_not_written_over_itself(tmp_path: Path) -> None:
    source = record(tmp_path / "a.mp4", [0, 0.1], fps=10)
    before = source.read_bytes()
    with pytest.raises(VideoError, match="at once"):
        Mp4Sink(tmp_path / "." / "a.mp4", fps=10, audio_from=source)
    assert source.read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of file sizes are those of Linux here")
def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    code = """
import resource, signal, sys, numpy as np
from hrkit.errors import VideoError
from hrkit.video.sinks import Mp4Sink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
random = np.random.default_rng(0)
try:
    with Mp4Sink(sys.argv[1], fps=25) as sink:
        for k in range(60):
            sink.write(random.integers(0, 256, (120, 160, 3), np.uint8), k / 25)
except VideoError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.mp4")], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.startswith(f"{tmp_path / 'a.mp4'}: cannot be written (")
    assert done.stdout.count("\n") == 1
    assert os.listdir(tmp_path) == []


# nothing, and the choice


def test_no_sink_takes_everything() -> None:
    with NoSink() as sink:
        sink.write(numbered(0), 0)
    assert sink.close() is None


@pytest.mark.parametrize("name", ["a.mp4", "a.MP4", "new/a.mp4"])
def test_a_path_is_a_video(tmp_path: Path, name: str) -> None:
    with open_sink(tmp_path / name, fps=25) as sink:
        sink.write(numbered(0), 0)
    assert (tmp_path / name).exists()


def test_other_names_are_refused(tmp_path: Path) -> None:
    for name in ("a.avi", "a.jpg", "folder"):
        with pytest.raises(VideoError, match=r"ends in \.mp4"):
            open_sink(tmp_path / name)
    assert os.listdir(tmp_path) == []
    assert isinstance(open_sink(None), NoSink)


# browsers


PAGE = """<!DOCTYPE html><video muted autoplay src="a.mp4"></video><script>
const video = document.querySelector("video"), times = [];
const tell = (what) => fetch("/told", {method: "POST", body: JSON.stringify(what)});
video.onerror = () => tell({error: video.error.message});
video.onended = () => {
  const canvas = document.createElement("canvas"), width = video.videoWidth, height = video.videoHeight;
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  const pixels = [...Array(8).keys()].map((k) => context.getImageData((k + 0.5) * width / 8, height / 2, 1, 1).data);
  tell({width, height, duration: video.duration, at: video.currentTime, pixels: pixels.map((p) => [...p])});
};
</script>"""


@contextlib.contextmanager
def told_by_page(folder: Path) -> Iterator[tuple[str, queue.Queue[dict[str, object]]]]:
    """Serves a folder; what the page in it tells comes in the queue."""
    told: queue.Queue[dict[str, object]] = queue.Queue()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", told
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def child(*command: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, text=True, **options) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("sounds", [False, True])
def test_a_browser_plays_it_to_the_end_in_its_colors(tmp_path: Path, sounds: bool) -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for found in map(shutil.which, names) if found), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(names)} is installed")
    source = sine(tmp_path / "a.wav", "pcm_s16le") if sounds else None
    with Mp4Sink(tmp_path / "a.mp4", fps=25, audio_from=source) as sink:
        for k in range(25):
            sink.write(stripes(179, 319), k / 25)
    (tmp_path / "page.html").write_text(PAGE)
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required")
    with (
        told_by_page(tmp_path) as (address, told),
        child(
            *(browser, *options, f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0"),
            f"{address}/page.html",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ),
    ):
        seen = told.get(timeout=120)
    assert (seen.get("error"), seen["width"], seen["height"]) == (None, 320, 180)
    assert seen["duration"] == pytest.approx(1, abs=1e-3)
    assert seen["at"] == pytest.approx(1, abs=0.05)
    pixels = np.array(seen["pixels"])[:, 2::-1]
    np.testing.assert_allclose(pixels, COLORS, atol=8)


# windows


SHOWS = """
import signal, numpy as np
signal.alarm(100)
from hrkit.video.sinks import WindowSink
with WindowSink("hrkit window") as window:
    keys, said = [], 0
    while not window.closed and "q" not in keys:
        window.write(np.full((120, 160, 3), (40, 160, 220), np.uint8), 0.0, wait=0.02)
        keys += [key for key in [window.key()] if key]
        if len(keys) >= said:
            said = len(keys) + 1
            print("keys", *keys, flush=True)
window.write(np.zeros((120, 160, 3), np.uint8), 1.0)
print("end", "closed" if window.closed else "open", window.key() == "", flush=True)
"""


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A display that nobody sees."""
    if not sys.platform.startswith("linux") or not shutil.which("Xvfb") or not shutil.which("xdotool"):
        pytest.skip("needs Linux with Xvfb and xdotool")
    with child(
        "Xvfb",
        "-displayfd",
        "1",
        "-noreset",
        "-screen",
        "0",
        "640x480x24",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as x:
        assert x.stdout is not None
        yield f":{x.stdout.readline().strip()}"


def xdotool(display: str, *command: str) -> str:
    environment = {**os.environ, "DISPLAY": display}
    done = subprocess.run(
        ["xdotool", *command], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


@contextlib.contextmanager
def window_on(display: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A child that shows a window, and the window's number."""
    environment = {**os.environ, "DISPLAY": display}
    with child(sys.executable, "-c", SHOWS, env=environment, stdout=subprocess.PIPE) as shows:
        assert shows.stdout is not None
        assert shows.stdout.readline() == "keys\n"
        window = xdotool(display, "search", "--sync", "--onlyvisible", "--name", "hrkit window").split()[0]
        xdotool(display, "windowfocus", "--sync", window)
        yield shows, window


@pytest.mark.slow
def test_a_window_shows_and_tells_keys(display: str) -> None:
    with window_on(display) as (shows, _):
        pressed = []
        for key, name in (("s", "s"), ("Escape", "esc"), ("space", "space"), ("H", "h"), ("q", "q")):
            xdotool(display, "key", key)
            pressed.append(name)
            assert shows.stdout.readline().split() == ["keys", *pressed]  # type: ignore[union-attr]
        assert shows.stdout.readline() == "end closed True\n"  # type: ignore[union-attr]
        assert shows.wait(60) == 0


def press_close_button(display: str, window: int) -> None:
    """Sends WM_DELETE_WINDOW, as window managers do; in the X11 protocol itself, as xdotool cannot."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(f"/tmp/.X11-unix/X{display[1:]}")

        def receive(size: int) -> bytes:
            return server.recv(size, socket.MSG_WAITALL)

        def atom(name: bytes) -> int:
            padded = name + b"\0" * (-len(name) % 4)
            server.sendall(struct.pack("<BBHHxx", 16, 0, 2 + len(padded) // 4, len(name)) + padded)
            return int(struct.unpack_from("<I", receive(32), 8)[0])

        server.sendall(struct.pack("<BxHHHHxx", ord("l"), 11, 0, 0, 0))
        receive(4 * struct.unpack_from("<H", receive(8), 6)[0])
        message = struct.pack("<BBHIII16x", 33, 32, 0, window, atom(b"WM_PROTOCOLS"), atom(b"WM_DELETE_WINDOW"))
        server.sendall(struct.pack("<BBHII", 25, 0, 11, window, 0) + message)
        atom(b"WM_PROTOCOLS")  # once this is answered the message was sent


@pytest.mark.slow
def test_a_window_that_the_user_closed(display: str) -> None:
    with window_on(display) as (shows, window):
        press_close_button(display, int(window))
        assert shows.stdout.readline() == "end closed True\n"  # type: ignore[union-attr]
        assert shows.wait(60) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there always is a display")
@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "DISPLAY is not set"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "X11 only"),
        ({"DISPLAY": ":98765"}, "':98765' does not answer"),
        ({"DISPLAY": "127.0.0.1:1.0"}, "does not answer"),
        ({"DISPLAY": "nonsense"}, "does not answer"),
    ],
)
def test_without_a_display_there_is_no_window_and_the_process_lives(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(VideoError, match=says):
        WindowSink("nowhere")


def said_on(display: str, code: str) -> str:
    """What a process of its own says; in this one PyAV may have been imported first."""
    environment = {**os.environ, "DISPLAY": display}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=120, check=True).stdout


@pytest.mark.slow
def test_a_display_that_answers_is_available(display: str) -> None:
    for name in (display, f"unix{display}.0"):
        assert said_on(name, "from hrkit.video.sinks import *; print(display_available())") == "None\n"


@pytest.mark.slow
def test_a_window_that_would_hang_as_av_came_first_is_refused_and_others_are_shown(display: str) -> None:
    code = """
import av, numpy as np
from hrkit.video.sinks import VideoError, WindowSink
try:
    with WindowSink("first") as window:
        window.write(np.zeros((9, 9, 3), np.uint8), 0.0)
        print("shown")
except VideoError as error:
    print(error)
"""
    assert said_on(display, code) in (
        "shown\n",
        "a window would hang, as av was imported before cv2; import cv2 first\n",
    )


def test_opencv_without_windows_is_told_before_a_display_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "\n  GUI:                           NONE\n")
    with pytest.raises(VideoError, match="opencv-python-headless"):
        WindowSink("nowhere")
