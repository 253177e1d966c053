"""From a video to a file of keypoints: resumable, in flat memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from hrkit.errors import VideoError
from hrkit.extraction.formats import check_format, write_keypoints
from hrkit.extraction.part_file import PartFile, part_path
from hrkit.profiling import section
from hrkit.tracking.follower import Follower, followed_frames
from hrkit.video.files import FrameSource, SourceInfo

if TYPE_CHECKING:
    from hrkit.pipeline import Pipeline

STATE_FRAMES = 64
"""About how many frames a kill costs: from one saved state to the next."""

Progress = Callable[[int, int], None]
"""Called at the start and after every step with the frames that are done by now, and the people seen in the step."""


@frozen
class Extracted:
    """What an extraction came to."""

    frames: int
    """In the file, those of the runs before included."""
    people: int
    """Rows that this run added."""


def keypoint_meta(info: SourceInfo, pipeline: Pipeline, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What readers of a file of keypoints should know: of the source, the joints and the `settings` of the run."""
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
    """Writes the people of every frame of `source` to `output`, in `format` or that of its ending.

    Rows go to `FILE.part.jsonl` as they come, and are made into the file at the end. `meta` is what they depend on, as
    plain values, with `keypoint_names`. With `resume` a run that was interrupted goes on from there, to the same rows.
    Where the source fails, or a live one is interrupted, the file holds all frames until then and the error is raised.

    Raises `VideoError` for a source that cannot be read to its end; `HrkitError` for an output that cannot be written,
    and for a part file that is there without `resume`, or of another run.
    """
    check_format(output, format)
    part = part_path(output)
    people = 0
    stopped: BaseException | None = None
    with PartFile.resume(part, meta) if resume and part.exists() else PartFile.begin(part, meta) as rows:
        done = saved = rows.next_frame
        if rows.state is not None:
            follower.load_state_dict(rows.state)
        if progress is not None:
            progress(done, 0)
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
                if progress is not None:
                    progress(done, seen)
        except (VideoError, KeyboardInterrupt) as error:
            stopped = error
    if stopped is None or (done > 0 and (source.info.live or isinstance(stopped, VideoError))):
        write_keypoints(part, output, format)
        part.unlink()
    if stopped is not None:
        raise stopped
    return Extracted(done, people)
