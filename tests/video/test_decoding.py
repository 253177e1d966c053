"""What a player shows: turned and mirrored, of square pixels, of the right track; and names are names."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given
from hypothesis import strategies as st

from hrkit.errors import VideoError
from hrkit.structures import Frame
from hrkit.video.cameras import open_source
from hrkit.video.decoding import _turned, is_address, video_stream
from hrkit.video.files import VideoFile
from made_videos import make_video, number_of, numbered

# Matrices as QuickTime's file format defines them: what is stored at (x, y) is shown at (ax + cy, bx + dy).
MATRICES: dict[str, tuple[tuple[float, float, float, float], Callable[[Frame], Frame]]] = {
    "as it is": ((1, 0, 0, 1), lambda image: image),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "half turn": ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda image: image[::-1]),
    "transposed": ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    "turned right": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "turned left": ((0, -1, 1, 0), lambda image: np.rot90(image)),
    "transversed": ((0, -1, -1, 0), lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
}


def first(path: Path) -> Frame:
    with VideoFile(path) as video:
        image = next(iter(video)).image
        assert (video.info.height, video.info.width) == image.shape[:2]
        return image


@pytest.mark.parametrize("name", list(MATRICES))
@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_display_matrices(tmp_path: Path, ending: str, name: str) -> None:
    matrix, want = MATRICES[name]
    stored = first(make_video(tmp_path / f"plain.{ending}", 2))
    shown = first(make_video(tmp_path / f"marked.{ending}", 2, matrix=matrix))
    np.testing.assert_array_equal(shown, want(stored))
    assert shown.flags.c_contiguous


@given(turn=st.floats(-44, 44), size=st.floats(0.1, 4), name=st.sampled_from(list(MATRICES)))
def test_other_matrices_are_rounded_to_the_closest_turn(turn: float, size: float, name: str) -> None:
    (a, b, c, d), want = MATRICES[name]
    sin, cos = size * np.sin(np.deg2rad(turn)), size * np.cos(np.deg2rad(turn))
    turned = np.array([[a, b], [c, d]]) @ [[cos, sin], [-sin, cos]]
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
    np.testing.assert_array_equal(_turned(image, *turned.ravel()), want(image))


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        ("16/15", (137, 96)),  # DVD, PAL
        ("64/45", (182, 96)),  # DVD, PAL, wide
        ("8/9", (128, 108)),  # DVD, NTSC
        ("32/27", (152, 96)),  # DVD, NTSC, wide
        ("4/3", (171, 96)),  # HDV
        ("1/2", (128, 192)),
        ("2/1", (256, 96)),
        ("1280/1281", (128, 96)),  # rounding of whoever resized it
        ("1/1", (128, 96)),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_pixels_are_square(tmp_path: Path, name: str, aspect: str, size: tuple[int, int]) -> None:
    image = first(make_video(tmp_path / name, aspect=Fraction(aspect)))
    assert image.shape[1::-1] == size
    assert number_of(image) == 0


def test_pixels_are_made_square_before_they_are_turned(tmp_path: Path) -> None:
    image = first(make_video(tmp_path / "a.mov", 2, aspect=Fraction(4, 3), matrix=(0, 1, -1, 0)))
    assert image.shape == (171, 96, 3)
    assert number_of(np.ascontiguousarray(np.rot90(image))) == 0


def test_joints_are_in_pixels_of_what_is_shown(tmp_path: Path) -> None:
    wide = np.zeros((96, 160, 3), np.uint8)
    cv2.circle(wide, (120, 48), 8, (255, 255, 255), cv2.FILLED)
    narrow = cv2.resize(wide, (120, 96), interpolation=cv2.INTER_AREA)
    image = first(make_video(tmp_path / "a.mp4", images=[narrow] * 2, aspect=Fraction(4, 3)))
    rows, columns = np.nonzero(image[:, :, 0] > 128)
    assert (columns.mean(), rows.mean()) == pytest.approx((120, 48), abs=0.5)


# tracks


def make_tracks(path: Path, *tracks: tuple[int, int, str]) -> Path:
    """Writes video tracks, each of frames with one number, with a size and marks."""
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for _, width, marks in tracks:
            stream: Any = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, width * 3 // 4, "yuv420p"
            stream.disposition = sum(Disposition[mark] for mark in marks.split())
            streams.append(stream)
        for stream, (number, width, _) in zip(streams, tracks, strict=True):
            image = numbered(number, width, width * 3 // 4)
            for _ in range(4):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("tracks", "number"),
    [
        ([(1, 64, ""), (2, 128, "")], 1),
        ([(1, 64, "default"), (2, 128, "default")], 1),
        ([(1, 128, ""), (2, 64, "default")], 2),
    ],
)
def test_the_track_that_a_player_takes(tmp_path: Path, tracks: list[tuple[int, int, str]], number: int) -> None:
    with VideoFile(make_tracks(tmp_path / "tracks.mkv", *tracks)) as video:
        assert {number_of(frame.image) for frame in video} == {number}


@pytest.mark.parametrize("marks", ["attached_pic", "default attached_pic", "default timed_thumbnails", "dependent"])
def test_covers_and_thumbnails_are_no_videos(marks: str) -> None:
    def track(marks: str) -> SimpleNamespace:
        disposition = sum((Disposition[mark] for mark in marks.split()), Disposition(0))
        return SimpleNamespace(disposition=disposition, codec_context=object(), thread_type="")

    cover, film, other = track(marks), track(""), track("default")
    for tracks, want in (((cover, film), film), ((cover, film, other), other), ((cover,), cover)):
        container: Any = SimpleNamespace(streams=SimpleNamespace(video=tracks))
        assert video_stream(container, "a.mp4") is want


def test_a_track_without_a_decoder_is_left_out(tmp_path: Path) -> None:
    path = make_tracks(tmp_path / "tracks.mkv", (1, 128, "default"), (2, 64, ""))
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ", 1))
    with VideoFile(path) as video:
        assert {number_of(frame.image) for frame in video} == {2}


# names


@pytest.mark.parametrize("name", ["2024-01-01T12:30:05.mp4", "file:clip.mp4", "rtsp:a.mp4", "100%d.mp4", "a?b#c.mp4"])
def test_colons_and_other_signs_are_part_of_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "clip.mp4", images=[numbered(1)] * 3)
    make_video(tmp_path / "video.mp4", images=[numbered(2)] * 3).rename(name)
    for given_name in (name, str(tmp_path / name), Path(name)):
        with open_source(given_name) as source:
            assert {number_of(frame.image) for frame in source} == {2}
            assert source.info.name == name


def test_protocols_without_slashes_are_names_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "clip.mp4", 2)
    for name in ("file:clip.mp4", "concat:clip.mp4", "pipe:0", "data:text/plain,a"):
        with pytest.raises(VideoError, match="no such file"):
            VideoFile(name)
        assert not is_address(name)
    assert is_address("HTTP://a/b")


def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 2).rename(tmp_path / f"{'é' * 125}x.mp4")
    assert len(path.name.encode()) == 255
    assert number_of(first(path)) == 0


# rates


@pytest.mark.parametrize("ending", ["mkv", "webm", "mp4", "mov"])
@pytest.mark.parametrize("times", [np.arange(20) * 3.0, np.cumsum([0.0, *[0.03, 0.05] * 10]), np.arange(50) / 26.5])
def test_the_rate_is_that_of_the_times(tmp_path: Path, ending: str, times: np.ndarray) -> None:
    codec = "libvpx" if ending == "webm" else "libx264"
    path = make_video(tmp_path / f"a.{ending}", len(times), codec=codec, rate=60, times=times.tolist())
    with VideoFile(path) as video:
        assert video.info.fps == pytest.approx((len(times) - 1) / times[-1], rel=0.06)
        assert video.info.frames == len(times) == len(list(video))


def test_rates_that_are_no_whole_numbers_stay_exact(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(30000, 1001))
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), format="bgr24")))
        container.mux(stream.encode(None))
    with VideoFile(path) as video:
        assert video.info.fps == 30000 / 1001


def test_a_title_in_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Küche"
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(3), format="bgr24")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace("Küche".encode(), b"K\xfc\xfcche"))
    assert number_of(first(path)) == 3
