"""`POST /v1/videos`: the people of a video, frame by frame as they are found; then files to fetch."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from hrkit.errors import HrkitError, VideoError
from hrkit.tracking.follower import Follower, followed_frames
from hrkit.video.files import VideoFile, open_container, video_stream
from hrkit_web.errors import RefusedError
from hrkit_web.files.recording import Recording
from hrkit_web.files.uploads import form_schema, upload
from hrkit_web.networks.batching import SharedPipeline
from hrkit_web.payloads import VideoChoice, frame_out, skeleton_out
from hrkit_web.services import Services, services_of

router = APIRouter()

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,ogg,asf,flv,gif,h264,hevc"
"""FFmpeg's names of what is a file of its own. Others name further files and addresses, as playlists do."""

AT_ONCE = 4
"""Frames of a video, so that photos and cameras need not wait long between them."""

NDJSON = "application/x-ndjson"


@router.post(
    "/v1/videos",
    response_class=StreamingResponse,
    responses={200: {"content": {NDJSON: {}}, "description": "A line of JSON for each event, see below."}},
    openapi_extra=form_schema("video", "An MP4, WebM, AVI or the like."),
    summary="The people of a video",
)
async def videos(request: Request, choice: Annotated[VideoChoice, Query()]) -> Response:
    """Follows people through a video and tells of each frame as soon as it is done, a line each.

    `{"type": "info", "width", "height", "fps", "frames", "skeleton"}` comes first, then for each frame
    `{"type": "frame", "frame", "time", "people"}`, and at the end `{"type": "done", "frames", "results"}` with the
    addresses of `csv`, `json` (COCO results) and, if `annotate` is set, `mp4`, each of which can be fetched once.
    A video that is damaged from somewhere on has `{"type": "error", "detail"}` before that.

    Whoever hangs up ends it, and everything is deleted.
    """
    services = services_of(request)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(services.videos.one())
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
    """Closes what it was made from, also if nobody hears it out."""

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
    """A video that is a file of its own, and of which no frame has more pixels.

    Raises `RefusedError`: 415 for anything else, 413 for more pixels.
    """
    try:
        with open_container(str(path), options={"format_whitelist": CONTAINERS}) as container:
            context = video_stream(container, "video").codec_context
            if context.width * context.height > most_pixels:
                raise RefusedError(413, f"too many pixels; at most {most_pixels / 1e6:g} million a frame")
        return VideoFile(path, max_pixels=most_pixels)
    except VideoError as error:
        raise RefusedError(415, _without_path(error, path)) from None


def _save(file: BinaryIO, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(file, target, 1 << 20)


class _Events:
    """A generator that is worked on in one thread and may be closed in another, which waits for the first."""

    def __init__(self, events: Generator[dict[str, Any], None, None]) -> None:
        self._events, self._lock = events, threading.Lock()

    def next(self) -> dict[str, Any] | None:
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
) -> Generator[dict[str, Any], None, None]:
    """What is said of a video, worked on as it is asked for."""
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
                        raise HrkitError(f"the video is too long, and was left after {recording.frames} frames")
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
