"""Extraction of one video to a keypoint file: resumable, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from hrkit.errors import VideoError
from hrkit.extraction.formats import check_format, write_keypoints
from hrkit.extraction.part_file import PartFile, part_path
from hrkit.pipeline import Pipeline
from hrkit.profiling import section
from hrkit.tracking.follower import Follower, followed_frames
from hrkit.video.files import FrameSource, SourceInfo

STATE_FRAMES = 64
"""About how many frames are lost if the process is killed: a state is saved this often."""

Progress = Callable[[int, int], None]
"""Called at the start and after each step, with the frames done so far and the people found in the step."""


@frozen
class Extracted:
    """Counts of a finished extraction."""

    frames: int
    """Frames in the file, including those of earlier runs."""
    people: int
    """Rows that this run added."""


def keypoint_meta(info: SourceInfo, pipeline: Pipeline, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What readers of a keypoint file need: facts about the source, the joints, and the `settings` of the run."""
    skeleton = pipeline.skeleton
    return {
        "source": info.name,
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
        "skeleton": skeleton.name,
        "keypoint_names": skeleton.keypoint_names,
        "edges": skeleton.edges,
        "pipeline": repr(pipeline),
        **settings,
    }


def extract(
    follower: Follower,
    source: FrameSource,
    output: Path,
    meta: Mapping[str, Any],
    *,
    format: str | None = None,
    resume: bool = False,
    max_frames: int | None = None,
    progress: Progress | None = None,
) -> Extracted:
    """Writes the people of each frame of `source` to `output`, in `format` or the format of its ending.

    Rows go to `FILE.part.jsonl` as soon as they are known; the file is made from them at the end. `meta` holds what the
    rows depend on, as plain values, and needs `keypoint_names`. With `resume` an interrupted run is continued and ends
    with the same rows. If the source fails, or if a live one is interrupted, the file holds all frames until then and
    the error is raised.

    Raises `VideoError` for a source that cannot be read to its end. Raises `HrkitError` for an output that cannot be
    written, for a part file that exists without `resume`, and for one of another run.
    """
    check_format(output, format)
    part = part_path(output)
    people = 0
    report = progress or (lambda frames, seen: None)
    stopped: BaseException | None = None
    with PartFile.resume(part, meta) if resume and part.exists() else PartFile.begin(part, meta) as rows:
        done = saved = rows.next_frame
        if rows.state is not None:
            follower.load_state_dict(rows.state)
        report(done, 0)
        try:
            for step in followed_frames(source, follower, first=done, end=max_frames):
                with section("rows"):
                    for frame, poses in step:
                        rows.write_frame(frame.index, frame.time, poses)
                    done += len(step)
                    if done - saved >= STATE_FRAMES:
                        rows.write_state(done, follower.state_dict())
                        saved = done
                seen = sum(len(poses) for _, poses in step)
                people += seen
                report(done, seen)
        except (VideoError, KeyboardInterrupt) as error:
            stopped = error
    if stopped is None or (done > 0 and (source.info.live or isinstance(stopped, VideoError))):
        write_keypoints(part, output, format)
        part.unlink()
    if stopped is not None:
        raise stopped
    return Extracted(done, people)
