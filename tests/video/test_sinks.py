"""Frames come back out of files as they went in, at their times; what cannot be written is said at once."""

from __future__ import annotations

import itertools
import os
import struct
import subprocess
import sys
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
from hrkit.video.sinks import CLOCK, Mp4Sink, NoSink, open_sink
from recorded_videos import grey, grey_number, length, read, record, sine, stripes

# what is in a video


def test_every_frame_is_there_in_order_at_its_time(tmp_path: Path) -> None:
    frames, times = read(record(tmp_path / "a.mp4", [k / 25 for k in range(40)], fps=25))
    assert [grey_number(frame) for frame in frames] == list(range(40))
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
        assert [grey_number(frame) for frame in frames] == [0, 1, 2, 3, 4]
        np.testing.assert_allclose(np.array(times, float), np.array(given_times) - 7, atol=1e-3)
        assert float(length(tmp_path / "a.mp4")) == pytest.approx(0.9 + lasts, abs=1e-3)


def test_times_that_do_not_grow_are_nudged_and_the_next_ones_kept(tmp_path: Path) -> None:
    frames, times = read(record(tmp_path / "a.mp4", [0, 0.5, 0.5, 0.2, 1, -3, 1.5], fps=None))
    tick = Fraction(1, CLOCK)
    half = Fraction(1, 2)
    assert times == [0, half, half + tick, half + 2 * tick, 1, 1 + tick, 3 * half]
    assert [grey_number(frame) for frame in frames] == list(range(7))


@pytest.mark.slow
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


# files


def test_nothing_is_there_before_it_is_whole_and_nothing_else_after(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    with Mp4Sink(tmp_path / "new" / "Ä b%d:1.MP4", fps=25) as sink:
        sink.write(grey(0), 0)
        assert not (tmp_path / "new" / "Ä b%d:1.MP4").exists()
    sink.close()
    assert os.listdir(tmp_path / "new") == ["Ä b%d:1.MP4"]
    assert (tmp_path / "new" / "Ä b%d:1.MP4").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    assert len(read(tmp_path / "new" / "Ä b%d:1.MP4")[0]) == 1
    with pytest.raises(VideoError, match="finished"):
        sink.write(grey(1), 1)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_what_was_written_before_an_exception_is_kept(tmp_path: Path, error: type[BaseException]) -> None:
    source = sine(tmp_path / "a.wav", "pcm_s16le")

    def interrupted() -> None:
        with Mp4Sink(tmp_path / "a.mp4", fps=25, audio_from=source) as sink:
            for k in range(12):
                sink.write(grey(k), k / 25)
            raise error

    with pytest.raises(error):
        interrupted()
    assert [grey_number(frame) for frame in read(tmp_path / "a.mp4")[0]] == list(range(12))
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
            sink.write(grey(k), k / 25)
        with pytest.raises(VideoError, match=r"a\.mp4: a frame of 32x24 cannot follow those of 64x48"):
            sink.write(grey(3, 24, 32), 3 / 25)
    assert [grey_number(frame) for frame in read(tmp_path / "a.mp4")[0]] == [0, 1, 2]


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
        sink.write(grey(0), 0)
    assert sink.close() is None


@pytest.mark.parametrize("name", ["a.mp4", "a.MP4", "new/a.mp4"])
def test_a_path_is_a_video(tmp_path: Path, name: str) -> None:
    with open_sink(tmp_path / name, fps=25) as sink:
        sink.write(grey(0), 0)
    assert (tmp_path / name).exists()


def test_other_names_are_refused(tmp_path: Path) -> None:
    for name in ("a.avi", "a.jpg", "folder"):
        with pytest.raises(VideoError, match=r"ends in \.mp4"):
            open_sink(tmp_path / name)
    assert os.listdir(tmp_path) == []
    assert isinstance(open_sink(None), NoSink)
