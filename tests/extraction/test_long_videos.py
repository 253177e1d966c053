"""Hours of video in the memory of its first seconds."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hrkit.drawing.annotators import BoxAnnotator, SkeletonAnnotator
from hrkit.extraction.one_video import extract
from hrkit.skeletons import coco17
from hrkit.structures import Detections, Poses
from hrkit.tracking.follower import Follower
from hrkit.video.files import SourceInfo, VideoFrame
from hrkit.video.prefetch import in_background
from walkers import Walker, look, straight

FRAMES, SETTLED, ROOM = 2_000, 500, 6 << 20
"""Frames, those after which memory stays, and how much it may still grow, bytes."""


class Stub:
    """Stands for a pipeline: people who walk through, seen without looking."""

    detector = object()
    skeleton = coco17
    bottom_up = False

    def __init__(self) -> None:
        self.index = 0
        self.walkers: list[Walker] = [
            straight((200, 300 + 40 * n), (5 * (n + 1), 0), start=3.0 * n, end=3.0 * n + 200) for n in range(4)
        ]

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [Detections.empty() for _ in images]

    def predict_batch(self, images: Sequence[Any], boxes: Any = None, return_heatmaps: bool = False) -> list[Poses]:
        found = []
        for _ in images:
            found.append(look(self.walkers, self.index / 30 % 250)[0])
            self.index += 1
        return found


class Long:
    """Frame after frame, each a picture of its own."""

    dropped = broken = repaired = 0

    def __init__(self, height: int, width: int) -> None:
        self.info = SourceInfo(name="long", width=width, height=height, fps=30.0, frames=FRAMES)

    def __iter__(self) -> Iterator[VideoFrame]:
        for index in range(FRAMES):
            yield VideoFrame(index, index / 30, np.full((self.info.height, self.info.width, 3), index % 256, np.uint8))

    def close(self) -> None:
        """Nothing to close."""


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_memory_is_flat_over_two_thousand_frames(tmp_path: Path) -> None:
    used: dict[int, int] = {}
    follower = Follower(Stub(), smoothing=1.0)

    def note(done: int, people: int) -> None:
        if done % 100 < 8:
            used[done] = resident()

    source, meta = Long(480, 640), {"keypoint_names": coco17.keypoint_names}
    result = extract(follower, source, tmp_path / "long.csv", meta, progress=note)  # type: ignore[arg-type]
    assert result.frames == FRAMES
    settled = max(bytes_ for done, bytes_ in used.items() if done <= SETTLED)
    assert max(used.values()) - settled < ROOM


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_drawing_beside_the_rest_holds_a_few_frames_only() -> None:
    stub, skeletons, boxes = Stub(), SkeletonAnnotator(), BoxAnnotator()
    frames = ((frame.image, stub.predict_batch([0])[0]) for frame in itertools.islice(Long(360, 640), 400))
    used = []
    for number, _ in enumerate(in_background(lambda item: boxes(skeletons(*item), item[1]), frames)):
        if number % 25 == 0:
            used.append(resident())
    assert max(used) - max(used[:6]) < ROOM
