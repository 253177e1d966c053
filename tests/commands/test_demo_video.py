"""`hrkit demo` on videos and cameras: a file that plays, and one line for what goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from heard import hear_signals
from hrkit.cli import main
from hrkit.images import write_image
from hrkit.video.files import VideoFile
from made_videos import jpeg, make_video, numbered, serve
from synthetic_pipelines import SYNTHETIC
from walking import walk

pytestmark = pytest.mark.usefixtures("small_crops")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, without a display."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return tmp_path


def demo(*arguments: Any, network: tuple[str, ...] = SYNTHETIC) -> Result:
    return CliRunner().invoke(main, ["demo", *map(str, arguments), *network])


def walking(folder: Path, frames: int = 6) -> Path:
    for number, image in enumerate(walk(frames)[0]):
        write_image(folder / f"{number}.png", image)
    return folder


@pytest.mark.slow
def test_a_folder_of_pictures_becomes_a_video(folder: Path) -> None:
    result = demo("--video", walking(folder / "street"), "--color-by", "person", "--profile")
    assert result.exit_code == 0, result.output
    assert "drawn: demo-output/street_poses.mp4" in result.stdout
    assert "6 frames, 12 poses of 2 people" in result.stdout
    assert "drawing" in result.stdout
    with VideoFile("demo-output/street_poses.mp4") as drawn:
        assert (drawn.info.width, drawn.info.height, drawn.info.fps) == (480, 240, 25.0)
        for frame, image in zip(drawn, walk(6)[0], strict=True):
            assert np.abs(frame.image.astype(int) - image).max() > 60
    assert os.listdir("demo-output") == ["street_poses.mp4"]


@pytest.mark.slow
def test_rate_length_and_sound_are_those_of_the_source(folder: Path) -> None:
    make_video(folder / "talk.mp4", 30, rate=10, sound=True)
    assert demo("--video", "talk.mp4", "--output", "out/drawn.mp4").exit_code == 0
    with av.open("out/drawn.mp4") as container:
        assert float(container.streams.video[0].average_rate or 0) == 10
        assert container.streams.video[0].frames == 30
        assert float(container.duration or 0) / av.time_base == pytest.approx(3, abs=0.15)
        assert [stream.codec_context.name for stream in container.streams.audio] == ["aac"]


@pytest.mark.slow
@pytest.mark.needs_shared
@pytest.mark.parametrize(("name", "frames"), [("street.mp4", 200), ("street_rotated.mp4", 40)])
def test_real_videos_keep_every_frame_upright_and_at_its_time(shared: Path, name: str, frames: int) -> None:
    nobody = (*SYNTHETIC, "--max-people", "1")
    assert demo("--video", shared / "media" / name, "--no-boxes", network=nobody).exit_code == 0
    with VideoFile(shared / "media" / name) as source, VideoFile(f"demo-output/{Path(name).stem}_poses.mp4") as drawn:
        pairs = list(zip(source, drawn, strict=True))
    assert len(pairs) == frames
    for theirs, ours in pairs:
        assert ours.time == pytest.approx(theirs.time, abs=1e-3)
        assert cv2.absdiff(ours.image, theirs.image).mean() < 8


def test_a_camera_without_a_display_is_recorded_and_that_is_said(folder: Path) -> None:
    with serve([[jpeg(number) for number in range(8)]]) as address:
        from hrkit.video import cameras

        original = cameras.LiveSource.__init__

        def once(self: Any, *arguments: Any, **options: Any) -> None:
            original(self, *arguments, **{**options, "pause": lambda seconds: True})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cameras.LiveSource, "__init__", once)
            result = demo("--camera", address)
    assert result.exit_code == 0, result.output
    assert "writing a file instead" in result.stderr
    assert "camera_poses.mp4" in result.stdout
    with VideoFile("demo-output/camera_poses.mp4") as drawn:
        assert 1 <= len(list(drawn)) <= 8


def changing(folder: Path) -> str:
    first = make_video(folder / "first.ts", 5, options={"bf": "0"}).read_bytes()
    images = [numbered(number, 64, 48) for number in range(5)]
    second = make_video(folder / "second.ts", images=images, options={"bf": "0"}).read_bytes()
    (folder / "changing.ts").write_bytes(first + second)
    return "changing.ts"


def cut_short(folder: Path) -> str:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (96, 128, 3), np.uint8) for _ in range(40)]
    path = make_video(folder / "cut.mp4", images=images, options={"bf": "0"})
    os.truncate(path, int(path.stat().st_size * 0.6))
    return path.name


def without_frames(folder: Path) -> str:
    path = make_video(folder / "none.mp4", 12)
    (folder / "nothing.mp4").write_bytes(path.read_bytes().replace(b"mdat", b"free"))
    with av.open("nothing.ts", "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return "nothing.ts"


def text(folder: Path) -> str:
    (folder / "text.mp4").write_text("this is no video\n" * 99)
    return "text.mp4"


@pytest.mark.slow
def test_a_size_that_changes_is_fitted(folder: Path) -> None:
    result = demo("--video", changing(folder))
    assert result.exit_code == 0, result.output
    with VideoFile("demo-output/changing_poses.mp4") as drawn:
        assert [frame.image.shape for frame in drawn] == [(96, 128, 3)] * 10


@pytest.mark.slow
@pytest.mark.parametrize("make", [cut_short, without_frames, text])
def test_videos_that_are_damaged(folder: Path, make: Any) -> None:
    name = make(folder)
    result = demo("--video", name)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {name}: ")
    assert len(result.stderr.splitlines()) == 1
    readable = make is cut_short  # what could be read is there, and plays
    assert Path(f"demo-output/{Path(name).stem}_poses.mp4").exists() is readable
    if readable:
        with VideoFile(f"demo-output/{Path(name).stem}_poses.mp4") as drawn:
            assert len(list(drawn)) >= 5


def test_what_cannot_be_opened_or_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCamera:
        def __init__(self, number: int) -> None:
            """There is none."""

        def isOpened(self) -> bool:  # noqa: N802
            return False

        def release(self) -> None:
            """Nothing to release."""

    monkeypatch.setattr(cv2, "VideoCapture", NoCamera)
    make_video(folder / "a.mp4")
    (folder / "file").write_text("in the way")
    for arguments, message in (
        (("--camera", "9"), "camera 9 cannot be opened"),
        (("--video", "missing.mp4"), "no such file"),
        (("--video", "a.mp4", "--output", "file"), "file"),
        (("--video", "a.mp4", "--output", "file/drawn.mp4"), "cannot be written"),
        (("--video", "a.mp4", "--output", "drawn.avi"), "ends in .mp4"),
        (("--video", "a.mp4", "--output", "a.mp4"), "a.mp4"),
    ):
        result = demo(*arguments)
        assert result.exit_code == 2, arguments
        assert message in result.stderr
        assert result.stderr.splitlines()[-1].startswith("error: ")
    assert (folder / "file").read_text() == "in the way"


def test_no_encoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", set())
    result = demo("--video", make_video(folder / "a.mp4"))
    assert result.exit_code == 2
    assert "libx264" in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are another thing there")
def test_ctrl_c_leaves_a_file_that_plays(folder: Path) -> None:
    walking(folder / "street", 30)
    script = "import sys; from hrkit.cli import main; from hrkit.drawing.annotators import Drawing\n" + (
        "from hrkit.synthetic import SyntheticBackbone; SyntheticBackbone.default_input_size = (128, 96)\n"
        "write = Drawing.__call__; seen = []\n"
        "def stop(self, frame, poses):\n"
        "    seen.append(1)\n"
        "    if len(seen) == 12: import os, signal; os.kill(os.getpid(), signal.SIGINT)\n"
        "    return write(self, frame, poses)\n"
        "Drawing.__call__ = stop\n"
        f"main({['demo', '--video', 'street', *SYNTHETIC]!r})"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, preexec_fn=hear_signals
    )
    assert ended.returncode == 128 + signal.SIGINT
    assert ended.stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in ended.stderr
    with VideoFile("demo-output/street_poses.mp4") as drawn:
        assert len(list(drawn)) >= 10
