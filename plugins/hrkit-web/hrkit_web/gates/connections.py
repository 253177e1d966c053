"""Settings of uvicorn, and connections that close if the head of a request takes too long, or if they are too many."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from hrkit_web.settings import Limits

HEAD_BYTES = 16_384
"""Largest head of a request, with room for a token and the headers of proxies."""


def server_config(app: ASGIApp, limits: Limits, *, behind_proxy: bool = False) -> uvicorn.Config:
    """The settings of a server of `app`. With `behind_proxy`, a proxy on this machine says who the caller is.

    All connections are then those of the proxy, so they are not limited per address.
    """
    per_address = limits.connections if behind_proxy else limits.connections_per_address
    return uvicorn.Config(
        app,
        http=hasty_protocol(limits.head_seconds, per_address),
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


def hasty_protocol(seconds: float, per_address: int) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, but a connection is closed if the head of a request takes longer than `seconds`.

    So is one more than `per_address` connections of an address. uvicorn itself closes connections that stay silent
    after an answer, but not those that never finish a request.
    """
    addresses: Counter[str] = Counter()

    class HastyProtocol(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _address = ""

        def connection_made(self, transport: Any) -> None:  # Any, as in uvicorn: it reaches below asyncio
            super().connection_made(transport)
            self._address = self.client[0] if self.client else ""
            addresses[self._address] += 1
            if addresses[self._address] > per_address:
                transport.abort()
                return
            # as asyncio does for its own sockets; without it the body of an answer waits for the head's ACK
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
            addresses[self._address] -= 1
            if not addresses[self._address]:
                del addresses[self._address]

        def _watch(self) -> None:
            """Runs the timer while the head of a request is awaited. Bytes of the head do not restart it."""
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
