"""How uvicorn is run: connections that wait for the head of a request, but not for ever."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from hrkit_web.settings import Limits

HEAD_BYTES = 16_384
"""Of a request; tokens and headers of proxies fit well."""


def server_config(app: ASGIApp, limits: Limits, *, behind_proxy: bool = False) -> uvicorn.Config:
    """For a server of the app; a proxy on this machine is believed who the caller is, if there is to be one."""
    return uvicorn.Config(
        app,
        http=hasty_protocol(limits.head_seconds),
        h11_max_incomplete_event_size=HEAD_BYTES,
        ws_max_size=limits.frame_bytes,
        ws_per_message_deflate=False,  # JPEGs do not become smaller
        proxy_headers=behind_proxy,
        forwarded_allow_ips="127.0.0.1,::1",
        server_header=False,
        access_log=False,
        log_level="error",
        limit_concurrency=limits.connections,
        timeout_graceful_shutdown=2,
    )


def hasty_protocol(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, which closes a connection that takes longer over the head of a request.

    uvicorn itself ends connections that say nothing after an answer, but not those that never finish what they say.
    """

    class HastyProtocol(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            # asyncio does this for sockets that it made itself; else the body of an answer waits for the head's ACK
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop()

        def _watch(self) -> None:
            """The timer runs while a head is wanted: no more bytes of it wind it up again."""
            upgraded = self.transport.get_protocol() is not self
            answering = self.cycle is not None and not self.cycle.response_complete
            if upgraded or answering or self.transport.is_closing():
                self._stop()
            elif self._timer is None:
                self._timer = self.loop.call_later(seconds, self.transport.close)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return HastyProtocol
