"""From videos to files: nothing is lost, and an interrupted run ends in the same rows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hrkit import Pipeline
from hrkit.errors import HrkitError, VideoError
from hrkit.extraction.one_video import extract
from hrkit.skeletons import coco17
from hrkit.tracking.follower import Follower
from walking import CUT_SHORT, Frames, walk

META = {"keypoint_names": list(coco17.keypoint_names), "fps": 10.0}
SETTINGS = {"smoothing": 1.0, "detect_every": 3}
FRAMES = 13


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.from_names("synthetic", "synthetic", weights=None, device="cpu", input_size=(128, 96))


class Killed(BaseException):
    """Stands for an end that nobody can catch."""


def run(pipeline: Pipeline, images: list[Any], output: Path, die_at: int | None = None, **options: Any) -> Any:
    def die(done: int, people: int) -> None:
        if die_at is not None and done >= die_at:
            raise Killed

    source = options.pop("source", None) or Frames(images)
    return extract(Follower(pipeline, **SETTINGS), source, output, META, progress=die, **options)


@pytest.mark.slow
def test_a_row_for_everybody_in_every_frame(pipeline: Pipeline, tmp_path: Path) -> None:
    images, truth = walk(12)
    images[4] = np.zeros_like(images[4])
    result = run(pipeline, images, tmp_path / "walk.csv")
    assert (result.frames, result.people) == (12, 22)
    table = pd.read_csv(tmp_path / "walk.csv")
    assert table.frame.value_counts().to_dict() == {index: 2 for index in range(12) if index != 4}
    assert (table.time == table.frame / 10).all()
    assert table.id.tolist() == [1, 2] * 11
    assert table.nose_x[0] == pytest.approx(truth[0, 0, 0, 0], abs=1.5)
    assert sorted(os.listdir(tmp_path)) == ["walk.csv", "walk.csv.meta.json"]
    assert json.loads((tmp_path / "walk.csv.meta.json").read_text())["frames"] == 12


@pytest.fixture(scope="module")
def whole(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of an extraction of `FRAMES` frames that nobody interrupted."""
    output = tmp_path_factory.mktemp("whole") / "whole.csv"
    run(pipeline, walk(FRAMES)[0], output)
    return output.read_bytes()


@pytest.fixture
def states_are_saved_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrkit.extraction.one_video.STATE_FRAMES", 5)


@pytest.mark.slow
@pytest.mark.usefixtures("states_are_saved_often")
@pytest.mark.parametrize("die_at", [0, 1, 4, 5, 6, 9, FRAMES])
def test_it_goes_on_to_the_same_file_wherever_it_was_killed(
    pipeline: Pipeline, whole: bytes, tmp_path: Path, die_at: int
) -> None:
    images, _ = walk(FRAMES)
    output = tmp_path / "killed.csv"
    with pytest.raises(Killed):
        run(pipeline, images, output, die_at=die_at)
    assert not output.exists()
    with pytest.raises(HrkitError, match="--resume"):
        run(pipeline, images, output)
    result = run(pipeline, images, output, resume=True)
    assert result.frames == FRAMES
    assert output.read_bytes() == whole
    assert not (tmp_path / "killed.csv.part.jsonl").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
@pytest.mark.usefixtures("states_are_saved_often")
def test_kill_minus_nine_leaves_rows_that_can_be_read(pipeline: Pipeline, whole: bytes, tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
from pathlib import Path
import hrkit.extraction.one_video
from test_one_video import FRAMES, META, SETTINGS, Follower, Frames, Pipeline, extract, walk

def die(done, people):
    if done == 12:
        os.kill(os.getpid(), signal.SIGKILL)

hrkit.extraction.one_video.STATE_FRAMES = 5
pipeline = Pipeline.from_names("synthetic", "synthetic", weights=None, device="cpu", input_size=(128, 96))
extract(Follower(pipeline, **SETTINGS), Frames(walk(FRAMES)[0]), Path("killed.csv"), META, progress=die)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert ended.returncode == -signal.SIGKILL
    lines = [json.loads(line) for line in (tmp_path / "killed.csv.part.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines if "frame" in line] == list(range(12))
    run(pipeline, walk(FRAMES)[0], tmp_path / "killed.csv", resume=True)
    assert (tmp_path / "killed.csv").read_bytes() == whole


def test_what_can_be_read_of_a_damaged_video_is_kept(pipeline: Pipeline, tmp_path: Path) -> None:
    images, _ = walk(5)
    with pytest.raises(VideoError, match="cut short"):
        run(pipeline, images, tmp_path / "walk.csv", source=Frames(images, error=CUT_SHORT))
    assert pd.read_csv(tmp_path / "walk.csv").frame.nunique() == 5


def test_nothing_is_written_of_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="cut short"):
        run(pipeline, [], tmp_path / "walk.csv", source=Frames([], error=CUT_SHORT))
    assert not (tmp_path / "walk.csv").exists()


@pytest.mark.parametrize("live", [True, False])
def test_ctrl_c_ends_a_camera_and_interrupts_a_file(pipeline: Pipeline, tmp_path: Path, live: bool) -> None:
    images, _ = walk(5)
    with pytest.raises(KeyboardInterrupt):
        run(pipeline, images, tmp_path / "walk.csv", source=Frames(images, live=live, error=KeyboardInterrupt()))
    assert sorted(os.listdir(tmp_path)) == (["walk.csv", "walk.csv.meta.json"] if live else ["walk.csv.part.jsonl"])


def test_as_many_frames_as_asked_for(pipeline: Pipeline, tmp_path: Path) -> None:
    images, _ = walk(9)
    assert run(pipeline, images, tmp_path / "walk.jsonl", max_frames=4).frames == 4
    assert len((tmp_path / "walk.jsonl").read_text().splitlines()) == 4


def test_the_source_is_opened_again_for_crops_alone(pipeline: Pipeline, tmp_path: Path) -> None:
    images, _ = walk(2)
    opened: list[Frames] = []

    def reopen() -> Frames:
        opened.append(Frames(images))
        return opened[-1]

    run(pipeline, images, tmp_path / "walk.csv", reopen=reopen)
    assert opened == []
    run(pipeline, images, tmp_path / "walk.crops", reopen=reopen)
    assert len(opened) == 1
    assert len(list((tmp_path / "walk.crops").iterdir())) == 4
