"""The job of an extraction, and the code that works on its inputs."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, evolve, frozen

from hrkit.errors import HrkitError
from hrkit.extraction.formats import meta_path, write_frames, write_meta
from hrkit.extraction.inputs import in_batches, is_picture
from hrkit.extraction.manifest import META, Result, read_common, reason_of, unfinished_path
from hrkit.extraction.one_video import extract
from hrkit.extraction.part_file import as_json, changed, difference, part_path, picture_rows, read_part
from hrkit.extraction.photos import read_pictures, with_poses
from hrkit.extraction.provenance import file_record, keypoint_meta, mark
from hrkit.pipeline import Pipeline
from hrkit.structures import Frame, Poses
from hrkit.tracking.follower import FRAMES_AT_ONCE, Follower
from hrkit.video.files import SourceInfo, VideoFile
from hrkit.video.prefetch import prefetched


def local(inputs: Sequence[str], job: Job) -> Iterator[Result]:
    """Makes the files one after another, in this process."""
    return job.load()(inputs)


@frozen
class Job:
    """What is made of each input. It holds plain values only, so it can be sent to another process."""

    root: str
    """Absolute path of the folder that names of inputs are relative to."""
    output: str
    """Absolute path of the folder of the keypoint files."""
    format: str
    model: Mapping[str, Any]
    """Arguments of `Pipeline.from_names`."""
    following: Mapping[str, Any]
    """Arguments of `Follower`, for videos. Pictures use `max_people` only."""
    max_frames: int | None = None
    """Frames per video; None for all."""

    def load(self) -> Callable[[Iterable[str]], Iterator[Result]]:
        """Loads the networks and returns the function that makes the files of inputs, given their names.

        Raises as `Pipeline.from_names` and `Follower` do.
        """
        return Extractor(self)

    def source(self, name: str) -> str:
        """The path of an input."""
        return os.path.join(self.root, name)

    def target(self, name: str) -> Path:
        """The file of an input: its whole name plus the format, so that no two inputs share a file."""
        return Path(self.output, f"{name}.{self.format}")

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that the content of the files depends on. The device is not part of it."""
        settings = {name: value for name, value in asdict(self).items() if name != "output"}
        return {**settings, "model": {name: value for name, value in self.model.items() if name != "device"}}


class Extractor:
    """Makes the files of a job. It is called with names of inputs and yields a `Result` for each, in order.

    A file appears whole or not at all, and its rows are the same whichever process makes it. Several pictures are
    processed at once. An interrupted video is resumed; of a damaged one, the frames before the damage are kept. If an
    input fails, its result gives the reason, and the others go on. Raises `HrkitError` if the files in the folder were
    made with other networks.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._pipeline = Pipeline.from_names(**job.model)
        self._unfinished = unfinished_path(job.output)
        self._pictures = Follower(self._pipeline, track=False, max_people=job.following.get("max_people"))
        self._follower()  # reports wrong settings before the work
        self._common = keypoint_meta(SourceInfo(name=job.root), self._pipeline, {**job.model, **job.following})
        before = read_common(job.output)
        different = before and difference(before.get("networks"), as_json(self._common)["networks"], ".networks")
        if different:
            raise HrkitError(f"{job.output} was begun with other networks: {different}; pass --overwrite to begin anew")
        write_meta(Path(job.output, META), self._common)

    def __call__(self, names: Iterable[str]) -> Iterator[Result]:
        with contextlib.closing(prefetched(map(self._read, in_batches(names, FRAMES_AT_ONCE)), 1)) as batches:
            for batch, frames in batches:
                if frames:
                    yield from self._picture_results(batch, frames)
                else:
                    yield self._video_result(batch[0])

    def _follower(self) -> Follower:
        return Follower(self._pipeline, **self._job.following)

    def _attempt(self, folder: Path) -> Path:
        """A path that no other process uses. A file is written there first and moved when it is whole."""
        return folder / f"{uuid.uuid4().hex}.{self._job.format}"

    def _read(self, names: list[str]) -> tuple[list[str], list[Frame | Exception]]:
        """A batch and its pictures, or the errors of reading them. For a video the list is empty."""
        return names, read_pictures(self._job.root, [name for name in names if is_picture(name)])

    def _picture_results(self, names: list[str], frames: list[Frame | Exception]) -> Iterator[Result]:
        started = time.perf_counter()
        found = with_poses(self._pictures, frames)
        results = [self._picture_result(name, one) for name, one in zip(names, found, strict=True)]
        seconds = round((time.perf_counter() - started) / len(names), 3)
        yield from (evolve(result, seconds=seconds) for result in results)

    def _picture_result(self, name: str, found: tuple[Frame, Poses] | Exception) -> Result:
        if isinstance(found, Exception):
            return Result(name, reason_of(found))
        frame, poses = found
        height, width = frame.shape[:2]
        attempt, source = self._attempt(self._unfinished), self._job.source(name)
        try:
            own = {"source": Path(name).name, "input": file_record(source), "width": width, "height": height}
            rows = evolve(picture_rows(poses, (width, height)), image=frame)
            meta = {**self._common, **own, "frames": 1}
            write_frames([rows], meta, attempt, self._job.format, meta_beside=False)
            _replace(attempt, self._job.target(name))
        except (HrkitError, OSError) as error:
            return Result(name, reason_of(error))
        return Result(name, frames=1, people=len(poses), mark=mark(source))

    def _video_result(self, name: str) -> Result:
        started = time.perf_counter()
        done = people = 0
        reason = known = ""

        def progress(frames: int, seen: int) -> None:
            nonlocal done, people
            done, people = frames, people + seen

        source, folder = self._job.source(name), self._unfinished / name
        attempt = self._attempt(folder)
        try:
            with VideoFile(source) as video:
                known = mark(source)
                settings = {**self._job.model, **self._job.following, "max_frames": self._job.max_frames}
                meta = keypoint_meta(video.info, self._pipeline, settings, file_record(source))
                result = extract(
                    self._follower(),
                    video,
                    attempt,
                    meta,
                    format=self._job.format,
                    resume=_take_over(folder, attempt, meta),
                    max_frames=self._job.max_frames,
                    progress=progress,
                    reopen=lambda: VideoFile(source),
                )
            if result.damage:
                reason = f"{source}: {result.damage}"
        except Exception as error:
            reason = reason_of(error)
        try:
            if attempt.exists():
                _replace(attempt, self._job.target(name))
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            reason = reason or reason_of(error)
        return Result(name, reason, done, people, round(time.perf_counter() - started, 3), known)


def _take_over(folder: Path, attempt: Path, meta: Mapping[str, Any]) -> bool:
    """Copies the rows that a killed process left of the same video, for the attempt to go on from them.

    They are copied because that process may still be alive. Rows of another video or of other settings do not count.
    Returns whether there were any.
    """
    for left in sorted(folder.glob("*.part.jsonl"), key=lambda part: -part.stat().st_size):
        with contextlib.suppress(HrkitError, OSError):
            if not changed(read_part(left)[0], meta):
                shutil.copyfile(left, part_path(attempt))
                return True
    return False


def _replace(attempt: Path, target: Path) -> None:
    """Moves a file or folder to `target`, with the meta beside it, in place of what is there.

    If `target` is a link, what it leads to is replaced. A folder takes the place of a folder only.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if meta_path(attempt).exists():
        os.replace(meta_path(attempt), meta_path(target))
    real = Path(os.path.realpath(target))
    if real.is_dir() and attempt.is_dir():
        shutil.rmtree(real)
    os.replace(attempt, real)
