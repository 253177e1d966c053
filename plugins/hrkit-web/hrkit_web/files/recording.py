"""Writes poses to CSV and JSON files, and frames with the poses drawn to a video."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType

from hrkit.drawing.annotators import Drawing
from hrkit.extraction.formats import write_keypoints
from hrkit.extraction.part_file import PartFile
from hrkit.structures import Poses, Skeleton
from hrkit.video.files import SourceInfo, VideoFrame
from hrkit.video.sinks import NoSink, Sink, open_sink

TABLES = ("csv", "json")


class Recording:
    """The files of a photo, video or camera, written to `folder`; a context manager."""

    def __init__(self, folder: Path, skeleton: Skeleton, info: SourceInfo, *, annotate: bool) -> None:
        self.frames = 0
        self._folder = folder
        self._part = folder / "poses.part.jsonl"
        self._video = folder / "poses.mp4"
        meta = {
            "width": info.width,
            "height": info.height,
            "fps": info.fps,
            "skeleton": skeleton.name,
            "keypoint_names": skeleton.keypoint_names,
            "edges": skeleton.edges,
        }
        self._drawing = Drawing(color_by="person", boxes=False)
        with contextlib.ExitStack() as stack:
            self._rows = stack.enter_context(PartFile.begin(self._part, meta))
            fps, sound = (None if info.live else info.fps), info.audio_from
            self._sink: Sink = open_sink(self._video if annotate else None, fps=fps, audio_from=sound)
            stack.enter_context(self._sink)
            self._stack = stack.pop_all()

    def write(self, frame: VideoFrame, poses: Poses) -> None:
        """Adds a frame. In the drawn video all have the size of the first."""
        self._rows.write_frame(frame.index, frame.time, poses)
        if not isinstance(self._sink, NoSink):
            self._sink.write(self._drawing(frame.image, poses), frame.time)
        self.frames += 1

    def finish(self) -> list[Path]:
        """Closes the recording and returns its files, whose suffixes are their kinds."""
        self.close()
        tables = [self._folder / f"poses.{kind}" for kind in TABLES]
        for table in tables:
            write_keypoints(self._part, table)
        return [*tables, self._video] if self._video.exists() else tables

    def close(self) -> None:
        """Closes the files."""
        self._stack.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
