"""Who may call: the Host and Origin of a request, its token, and how often; the headers of every answer.

A page of another site can make a browser send requests here. It cannot choose their Origin, and where it points a name
of its own at this machine (DNS rebinding) it cannot choose their Host.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hrkit_web.settings import Settings

OPEN_PATHS = ("/", "/docs", "/openapi.json", "/health")
"""What needs no token, beside the files of the page: they hold no secrets."""

SUBPROTOCOL = "hrkit"
"""Of the WebSocket. Browsers cannot send headers with one, so that the token comes as a second one, `token.TEXT`."""

ADDRESSES = 10_000
"""Whose rates are remembered."""

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own, which no other machine reaches."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def host_allowed(header: str, host: str, names: Iterable[str]) -> bool:
    """Whether a request with this Host may be meant for a server on the address `host` that has these names.

    Addresses cannot be rebound, so that any will do, except where only loopback can have brought it here.
    """
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]/@\s]+)(:\d{1,5})?", header)
    if match is None:
        return False
    called = match[1].strip("[]").lower()
    if called in {"localhost", host.lower(), *(name.lower() for name in names)}:
        return True
    address = _address(called)
    return address is not None and (address.is_loopback or not is_loopback(host))


def same_origin(origin: str, host: str) -> bool:
    """Whether a page of `origin` is one that the server called `host` has sent; the scheme is a proxy's affair."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


class Rates:
    """A bucket an address, from which each request takes one; `rate` flow in each second, up to twice that."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> bool:
        """Whether there was one left."""
        now = self._clock()
        left, then = self._buckets.pop(address, (2 * self._rate, now))
        left = min(2 * self._rate, left + (now - then) * self._rate)
        self._buckets[address] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > ADDRESSES:
            self._buckets.popitem(last=False)
        return left >= 1


class Guard:
    """Refuses what may not come in, before any of its body is read; the innermost app sees the rest."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.rates = Rates(settings.limits.rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, with_headers)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})  # before it is accepted: 403
        else:
            await refuse(*refusal)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """A status and what to say; None where nothing is wrong."""
        headers, settings, path = Headers(scope=scope), self.settings, scope["path"]
        host, origin = headers.get("host", ""), headers.get("origin")
        if not host_allowed(host, settings.host, settings.host_names):
            return 421, "this server does not go by that name; start it with --allow-host NAME"
        if origin is not None and not same_origin(origin, host):
            return 403, "pages of other sites may not call this server"
        if path.startswith("/v1") and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "pages of other sites may not call this server"
        if not self.rates.take((scope.get("client") or ("",))[0]):
            return 429, "too many requests; try again in a second"
        is_open = scope["type"] == "http" and (path in OPEN_PATHS or path.startswith("/static/"))
        if settings.token is not None and not is_open and not _shows(headers, settings.token):
            return 401, "a token is wanted: Authorization: Bearer TOKEN"
        return None


def _shows(headers: Headers, token: str) -> bool:
    """Whether a request has the token, as header or, of a WebSocket, as subprotocol."""
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    given = [shown.strip()] if scheme.lower() == "bearer" else []
    given += [part.strip().removeprefix("token.") for part in headers.get("sec-websocket-protocol", "").split(",")]
    return any(hmac.compare_digest(one.encode(), token.encode()) for one in given)


def refuse(status: int, reason: str) -> JSONResponse:
    """An answer that says why not, after which the connection is closed: what is left of the body is not read."""
    headers: dict[str, Any] = {"connection": "close"}
    if status in (429, 503):
        headers["retry-after"] = "1"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"detail": reason}, status, headers)
