"""Playing: every frame drawn, keys obeyed, what is live not held up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import synthetic_pipelines
from hrkit import Pipeline
from hrkit.commands.player import Played, play
from hrkit.drawing.annotators import Drawing
from hrkit.errors import VideoError
from hrkit.images import read_image
from hrkit.structures import Frame
from hrkit.tracking.follower import Follower
from hrkit.video.sinks import Sink
from walking import CUT_SHORT, Frames, walk

pytestmark = pytest.mark.usefixtures("small_crops")


class Kept(Sink):
    """Keeps what is written."""

    def __init__(self) -> None:
        self.images: list[Frame] = []
        self.times: list[float] = []

    def write(self, image: Frame, time: float) -> None:
        self.images.append(image)
        self.times.append(time)


class Window(Kept):
    """A window where keys are pressed: those of the n-th frame shown, one each time it is asked."""

    def __init__(self, keys: dict[int, Sequence[str]] | None = None, close_at: int | None = None) -> None:
        super().__init__()
        self.keys = {frame: list(pressed) for frame, pressed in (keys or {}).items()}
        self.close_at = close_at
        self.waits: list[float] = []

    @property
    def closed(self) -> bool:
        return self.close_at is not None and len(self.images) >= self.close_at

    def write(self, image: Frame, time: float, wait: float = 0.0) -> None:
        super().write(image, time)
        self.waits.append(wait)

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    def key(self) -> str:
        pressed = self.keys.get(len(self.images), [])
        return pressed.pop(0) if pressed else ""


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return synthetic_pipelines.pipeline()


def played(pipeline: Pipeline, frames: int = 5, drawing: Drawing | None = None, **how: Any) -> tuple[Played, Kept]:
    sink = Kept()
    live = how.pop("live", False)
    source = Frames(walk(frames)[0], live=live)
    return play(source, Follower(pipeline), drawing or Drawing(), sink, **how), sink


@pytest.mark.slow
def test_every_frame_is_drawn_and_written(pipeline: Pipeline) -> None:
    images, _ = walk(10)
    result, sink = played(pipeline, 10)
    assert (result.frames, result.people, result.ids, result.dropped) == (10, 20, 2, 0)
    assert sink.times == [n / 10 for n in range(10)]
    for image, drawn in zip(images, sink.images, strict=True):
        assert drawn.shape == image.shape
        assert (drawn != image).any()


@pytest.mark.slow
def test_what_is_shown_has_its_rate_and_what_is_written_has_not(pipeline: Pipeline) -> None:
    window = Window()
    _, sink = played(pipeline, window=window)
    assert len(window.images) == 5
    for shown, written in zip(window.images, sink.images, strict=True):
        differing = np.argwhere((shown != written).any(2))
        assert len(differing)
        assert (differing.max(0) < [40, 240]).all()


@pytest.mark.parametrize("key", ["q", "esc"])
def test_a_key_ends(pipeline: Pipeline, key: str) -> None:
    result, _ = played(pipeline, 10, window=Window({3: [key]}))
    assert result.frames == 3


def test_closing_the_window_ends(pipeline: Pipeline) -> None:
    assert played(pipeline, 10, window=Window(close_at=2))[0].frames == 2


@pytest.mark.slow
def test_boxes_and_heatmaps_are_turned_on_and_off(pipeline: Pipeline) -> None:
    drawing = Drawing()
    played(pipeline, 12, drawing, window=Window({2: ["b"], 3: ["h"]}))
    assert (drawing.boxes, drawing.heatmaps) == (False, True)
    shown = Window({1: ["h"]})
    played(pipeline, 12, Drawing(boxes=False), window=shown)
    plain = Window()
    played(pipeline, 12, Drawing(boxes=False), window=plain)
    inside = np.s_[60:200, 20:460]
    assert (shown.images[0][inside] == plain.images[0][inside]).all()
    assert (shown.images[-1][inside] != plain.images[-1][inside]).any()


@pytest.mark.slow
def test_space_pauses_until_it_is_pressed_again(pipeline: Pipeline) -> None:
    window = Window({2: ["space", "", "", "x", "space"]})
    result, _ = played(pipeline, window=window, live=True)
    assert result.frames == 5
    assert window.waits.count(0.05) == 4
    assert played(pipeline, window=Window({2: ["space", "", "q"]}))[0].frames == 2


@pytest.mark.slow
def test_a_snapshot_is_what_is_drawn(pipeline: Pipeline, tmp_path: Path) -> None:
    _, sink = played(pipeline, window=Window({2: ["s"]}), snapshots=tmp_path)
    np.testing.assert_array_equal(read_image(tmp_path / "snapshot_000001.png"), sink.images[1])


@pytest.mark.slow
def test_a_file_is_shown_no_faster_than_it_was_taken(pipeline: Pipeline) -> None:
    window = Window()
    played(pipeline, 12, window=window, clock=lambda: 5.0)  # no time passes
    assert window.waits == [n / 10 for n in range(12)]
    window = Window()
    played(pipeline, 12, window=window, live=True)
    assert window.waits == [0.0] * 12


def test_what_goes_wrong_is_raised_after_what_was_read(pipeline: Pipeline) -> None:
    sink = Kept()
    with pytest.raises(VideoError, match="cut short"):
        play(Frames(walk(3)[0], error=CUT_SHORT), Follower(pipeline), Drawing(), sink)
    assert len(sink.images) == 3


def test_a_disk_that_is_full_ends_it(pipeline: Pipeline) -> None:
    class Full(Kept):
        def write(self, image: Frame, time: float) -> None:
            raise VideoError("the disk is full")

    with pytest.raises(VideoError, match="full"):
        play(Frames(walk(3)[0]), Follower(pipeline), Drawing(), Full())
