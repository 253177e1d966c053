"""Videos with random damage: every frame that can be decoded comes, and nothing but a `VideoError` is raised."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from hrkit.errors import VideoError
from hrkit.video.files import VideoFile
from made_videos import make_video

KINDS = [("a.mp4", "libx264"), ("a.ts", "libx264"), ("a.flv", "libx264"), ("a.mkv", "mpeg4"), ("a.avi", "mjpeg")]


def flip(content: bytearray, draw: random.Random) -> None:
    for _ in range(draw.randint(1, 40)):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def zero(content: bytearray, draw: random.Random) -> None:
    start, size = draw.randrange(len(content)), draw.randint(1, 2000)
    content[start : start + size] = bytes(len(content[start : start + size]))


def cut(content: bytearray, draw: random.Random) -> None:
    del content[draw.randint(len(content) // 10, len(content) - 1) :]


def drop(content: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(content))
    del content[start : start + draw.randint(1, 2000)]


def decoded(path: Path) -> int:
    """The number of frames by a plain loop in one thread, which goes on after errors; 0 if it is no video any more."""
    frames = 0
    with contextlib.suppress(av.FFmpegError, IndexError), av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        if stream.codec_context is None:  # the damage hit the codec's name
            return 0
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            with contextlib.suppress(av.FFmpegError):
                frames += len(packet.decode())
    return frames


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("videos")
    made = {name: make_video(folder / name, 30, codec=codec) for name, codec in KINDS}
    return {name: path.read_bytes() for name, path in made.items()}


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, zero, cut, drop])
@pytest.mark.parametrize("name", [name for name, _ in KINDS])
@pytest.mark.parametrize("seed", range(3))
def test_every_frame_that_can_be_decoded_comes(
    tmp_path: Path, videos: dict[str, bytes], name: str, damage: Callable[[bytearray, random.Random], None], seed: int
) -> None:
    content = bytearray(videos[name])
    damage(content, random.Random(f"{name} {damage.__name__} {seed}"))
    path = tmp_path / name
    path.write_bytes(content)
    times: list[float] = []
    with contextlib.suppress(VideoError), VideoFile(path) as video:
        times.extend(frame.time for frame in video)
    assert len(times) >= decoded(path)
    assert times == sorted(times)
