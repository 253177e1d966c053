"""Painted people who walk, as pictures and as sources of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hrkit.errors import VideoError
from hrkit.synthetic import paint_people
from hrkit.video import SourceInfo, VideoFrame
from painted import person

Image = NDArray[np.uint8]


def walk(frames: int, people: int = 2, step: float = 2.0) -> tuple[list[Image], NDArray[np.float64]]:
    """Pictures (240,480,3) of people who walk to the right by `step` px a frame, and their joints, (F,N,17,2)."""
    starts = np.stack([person(40 + 200 * number, 40 + 30 * number, 60 - 10 * number, 120) for number in range(people)])
    truth = starts + np.arange(frames)[:, None, None, None] * [step, 0]
    return [paint_people((240, 480), at, radius=4) for at in truth], truth


class Frames:
    """A source made of pictures, 10 a second, which may fail at its end."""

    def __init__(self, images: Sequence[Image], *, live: bool = False, error: BaseException | None = None) -> None:
        self.info = SourceInfo(name="made", width=480, height=240, fps=10.0, frames=len(images), live=live)
        self.dropped = 0
        self._images, self._error = images, error

    def __iter__(self) -> Iterator[VideoFrame]:
        yield from (VideoFrame(index, index / 10, image) for index, image in enumerate(self._images))
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


CUT_SHORT = VideoError("made: the file is cut short")
