"""Extraction of one video to a keypoint file: resumable, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from hrkit.errors import HrkitError, VideoError
from hrkit.extraction.formats import check_format
from hrkit.extraction.output import check_free, finish, is_done, open_rows
from hrkit.extraction.part_file import PartFile
from hrkit.files import reserved
from hrkit.profiling import section
from hrkit.structures import Frame
from hrkit.tracking.follower import Follower, followed_frames
from hrkit.video.files import FrameSource

STATE_FRAMES = 64
"""About how many frames are lost if the process is killed: a state is saved this often."""

Progress = Callable[[int, int], None]
"""Called at the start and after each step, with the frames done so far and the people found in the step."""


@frozen
class Extracted:
    """Counts of a finished extraction."""

    frames: int
    """Frames or photos in the file, including those of earlier runs."""
    people: int
    """Rows that this run added."""
    before: bool = False
    """Whether an earlier run had finished the file."""
    failed: Mapping[str, str] = {}
    """Photos that could not be read, with the reasons."""
    broken: int = 0
    """Frames of the source that could not be read and are left out."""
    repaired: int = 0
    """Damaged frames, of which the decoder made up parts."""

    @property
    def damage(self) -> str:
        """What was wrong with the frames of the source, in words; empty if nothing was."""
        counts = {"that could not be read and are left out": self.broken, "that are damaged": self.repaired}
        return "; ".join(f"frames {what}: {count}" for what, count in counts.items() if count)


def extract(
    follower: Follower,
    source: FrameSource,
    output: Path,
    meta: Mapping[str, Any],
    *,
    format: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    max_frames: int | None = None,
    progress: Progress | None = None,
    reopen: Callable[[], FrameSource] | None = None,
) -> Extracted:
    """Writes the people of each frame of `source` to `output`, in `format` or the format of its ending.

    Rows go to `FILE.part.jsonl` as soon as they are known; the file is made from them at the end. `meta` holds what the
    rows depend on, as plain values, and needs `keypoint_names`. With `resume` an interrupted run is continued and ends
    with the same rows, and a file that is finished is left; with `overwrite` the file is made again. If the source
    fails, or if a live one is interrupted, the file holds all frames until then and the error is raised. The format
    "crops" reads the source again at the end, with `reopen`.

    Raises `VideoError` for a source that cannot be read to its end. Raises `HrkitError` for an output that exists or
    cannot be written, that another run is writing, or that was begun or made from something else.
    """
    check_free(output, format, resume=resume, overwrite=overwrite)
    if check_format(output, format) == "crops" and reopen is None:
        raise HrkitError("crops are cut when all is known, and a camera or stream cannot be read again; name a file")
    with reserved(output):
        if is_done(output, format, meta, resume=resume):
            return Extracted(0, 0, before=True)
        with open_rows(output, meta, resume=resume, overwrite=overwrite) as rows:
            done, people, stopped = _write_rows(rows, follower, source, max_frames, progress or (lambda *_: None))
        if stopped is None or (done > 0 and (source.info.live or isinstance(stopped, VideoError))):
            images = None if reopen is None else _images(reopen)
            finish(output, format, None if images is None else lambda rows: next(images))
    if stopped is not None:
        raise stopped
    return Extracted(done, people, broken=source.broken, repaired=source.repaired)


def _write_rows(
    rows: PartFile, follower: Follower, source: FrameSource, end: int | None, report: Progress
) -> tuple[int, int, BaseException | None]:
    """Writes the rows of all frames up to `end` that are not done.

    Returns how many frames are done, how many people were found, and what ended the source early.
    """
    done = saved = rows.next_frame
    people = 0
    if rows.state is not None:
        follower.load_state_dict(rows.state)
    report(done, 0)
    try:
        for step in followed_frames(source, follower, first=done, end=end):
            with section("rows"):
                for frame, poses in step:
                    height, width = frame.image.shape[:2]
                    rows.write_frame(frame.index, frame.time, poses, size=(width, height))
                done += len(step)
                if done - saved >= STATE_FRAMES:
                    rows.write_state(done, follower.state_dict())
                    saved = done
            seen = sum(len(poses) for _, poses in step)
            people += seen
            report(done, seen)
    except (VideoError, KeyboardInterrupt) as error:
        return done, people, error
    return done, people, None


def _images(reopen: Callable[[], FrameSource]) -> Iterator[Frame]:
    """The frames of the source, which is opened again when the first is asked for."""
    with reopen() as source:
        for frame in source:
            yield frame.image
