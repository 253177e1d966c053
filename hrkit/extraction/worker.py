"""From pictures and videos to a file of keypoints each, wherever it runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve

from hrkit import __version__
from hrkit.errors import HrkitError
from hrkit.extraction.formats import meta_path, write_frames
from hrkit.extraction.inputs import in_batches, is_picture
from hrkit.extraction.manifest import META, Result, reason_of, unfinished_path
from hrkit.extraction.one_video import extract, keypoint_meta
from hrkit.extraction.part_file import frame_rows, part_path, read_part
from hrkit.files import atomic_path
from hrkit.images import read_image
from hrkit.pipeline import Pipeline
from hrkit.structures import Frame, Poses
from hrkit.tracking.follower import FRAMES_AT_ONCE, Follower
from hrkit.video.files import SourceInfo, VideoFile, VideoFrame
from hrkit.video.prefetch import prefetched

if TYPE_CHECKING:
    from hrkit.extraction.many_inputs import Job



class Extractor:
    """Makes the files of a job; called with names of inputs, it gives a `Result` for each, in order.

    A file appears whole or not at all, with the same rows whoever makes it and however often. Pictures are worked on
    several at once. A video that was interrupted is gone on with; of a damaged one the frames before the damage are
    kept. Whatever goes wrong with an input is the reason in its result.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._pipeline = Pipeline.from_names(**job.model)
        self._settings = {**job.model, **job.following}
        self._unfinished = unfinished_path(job.output)
        self._follower = Follower(self._pipeline, track=False, max_people=job.following.get("max_people"))
        Follower(self._pipeline, **job.following)  # settings that make no sense are told before the work
        meta = {"hrkit": __version__, **self._meta(SourceInfo(name=job.root))}
        with atomic_path(Path(job.output, META)) as path:
            path.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")

    def __call__(self, names: Iterable[str]) -> Iterator[Result]:
        with contextlib.closing(prefetched(map(self._read, in_batches(names, FRAMES_AT_ONCE)), 1)) as batches:
            for batch, pictures in batches:
                if pictures:
                    yield from self._pictures(batch, pictures)
                else:
                    yield self._video(batch[0])

    def _meta(self, info: SourceInfo) -> dict[str, Any]:
        return keypoint_meta(info, self._pipeline, self._settings)

    def _attempt(self, folder: Path) -> Path:
        """Where a file is written first: nobody else writes there, and it is moved when it is whole."""
        return folder / f"{uuid.uuid4().hex}.{self._job.format}"

    def _read(self, names: list[str]) -> tuple[list[str], list[Frame | Exception]]:
        """A batch and its pictures, or why there are none; of a video nothing yet."""
        return names, [self._picture(name) for name in names if is_picture(name)]

    def _picture(self, name: str) -> Frame | Exception:
        try:
            return read_image(self._job.source(name))
        except Exception as error:
            return error

    def _pictures(self, names: list[str], pictures: list[Frame | Exception]) -> Iterator[Result]:
        started = time.perf_counter()
        poses = iter(self._predict([frame for frame in pictures if isinstance(frame, np.ndarray)]))
        results = [
            self._write(name, picture, next(poses)) if isinstance(picture, np.ndarray) else _failed(name, picture)
            for name, picture in zip(names, pictures, strict=True)
        ]
        seconds = round((time.perf_counter() - started) / len(names), 3)
        yield from (evolve(result, seconds=seconds) for result in results)

    def _predict(self, frames: list[Frame]) -> list[Poses | Exception]:
        """The people of each picture. Where several at once fail, as without memory for them, each is tried alone."""
        try:
            return list(self._follower.step([VideoFrame(0, 0.0, frame) for frame in frames]))
        except Exception as error:
            if len(frames) == 1:
                return [error]
            return [poses for frame in frames for poses in self._predict([frame])]

    def _write(self, name: str, frame: Frame, poses: Poses | Exception) -> Result:
        if isinstance(poses, Exception):
            return _failed(name, poses)
        height, width = frame.shape[:2]
        meta = {**self._meta(SourceInfo(Path(name).name, width, height)), "frames": 1}
        attempt = self._attempt(self._unfinished)
        try:
            write_frames([frame_rows(0, 0.0, poses)], meta, attempt, self._job.format, meta_beside=False)
            _replace(attempt, self._job.target(name))
        except (HrkitError, OSError) as error:
            return _failed(name, error)
        return Result(name, frames=1, people=len(poses))

    def _video(self, name: str) -> Result:
        started, done, people, reason = time.perf_counter(), 0, 0, ""

        def progress(frames: int, seen: int) -> None:
            nonlocal done, people
            done, people = frames, people + seen

        folder = self._unfinished / name
        attempt = self._attempt(folder)
        try:
            with VideoFile(self._job.source(name)) as source:
                meta = self._meta(source.info)
                extract(
                    Follower(self._pipeline, **self._job.following),
                    source,
                    attempt,
                    meta,
                    format=self._job.format,
                    resume=_take_over(folder, attempt, meta, os.path.getmtime(self._job.source(name))),
                    max_frames=self._job.max_frames,
                    progress=progress,
                )
        except Exception as error:
            reason = reason_of(error)
        try:
            if attempt.exists():
                _replace(attempt, self._job.target(name))
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            reason = reason or reason_of(error)
        return Result(name, reason, done, people, round(time.perf_counter() - started, 3))


def _take_over(folder: Path, attempt: Path, meta: Mapping[str, Any], changed: float) -> bool:
    """Begins an attempt with what one before it, of a process that was killed, knew of the video as it is now.

    That file is copied, for the process may live on for a while.
    """
    wanted = json.loads(json.dumps(meta))
    for left in sorted(folder.glob("*.part.jsonl"), key=lambda part: -part.stat().st_size):
        with contextlib.suppress(HrkitError, OSError):
            if left.stat().st_mtime >= changed and read_part(left)[0] == wanted:
                shutil.copyfile(left, part_path(attempt))
                return True
    return False


def _replace(attempt: Path, target: Path) -> None:
    """Moves a file, or folder, with the meta beside it to `target`, in place of what is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if meta_path(attempt).exists():
        os.replace(meta_path(attempt), meta_path(target))
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(attempt, target)


def _failed(name: str, error: Exception) -> Result:
    return Result(name, reason_of(error))
