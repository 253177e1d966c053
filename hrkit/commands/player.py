"""A video, camera or stream with its people drawn as it comes: shown in a window, recorded, or both."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from attrs import define, field, frozen

from hrkit.drawing.annotators import draw_status
from hrkit.drawing.overlay import Drawing
from hrkit.images import write_image
from hrkit.profiling import section
from hrkit.structures import Frame, Poses
from hrkit.tracking.follower import Follower, followed_frames
from hrkit.video.files import FrameSource, VideoFrame
from hrkit.video.prefetch import in_background
from hrkit.video.sinks import Sink, WindowSink

RATE_FRAMES = 30
"""How many frames the rate that is shown is a mean of."""


@frozen
class Played:
    """What was played."""

    frames: int
    people: int
    """Of all frames."""
    ids: int
    """How many different people they were taken for."""
    dropped: int
    """Frames of a live source that were too many."""
    seconds: float


@define
class _Meter:
    """How fast it goes."""

    _times: deque[float] = field(factory=lambda: deque(maxlen=RATE_FRAMES + 1))

    def tick(self, now: float) -> float:
        """Counts a frame; frames a second by now."""
        self._times.append(now)
        passed = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / passed if passed > 0 else 0.0


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
    """Draws on every frame of the source, hands it to `sink`, and shows it in `window` with its rate.

    A file is shown no faster than it was taken, also after it was slow. Keys in the window: q or Esc ends, space
    pauses, s writes what is shown to the folder `snapshots`, h turns heatmaps on and off, b boxes. Ends with the
    source; raises what that raises. `clock` tells seconds.
    """
    meter = _Meter()
    begun = started = clock()
    frames = people = 0
    ids: set[int] = set()

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
            ids |= {number for number in ([] if poses.track_ids is None else poses.track_ids.tolist()) if number >= 0}
            if window is None:
                continue
            rate = meter.tick(clock())
            lost = f", {source.dropped} dropped" if source.info.live else ""
            status = f"{rate:.1f} fps, {len(poses)} {'person' if len(poses) == 1 else 'people'}{lost}"
            early = 0.0 if source.info.live else frame.time - (clock() - started)
            window.write(draw_status(image, status), frame.time, wait=max(0.0, early))
            if not _obey(window, drawing, image, snapshots / f"snapshot_{frame.index:06d}.png"):
                break
            started = max(started, clock() - frame.time)
            follower.heatmaps = drawing.heatmaps
    return Played(frames, people, len(ids), source.dropped, clock() - begun)


def _obey(window: WindowSink, drawing: Drawing, image: Frame, snapshot: Path) -> bool:
    """Does what keys say, and waits while it is paused; whether to go on."""
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
