"""Pictures as frames: those of a folder in order, and those of an animation or of a file with several pages."""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from hrkit.errors import ImageError, VideoError
from hrkit.files import FilePath
from hrkit.images import find_images, frame_seconds, read_frames, read_image
from hrkit.video.files import FrameSource, SourceInfo, VideoFrame

logger: logging.Logger = logging.getLogger("hrkit")


class PictureFolder(FrameSource):
    """The pictures of a folder or glob in natural order, at `fps` pictures per second.

    A picture that cannot be read is logged, left out and counted in `broken`. Raises `ImageError` if there are no
    pictures.
    """

    def __init__(self, pattern: FilePath, fps: float = 25.0) -> None:
        self._paths = sorted(find_images(pattern), key=natural_key)
        self._fps = fps
        self.broken: int = 0
        name = Path(pattern).name or os.fspath(pattern)
        self.info: SourceInfo = SourceInfo(name=name, fps=fps, frames=len(self._paths))

    def __iter__(self) -> Iterator[VideoFrame]:
        for place, path in enumerate(self._paths):
            try:
                image = read_image(path)
            except ImageError as error:
                self.broken += 1
                if self.broken == len(self._paths):
                    raise VideoError(str(error)) from None
                logger.warning("%s", error)
            else:
                yield VideoFrame(place - self.broken, place / self._fps, image)


class PictureFile(FrameSource):
    """Every frame of an animation at its time, or every page of a file at `fps` pages per second.

    Raises `ImageError` if the file cannot be read.
    """

    def __init__(self, path: FilePath, fps: float = 25.0) -> None:
        self._path = Path(path)
        self._seconds: list[float] = []
        try:
            self._seconds.extend(seconds or 1 / fps for seconds in frame_seconds(path))
        except ImageError:
            if not self._seconds:
                raise
        count = len(self._seconds)
        rate = fps if count == 1 else round(count / sum(self._seconds), 6)
        self.info: SourceInfo = SourceInfo(name=self._path.name, fps=rate, frames=count)

    def __iter__(self) -> Iterator[VideoFrame]:
        times = itertools.accumulate(self._seconds, initial=0.0)
        try:
            for index, (time, image) in enumerate(zip(times, read_frames(self._path), strict=False)):
                yield VideoFrame(index, time, image)
        except ImageError as error:
            raise VideoError(str(error)) from None


def natural_key(path: Path) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by value: frame2 before frame10."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]
