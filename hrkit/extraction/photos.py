"""Extraction of unrelated photos to one table; how pictures are read and their people found, for other modules too."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hrkit.extraction.inputs import Inputs
from hrkit.extraction.manifest import reason_of
from hrkit.extraction.one_video import Extracted, Progress
from hrkit.extraction.output import check_free, finish, is_done, open_rows
from hrkit.extraction.part_file import PartFile
from hrkit.extraction.provenance import files_record, keypoint_meta
from hrkit.files import check_outputs, reserved
from hrkit.images import read_image
from hrkit.pipeline import Pipeline
from hrkit.profiling import section
from hrkit.structures import Frame, Poses
from hrkit.tracking.follower import FRAMES_AT_ONCE, Follower
from hrkit.video.files import SourceInfo, VideoFrame
from hrkit.video.prefetch import prefetched

STATE_PHOTOS = 64
"""About how many photos are lost if the process is killed."""


def extract_photos(
    pipeline: Pipeline,
    photos: Inputs,
    output: Path,
    *,
    format: str | None = None,
    max_people: int | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Extracted:
    """Writes the people of all photos to one file, with the name and size of each photo and without ids.

    `photos` is what `find_inputs` finds. The rows are those of `pipeline(photo)`, or the `max_people` best of them. A
    photo that cannot be read does not end the run; the result and the meta of the file name it and the reason.
    `settings` are recorded in the meta. `resume` and `overwrite` are as for `extract`.

        photos = find_inputs(["holiday/"], photos=True)
        done = extract_photos(Pipeline.from_names("lite", "lite_person"), photos, Path("people.csv"))
        print(done.frames, "photos", done.people, "people", done.failed)

    Raises `HrkitError` for an output that exists or cannot be written, that is one of the photos, that another run is
    writing, or that was begun or made from something else.
    """
    check_outputs([output], [photos.root, *photos.paths])
    check_free(output, format, resume=resume, overwrite=overwrite)
    info = SourceInfo(os.path.basename(photos.root))
    own = {"max_people": max_people, **(settings or {})}
    meta = {**keypoint_meta(info, pipeline, own, files_record(photos)), "kind": "photos"}
    follower = Follower(pipeline, track=False, max_people=max_people, doubles=pipeline.doubles)
    with reserved(output):
        if is_done(output, format, meta, resume=resume):
            return Extracted(0, 0, before=True)
        with open_rows(output, meta, resume=resume, overwrite=overwrite) as rows:
            people = _write_rows(rows, follower, photos, progress or (lambda done, seen: None))
        failed = finish(output, format, lambda rows: read_image(os.path.join(photos.root, rows.file)))
    return Extracted(len(photos.names) - len(failed), people, failed=failed)


def _write_rows(rows: PartFile, follower: Follower, photos: Inputs, report: Progress) -> int:
    """Writes the rows of all photos that are not done, and returns how many people there are."""
    done = saved = rows.next_frame
    people = 0
    report(done, 0)
    for names, frames in pictures(photos.root, photos.names[done:]):
        seen = 0
        results = with_poses(follower, frames)
        with section("rows"):
            for name, result in zip(names, results, strict=True):
                if isinstance(result, Exception):
                    rows.write_problem(done, name, reason_of(result))
                else:
                    frame, poses = result
                    rows.write_frame(done, 0.0, poses, size=(frame.shape[1], frame.shape[0]), file=name)
                    seen += len(poses)
                done += 1
        people += seen
        if done - saved >= STATE_PHOTOS:
            rows.write_state(done, None)
            saved = done
        report(done, seen)
    return people


def pictures(root: str, names: Sequence[str]) -> Iterator[tuple[Sequence[str], list[Frame | Exception]]]:
    """The pictures a few at a time, read in the background; an error in the place of one that cannot be read."""
    batches = (names[start : start + FRAMES_AT_ONCE] for start in range(0, len(names), FRAMES_AT_ONCE))
    with contextlib.closing(prefetched(((batch, read_pictures(root, batch)) for batch in batches), 1)) as read:
        yield from read


def read_pictures(root: str, names: Sequence[str]) -> list[Frame | Exception]:
    """The pictures, or the errors of reading them."""
    frames: list[Frame | Exception] = []
    for name in names:
        try:
            frames.append(read_image(os.path.join(root, name)))
        except Exception as error:
            frames.append(error)
    return frames


def with_poses(follower: Follower, frames: Sequence[Frame | Exception]) -> list[tuple[Frame, Poses] | Exception]:
    """Each picture with its people, or the error of reading it or of finding them.

    If several pictures fail together, for lack of memory say, they are tried one by one.
    """
    good = [VideoFrame(0, 0.0, frame) for frame in frames if not isinstance(frame, Exception)]
    try:
        poses = iter(follower.step(good) if good else ())
    except Exception as error:
        if len(frames) == 1:
            return [error]
        poses = None  # further attempts come after the error, which holds memory of this one
    if poses is None:
        return [result for frame in frames for result in with_poses(follower, [frame])]
    return [frame if isinstance(frame, Exception) else (frame, next(poses)) for frame in frames]
