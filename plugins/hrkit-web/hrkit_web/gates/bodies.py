"""Limits the size of request bodies, and how slowly a body may arrive or an answer be read."""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hrkit_web.gates.access import refuse
from hrkit_web.settings import Limits

ENVELOPE = 16_384
"""Bytes that a form may add to its upload."""

CLOSE = {"connection": "close"}

LOG = logging.getLogger("hrkit_web")


class Bodies:
    """Answers 413 if a body is too large, whether or not its length is announced, and 408 if it arrives too slowly.

    Only the addresses of uploads take a body. A caller who hangs up, or does not read the answer, costs a line of log.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limits, most, headers = self.limits, self._most(scope), Headers(scope=scope)
        announced = headers.get("content-length", "0")
        unannounced = "transfer-encoding" in headers and not most
        if unannounced or not announced.isdecimal() or int(announced) > most:
            await refuse(413, _too_large(most))(scope, receive, send)
            return
        began, seen, whole = time.monotonic(), 0, False

        async def checked() -> Message:
            nonlocal seen, whole
            if whole:  # the next message says that the caller has gone
                return await receive()
            left = began + limits.body_seconds + seen / limits.body_rate - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, min(limits.pause_seconds, left)))
            except (asyncio.TimeoutError, TimeoutError):
                raise HTTPException(408, "the body arrives too slowly", CLOSE) from None
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if seen > most:
                raise HTTPException(413, _too_large(most), CLOSE)
            return message

        async def patient(message: Message) -> None:
            try:
                await asyncio.wait_for(send(message), limits.pause_seconds)
            except (asyncio.TimeoutError, TimeoutError):
                raise ClientDisconnect from None

        try:
            await self.app(scope, checked, patient)
        except (ClientDisconnect, asyncio.CancelledError) as error:  # cancelled: the server ends and waits no longer
            address = (scope.get("client") or ("somebody",))[0]
            what = "hung up during" if isinstance(error, ClientDisconnect) else "gets no answer any more to"
            LOG.warning("%s %s %s %r", address, what, scope["method"], scope["path"])

    def _most(self, scope: Scope) -> int:
        """Largest body in bytes."""
        uploads = {"/v1/poses": self.limits.photo_bytes, "/v1/videos": self.limits.video_bytes}
        upload = uploads.get(scope["path"]) if scope["method"] == "POST" else None
        return 0 if upload is None else upload + ENVELOPE


def _too_large(most: int) -> str:
    return f"too large; this server accepts at most {most:,} bytes" if most else "this address takes no body"
