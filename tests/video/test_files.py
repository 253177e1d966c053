"""Videos and folders of pictures: every frame, upright, at its time; and what is wrong with a file is said."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from hrkit.errors import VideoError
from hrkit.video.cameras import open_source
from hrkit.video.files import VideoFile
from made_videos import make_video, number_of, numbered, trim, zero_packets


def numbers(path: Path) -> list[int]:
    with open_source(path) as source:
        return [number_of(frame.image) for frame in source]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")])
def test_every_frame_comes_once_and_in_order(tmp_path: Path, name: str, codec: str) -> None:
    with VideoFile(make_video(tmp_path / name, 30, codec=codec)) as video:
        frames = list(video)
        info = video.info
    assert [number_of(frame.image) for frame in frames] == list(range(30))
    assert [frame.index for frame in frames] == list(range(30))
    assert [frame.time for frame in frames] == pytest.approx(np.arange(30) / 25, abs=1e-3)
    assert (info.name, info.width, info.height, info.fps, info.live) == (name, 128, 96, 25.0, False)
    assert info.frames == pytest.approx(30, abs=1)


@pytest.mark.parametrize("name", ["mjpeg.avi", "reordered.mp4"])
def test_other_ways_to_store_frames(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "mjpeg.avi":
        make_video(path, codec="mjpeg")
    else:
        make_video(path, options={"bf": "3", "g": "12"})
    assert numbers(path) == list(range(12))


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_a_rotation_tag_is_obeyed_once(tmp_path: Path, turned: int) -> None:
    path = make_video(tmp_path / "turned.mp4", turned=turned)
    with VideoFile(path) as video:
        assert (video.info.width, video.info.height) == (128, 96)
        assert [number_of(frame.image) for frame in video] == list(range(12))


def test_times_are_those_of_the_frames(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.2, 0.24, 0.9, 1.0, 1.5, 1.501, 2.0]
    path = make_video(tmp_path / "uneven.mkv", len(times), times=times)
    with VideoFile(path) as video:
        assert [frame.time for frame in video] == pytest.approx(times, abs=2e-3)


def test_time_begins_with_the_video(tmp_path: Path) -> None:
    path = make_video(tmp_path / "broadcast.ts", 30)  # whose clock begins at 1.4 s
    with VideoFile(path) as video:
        assert [frame.time for frame in video] == pytest.approx(np.arange(30) / 25, abs=2e-3)


def test_where_the_sound_is(tmp_path: Path) -> None:
    path = make_video(tmp_path / "talking.mp4", sound=True)
    with VideoFile(path) as video:
        assert video.info.audio_from == path
    with VideoFile(make_video(tmp_path / "mute.mp4")) as video:
        assert video.info.audio_from is None


def test_colours_are_those_that_opencv_reads(tmp_path: Path) -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    image[:, :64], image[:, 64:] = (30, 60, 200), (200, 120, 20)
    path = make_video(tmp_path / "colours.mp4", images=[image] * 3)
    _, theirs = cv2.VideoCapture(str(path)).read()
    with VideoFile(path) as video:
        ours = next(iter(video)).image
    assert np.abs(ours.astype(int) - theirs).max() <= 3
    assert np.abs(ours[48, [20, 100]].astype(int) - image[48, [20, 100]]).max() <= 8


@pytest.mark.slow
@pytest.mark.needs_shared
def test_real_videos_stand_upright_and_are_whole(shared: Path) -> None:
    with VideoFile(shared / "media" / "street.mp4") as street:
        frames = {frame.index: frame for frame in street}
    assert len(frames) == street.info.frames == 200
    assert frames[199].time == pytest.approx(19.9)
    with VideoFile(shared / "media" / "street_rotated.mp4") as turned:
        assert (turned.info.width, turned.info.height) == (768, 576)
        rotated = list(turned)
    assert len(rotated) == 40
    closest = min(np.abs(rotated[0].image.astype(int) - frame.image).mean() for frame in frames.values())
    assert closest < 8
    mirrored = min(np.abs(rotated[0].image[::-1, ::-1].astype(int) - frame.image).mean() for frame in frames.values())
    assert mirrored > 30


# mistakes


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def noisy(tmp_path: Path) -> Path:
    """Of 40 frames that cannot be packed well, so that half of the file is about half of them."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (96, 128, 3), np.uint8) for _ in range(40)]
    return make_video(tmp_path / "noisy.mp4", images=images, options={"bf": "0"})


def test_a_file_that_is_cut_short_comes_as_far_as_it_goes(tmp_path: Path) -> None:
    seen = []
    with VideoFile(cut(noisy(tmp_path), 0.6)) as source, pytest.raises(VideoError) as error:
        seen.extend(frame.index for frame in source)
    assert seen == list(range(len(seen)))
    assert 15 < len(seen) < 30
    assert str(error.value).endswith(f"noisy.mp4: ends after {len(seen)} of 40 frames; the file is cut short")


def test_a_file_that_lacks_its_last_frame(tmp_path: Path) -> None:
    source = VideoFile(cut(noisy(tmp_path), 0.999))
    with source, pytest.raises(VideoError, match="ends after 39 of 40 frames"):
        list(source)


def test_a_trimmed_file_is_whole(tmp_path: Path) -> None:
    long = make_video(tmp_path / "long.mp4", 60, options={"g": "30", "bf": "0"})
    with VideoFile(trim(long, tmp_path / "short.mp4", seconds=0.4)) as video:
        frames = list(video)
        assert video.info.frames == 60  # as the container says, which knows no better
    assert [number_of(frame.image) for frame in frames] == list(range(10, 60))
    assert [frame.time for frame in frames] == pytest.approx(np.arange(50) / 25, abs=1e-3)


def test_damage_costs_the_damaged_frame_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = zero_packets(make_video(tmp_path / "damaged.mp4", 30, options={"bf": "0", "g": "10"}), [14])
    with VideoFile(path) as video, caplog.at_level(logging.WARNING, "hrkit"):
        frames = list(video)
        assert (video.broken, video.info.frames) == (1, 30)
    assert [frame.index for frame in frames] == list(range(29))
    assert [frame.time for frame in frames] == pytest.approx([n / 25 for n in range(30) if n != 14])
    whole = frames[:14] + frames[19:]  # those after the lost frame refer to it, up to the next key frame
    assert [number_of(frame.image) for frame in whole] == [*range(14), *range(20, 30)]
    assert caplog.messages == [f"{path}: 1 of its frames is broken and left out"]


@pytest.mark.parametrize("numbers", [[0], [11], [10, 11], [3, 4, 5, 6, 7, 8]])
@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mov", "mpeg4"), ("a.avi", "mjpeg")])
def test_a_broken_frame_hides_no_other(tmp_path: Path, name: str, codec: str, numbers: list[int]) -> None:
    options = {"g": "1", "bf": "0"} if codec != "mjpeg" else {}
    path = zero_packets(make_video(tmp_path / name, 12, codec=codec, options=options), numbers)
    with VideoFile(path) as video:
        assert [number_of(frame.image) for frame in video] == [n for n in range(12) if n not in numbers]
        assert video.broken == len(numbers)


def test_frames_that_the_decoder_made_up_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = noisy(tmp_path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    with VideoFile(path) as video, caplog.at_level(logging.WARNING, "hrkit"):
        frames = list(video)
    assert video.broken + video.repaired > 0
    assert len(frames) + video.broken == 40
    assert frames[-1].time == pytest.approx(39 / 25)
    assert any("only partly shown" in message for message in caplog.messages) == bool(video.repaired)


def test_times_after_a_lost_frame_stay_right_without_time_stamps(tmp_path: Path) -> None:
    raw = make_video(tmp_path / "raw.h264", 20, options={"bf": "0"})
    with VideoFile(raw) as video:
        assert [frame.time for frame in video] == pytest.approx(np.arange(20) / 25)
        assert (video.info.fps, video.info.frames) == (25.0, 20)


def test_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    path = make_video(tmp_path / "new.mkv")
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    with pytest.raises(VideoError, match=r"new\.mkv: .*no decoder"):
        open_source(path)


def test_a_folder_is_no_video_file(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="is a folder"):
        VideoFile(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.mp4", None, "no such file"),
        ("text.mp4", b"this is no video, however it is called\n" * 20, "no video"),
        ("empty.mp4", b"", "no video"),
        ("noise.avi", bytes(range(256)) * 40, "no video"),
    ],
)
def test_what_is_no_video(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=message) as error:
        open_source(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_a_beginning_without_an_index(tmp_path: Path) -> None:
    path = cut(make_video(tmp_path / "beginning.mov"), 0.8)  # the index stands at the end
    with pytest.raises(VideoError, match=r"beginning\.mov: is no video, or one that is cut short"):
        open_source(path)


def test_an_index_without_frames(tmp_path: Path) -> None:
    path = cut(noisy(tmp_path), 0.02)
    with pytest.raises(VideoError, match="cannot be read from frame 0 on"):
        open_source(path)


def test_sound_alone(tmp_path: Path) -> None:
    import av

    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        voice = container.add_stream("aac", rate=16000)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        tone.sample_rate = 16000
        container.mux(voice.encode(tone))
        container.mux(voice.encode(None))
    with pytest.raises(VideoError, match="no pictures in it"):
        open_source(path)


def test_a_size_that_changes_on_the_way(tmp_path: Path) -> None:
    first = make_video(tmp_path / "first.ts", 5, options={"bf": "0"}).read_bytes()
    second = make_video(tmp_path / "second.ts", images=[numbered(n, 64, 48) for n in range(5)], options={"bf": "0"})
    path = tmp_path / "both.ts"
    path.write_bytes(first + second.read_bytes())
    with open_source(path) as source:
        frames = list(source)
        assert (source.info.width, source.info.height) == (128, 96)
    assert [frame.image.shape for frame in frames] == [(96, 128, 3)] * 5 + [(48, 64, 3)] * 5
    assert [number_of(frame.image) for frame in frames] == [*range(5), *range(5)]


@pytest.mark.parametrize("others", [("libx264", {"bf": "0"}), ("mpeg2video", {})])
def test_recordings_that_are_joined_follow_one_another(tmp_path: Path, others: tuple[str, dict[str, str]]) -> None:
    codec, options = others
    one = make_video(tmp_path / "one.ts", 20, codec=codec, options=options).read_bytes()
    (tmp_path / "three.ts").write_bytes(one * 3)
    with VideoFile(tmp_path / "three.ts") as video:
        frames = list(video)
    assert [number_of(frame.image) for frame in frames] == [*range(20)] * 3
    assert [frame.time for frame in frames] == pytest.approx(np.arange(60) / 25, abs=1e-6)
    assert (video.info.fps, video.info.frames) == (25.0, 60)


@pytest.mark.slow
def test_frames_of_too_many_pixels_are_not_decoded(tmp_path: Path) -> None:
    small, large = (
        make_video(tmp_path / name, images=[numbered(number, *size) for number in range(12)])
        for name, size in (("small.h264", (128, 96)), ("large.h264", (1280, 960)))
    )
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoFile(small, max_pixels=128 * 96) as video:
        assert len(list(video)) == 12
    with pytest.raises(VideoError, match="cannot be read"):
        VideoFile(large, max_pixels=128 * 96)
    with VideoFile(both, max_pixels=128 * 96) as video, pytest.raises(VideoError, match="cannot be read from frame"):
        list(video)
