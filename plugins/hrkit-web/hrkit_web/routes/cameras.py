"""`/v1/live`: camera frames over a WebSocket. Of frames that arrive too fast only the newest is answered."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import threading
import time
from collections import deque
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from hrkit.errors import HrkitError
from hrkit.structures import Poses
from hrkit.tracking.follower import Follower
from hrkit.video.files import SourceInfo, VideoFrame
from hrkit_web.errors import RefusedError
from hrkit_web.files.images import decode, open_photo
from hrkit_web.files.recording import Recording
from hrkit_web.gates.access import SUBPROTOCOL
from hrkit_web.networks.batching import SharedPipeline
from hrkit_web.payloads import LiveChoice, frame_out, skeleton_out
from hrkit_web.services import Services, services_of

router = APIRouter()

REFUSED, BAD_MESSAGE, TRY_LATER = 1008, 1003, 1013
"""WebSocket close codes (RFC 6455, section 7.4.1, and its IANA registry)."""


class Inbox:
    """Holds the newest frame that has not been processed yet."""

    def __init__(self) -> None:
        self.dropped = 0
        self._count = 0
        self._newest: tuple[int, float, bytes] | None = None
        self._arrived = asyncio.Event()

    def put(self, data: bytes, now: float) -> None:
        """Takes a frame, which replaces one that waits."""
        self.dropped += self._newest is not None
        self._newest = (self._count, now, data)
        self._count += 1
        self._arrived.set()

    async def get(self) -> tuple[int, float, bytes]:
        """Waits for a frame; returns its number, counted from 0, its time of arrival and its data."""
        await self._arrived.wait()
        newest, self._newest = self._newest, None
        self._arrived.clear()
        assert newest is not None
        return newest


@router.websocket("/v1/live")
async def live(socket: WebSocket, choice: Annotated[LiveChoice, Query()]) -> None:
    """Each binary message is a JPEG. Each answer is for the newest one; `frame` is its number, counted from 0.

    `{"record": true}` starts a recording with the next frame. `{"record": false}` stops it after the next frame, and is
    answered with the addresses of the files.
    """
    services = services_of(socket)
    offered = "sec-websocket-protocol" in socket.headers
    await socket.accept(subprotocol=SUBPROTOCOL if offered else None)
    try:
        with services.cameras.take():
            session = _Session(services, await services.shared(choice), choice)
            try:
                await _talk(socket, session, services.limits.live_pause_seconds)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(session.close)
    except WebSocketDisconnect:
        pass
    except HrkitError as error:
        status = getattr(error, "status", 400)
        await _end(socket, TRY_LATER if status == 503 else BAD_MESSAGE, str(error))
    except (asyncio.TimeoutError, TimeoutError):
        await _end(socket, REFUSED, "no frame arrived, or no answer was read, for too long")


async def _talk(socket: WebSocket, session: _Session, pause: float) -> None:
    """Receives and answers frames until one of the two ends, and raises the reason."""
    limits, inbox = session.services.limits, Inbox()

    async def say(event: dict[str, object]) -> None:
        await asyncio.wait_for(socket.send_text(json.dumps(event, separators=(",", ":"))), limits.pause_seconds)

    async def listen() -> None:
        while True:
            message = await asyncio.wait_for(socket.receive(), pause)
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            if message.get("bytes") is not None:
                inbox.put(message["bytes"], time.monotonic())
            else:
                session.commands.append(_record_wanted(message.get("text") or ""))

    async def answer() -> None:
        while True:
            number, when, data = await inbox.get()
            for event in await anyio.to_thread.run_sync(session.step, number, when, data):
                await say({**event, "dropped": inbox.dropped})

    await say({"type": "hello", "skeleton": skeleton_out(session.pipeline.skeleton)})
    tasks = [asyncio.create_task(listen()), asyncio.create_task(answer())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        session.services.metrics.dropped.inc(inbox.dropped)


def _record_wanted(text: str) -> bool:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("record"), bool):
        raise RefusedError(400, 'a message must be a JPEG, {"record": true} or {"record": false}')
    return message["record"]


async def _end(socket: WebSocket, code: int, reason: str) -> None:
    with contextlib.suppress(RuntimeError, OSError, WebSocketDisconnect):
        if socket.application_state is WebSocketState.CONNECTED:
            await socket.send_text(json.dumps({"type": "error", "detail": reason}))
            await socket.close(code)


class _Session:
    """One camera: its `Follower` and its recording."""

    def __init__(self, services: Services, pipeline: SharedPipeline, choice: LiveChoice) -> None:
        self.services, self.pipeline = services, pipeline
        self.commands: deque[bool] = deque(maxlen=100)
        """Requests to start (True) or stop (False) recording, which apply from the next frame."""
        self._follower = Follower(pipeline, smoothing=choice.smoothing, detect_every=choice.detect_every)
        self._began: float | None = None
        self._recording: Recording | None = None
        self._recorded_from = 0.0
        self._stack = contextlib.ExitStack()
        self._lock = threading.Lock()

    def step(self, number: int, when: float, data: bytes) -> list[dict[str, object]]:
        """The messages that answer the next frame."""
        with self._lock:
            return self._step(number, when, data)

    def close(self) -> None:
        """Discards an unfinished recording, once a step in another thread has ended."""
        with self._lock:
            self._stack.close()

    def _step(self, number: int, when: float, data: bytes) -> list[dict[str, object]]:
        limits = self.services.limits
        if self._began is None:
            self._began = when
        image = decode(open_photo(io.BytesIO(data), limits.frame_pixels))
        frame = VideoFrame(number, when - self._began, image)
        (poses,) = self._follower.step([frame])
        self.services.metrics.frames.labels("camera").inc()
        self.services.metrics.people.inc(len(poses))
        height, width = image.shape[:2]
        events = [{**frame_out(number, frame.time, poses), "width": width, "height": height}]
        commands = [self.commands.popleft() for _ in range(len(self.commands))]
        if self._recording is not None or True in commands:
            self._record(frame, poses)
        full = self._recording is not None and self._recording.frames >= limits.video_frames
        if full or (commands and not commands[-1]):
            events.append({"type": "recorded", "results": self._finish()})
        return events

    def _record(self, frame: VideoFrame, poses: Poses) -> None:
        height, width = frame.image.shape[:2]
        if self._recording is None:
            folder = self._stack.enter_context(self.services.results.workspace())
            info = SourceInfo("camera", width, height, live=True)
            self._recording = self._stack.enter_context(Recording(folder, self.pipeline.skeleton, info, annotate=True))
            self._recorded_from = frame.time
        index, since = self._recording.frames, frame.time - self._recorded_from
        self._recording.write(VideoFrame(index, since, frame.image), poses)

    def _finish(self) -> dict[str, object] | None:
        """The addresses of the files; None if nothing was recorded."""
        recording, self._recording = self._recording, None
        try:
            return None if recording is None else self.services.results.keep(recording.finish())
        finally:
            self._stack.close()
