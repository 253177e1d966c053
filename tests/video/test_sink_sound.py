"""The sound of another file goes into a video: in step, cut to the pictures, copied where it fits."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from hrkit.errors import VideoError
from hrkit.video.sinks import Mp4Sink
from recorded_videos import grey_number, length, read, record, sine


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.mkv", "flac"), ("a.ts", "aac")])
def test_damaged_sound_does_not_cost_the_pictures(tmp_path: Path, name: str, codec: str) -> None:
    source = sine(tmp_path / name, codec)
    content = bytearray(source.read_bytes())
    middle = slice(len(content) // 3, len(content) // 2)
    content[middle] = np.random.default_rng(0).bytes(len(content[middle]))
    source.write_bytes(content)
    output = record(tmp_path / "out.mp4", [k / 10 for k in range(30)], fps=10, audio_from=source)
    frames, times = read(output)
    assert ([grey_number(frame) for frame in frames], times[-1]) == (list(range(30)), Fraction(29, 10))


def test_sound_that_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no sound")
    for name in ("text.txt", "missing.mp4", "."):
        with pytest.raises(VideoError, match="sound cannot be read"):
            Mp4Sink(tmp_path / "a.mp4", fps=25, audio_from=tmp_path / name)
    assert os.listdir(tmp_path) == ["text.txt"]
