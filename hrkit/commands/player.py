"""The part of `hrkit demo` for videos, cameras and streams: each frame drawn, then shown, recorded, or both."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from hrkit.drawing.annotators import Drawing, draw_status
from hrkit.errors import counted
from hrkit.images import write_image
from hrkit.profiling import section
from hrkit.structures import Frame, Poses
from hrkit.tracking.follower import Follower, followed_frames
from hrkit.video.files import FrameSource, VideoFrame
from hrkit.video.prefetch import in_background
from hrkit.video.sinks import Sink, WindowSink

RATE_FRAMES = 30
"""The rate that is shown is the mean over this many frames."""


@frozen
class Played:
    """Counts of what was played."""

    frames: int
    people: int
    """Summed over all frames."""
    ids: int
    """Number of different people."""
    dropped: int
    """Frames of a live source that came too fast."""
    seconds: float


def play(
    source: FrameSource,
    follower: Follower,
    drawing: Drawing,
    sink: Sink,
    *,
    window: WindowSink | None = None,
    snapshots: Path = Path(),
    clock: Callable[[], float] = time.perf_counter,
) -> Played:
    """Draws each frame of the source, writes it to `sink`, and shows it in `window` with the rate.

    A file is shown no faster than its own rate. Keys in the window: q or Esc ends, space pauses, s saves the picture to
    the folder `snapshots`, h turns heatmaps on and off, b boxes. It ends with the source, and raises the errors of the
    source and of the sink. `clock` gives the time in seconds.
    """
    begun = started = clock()
    frames = people = 0
    ids: set[int] = set()
    times: deque[float] = deque(maxlen=RATE_FRAMES + 1)

    def drawn(item: tuple[VideoFrame, Poses]) -> tuple[VideoFrame, Poses, Frame]:
        frame, poses = item
        with section("drawing"):
            image = drawing(frame.image, poses)
        with section("writing"):
            sink.write(image, frame.time)
        return frame, poses, image

    follower.heatmaps = drawing.heatmaps
    at_once = None if window is None else 1
    found = (item for step in followed_frames(source, follower, at_once=at_once) for item in step)
    with contextlib.closing(in_background(drawn, found)) as results:
        for frame, poses, image in results:
            frames, people = frames + 1, people + len(poses)
            ids.update(() if poses.track_ids is None else poses.track_ids[poses.track_ids >= 0].tolist())
            if window is None:
                continue
            times.append(clock())
            passed = times[-1] - times[0]
            rate = (len(times) - 1) / passed if passed > 0 else 0.0
            lost = f", {source.dropped} dropped" if source.info.live else ""
            status = f"{rate:.1f} fps, {counted(len(poses), 'person', 'people')}{lost}"
            early = 0.0 if source.info.live else frame.time - (clock() - started)
            window.write(draw_status(image, status), frame.time, wait=max(0.0, early))
            if not _obey(window, drawing, image, snapshots / f"snapshot_{frame.index:06d}.png"):
                break
            started = max(started, clock() - frame.time)
            follower.heatmaps = drawing.heatmaps
    return Played(frames, people, len(ids), source.dropped, clock() - begun)


def _obey(window: WindowSink, drawing: Drawing, image: Frame, snapshot: Path) -> bool:
    """Does what the pressed keys ask for, and waits during a pause. Returns whether to go on."""
    paused = False
    while True:
        key = window.key()
        if key in ("q", "esc") or window.closed:
            return False
        if key == "space":
            paused = not paused
        elif key == "s":
            write_image(snapshot, image)
        elif key == "h":
            drawing.heatmaps = not drawing.heatmaps
        elif key == "b":
            drawing.boxes = not drawing.boxes
        if not paused:
            return True
        window.wait(0.05)
