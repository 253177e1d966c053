"""`POST /v1/videos`: the people in a video, frame by frame as they are found, then files to fetch."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Annotated, BinaryIO

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from hrkit.errors import HrkitError, VideoError
from hrkit.tracking.follower import Follower, followed_frames
from hrkit.video.decoding import open_container, video_stream
from hrkit.video.files import VideoFile
from hrkit_web.errors import RefusedError
from hrkit_web.files.recording import Recording
from hrkit_web.files.uploads import form_schema, upload
from hrkit_web.networks.batching import SharedPipeline
from hrkit_web.payloads import VideoChoice, frame_out, skeleton_out
from hrkit_web.services import Services, services_of

router = APIRouter()

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,ogg,asf,flv,gif,h264,hevc"
"""FFmpeg's names of containers that hold their data. Others, such as playlists, refer to further files or addresses."""

AT_ONCE = 4
"""Frames of a video processed together; few, so that photos and cameras wait only briefly."""

NDJSON = "application/x-ndjson"


@router.post(
    "/v1/videos",
    response_class=StreamingResponse,
    responses={200: {"content": {NDJSON: {}}, "description": "One line of JSON per event, see below."}},
    openapi_extra=form_schema("video", "An MP4, WebM, AVI or similar file."),
    summary="Find the people in a video",
)
async def videos(request: Request, choice: Annotated[VideoChoice, Query()]) -> Response:
    """Follows people through a video and sends one line of JSON per event, as soon as it occurs.

    The first line is `{"type": "info", "width", "height", "fps", "frames", "skeleton"}`. Each frame follows as
    `{"type": "frame", "frame", "time", "people"}`. The last line is `{"type": "done", "frames", "results"}`, with the
    addresses of `csv`, `json` (COCO results) and, with `annotate`, `mp4`; each can be fetched once. If the video is
    damaged or too long, `{"type": "error", "detail"}` comes before the last line.

    If the caller disconnects, processing stops and all files are deleted.
    """
    services = services_of(request)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(services.videos.take())
        pipeline = await services.shared(choice)
        folder = stack.enter_context(services.results.workspace())
        path = folder / "upload"
        async with upload(request, "video") as file:
            await anyio.to_thread.run_sync(_save, file.file, path)
        source = stack.enter_context(await anyio.to_thread.run_sync(open_video, path, services.limits.video_pixels))
        events = _Events(_events(services, pipeline, source, choice, folder))
        stack.push_async_callback(anyio.to_thread.run_sync, events.close)
        return _ClosingResponse(_lines(events), stack.pop_all())


class _ClosingResponse(StreamingResponse):
    """Closes its resources at the end, even if the caller disconnects."""

    def __init__(self, lines: AsyncIterator[str], closing: contextlib.AsyncExitStack) -> None:
        super().__init__(lines, media_type=NDJSON, headers={"x-accel-buffering": "no"})
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._closing.aclose()


def open_video(path: Path, most_pixels: int) -> VideoFile:
    """Opens a video that refers to no other files.

    Raises `RefusedError`: 415 for anything else, 413 if a frame has more than `most_pixels`.
    """
    try:
        with open_container(str(path), options={"format_whitelist": CONTAINERS}) as container:
            context = video_stream(container, "video").codec_context
            if context.width * context.height > most_pixels:
                raise RefusedError(413, f"too many pixels; at most {most_pixels / 1e6:g} million per frame")
        return VideoFile(path, max_pixels=most_pixels)
    except VideoError as error:
        raise RefusedError(415, _without_path(error, path)) from None


def _save(file: BinaryIO, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(file, target, 1 << 20)


class _Events:
    """A generator that one thread advances and another may close, after waiting for the first."""

    def __init__(self, events: Generator[dict[str, object], None, None]) -> None:
        self._events, self._lock = events, threading.Lock()

    def next(self) -> dict[str, object] | None:
        with self._lock:
            return next(self._events, None)

    def close(self) -> None:
        with self._lock:
            self._events.close()


async def _lines(events: _Events) -> AsyncIterator[str]:
    while (event := await anyio.to_thread.run_sync(events.next)) is not None:
        yield json.dumps(event, separators=(",", ":")) + "\n"


def _events(
    services: Services, pipeline: SharedPipeline, source: VideoFile, choice: VideoChoice, folder: Path
) -> Generator[dict[str, object], None, None]:
    """The events of a video. Frames are processed as their events are requested."""
    limits, info, deadline = services.limits, source.info, time.monotonic() + services.limits.video_seconds
    follower = Follower(pipeline, smoothing=choice.smoothing, detect_every=choice.detect_every)
    yield {
        "type": "info",
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
        "frames": info.frames,
        "skeleton": skeleton_out(pipeline.skeleton),
    }
    at_once = 1 if follower.detect_every > 1 else AT_ONCE
    with Recording(folder, pipeline.skeleton, info, annotate=choice.annotate) as recording:
        try:
            for step in followed_frames(source, follower, at_once=at_once):
                for frame, poses in step:
                    if recording.frames >= limits.video_frames or time.monotonic() > deadline:
                        raise HrkitError(f"the video is too long; processing stopped after {recording.frames} frames")
                    recording.write(frame, poses)
                    services.metrics.frames.labels("video").inc()
                    services.metrics.people.inc(len(poses))
                    yield frame_out(frame.index, frame.time, poses)
        except HrkitError as error:
            yield {"type": "error", "detail": _without_path(error, folder / "upload")}
        if recording.frames:
            results = services.results.keep(recording.finish())
            yield {"type": "done", "frames": recording.frames, "results": results}


def _without_path(error: Exception, path: Path) -> str:
    return str(error).replace(str(path), "the video")
