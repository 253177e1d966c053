"""Checks the Host, Origin and token of each request and how often it comes, and adds security headers to each answer.

A page of another site can make a browser send requests here, but it cannot choose their Origin. If it points its own
domain name at this machine (DNS rebinding), it cannot choose their Host.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hrkit_web.settings import Settings

OPEN_PATHS = ("/", "/docs", "/openapi.json", "/health")
"""Paths that need no token, as they hold no secrets. The files of the page need none either."""

SUBPROTOCOL = "hrkit"
"""WebSocket subprotocol. Browsers cannot send headers with a WebSocket, so a second one has the token."""

ADDRESSES = 10_000
"""Number of callers whose request rates are remembered."""

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
    """Whether an address or name can be reached only from this machine."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def host_allowed(header: str, host: str, names: Iterable[str]) -> bool:
    """Whether a server that listens on `host` and has these `names` accepts a request with this Host header.

    IP addresses cannot be rebound, so any is accepted. A server on loopback accepts only loopback addresses.
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
    """Whether `origin` is a page of the server called `host`. The scheme may differ, as a proxy may add HTTPS."""
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
    """Token buckets, one per address, that gain `rate` tokens per second and hold twice as many."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> bool:
        """Takes a token for a request; False if none is left."""
        now = self._clock()
        left, then = self._buckets.pop(address, (2 * self._rate, now))
        left = min(2 * self._rate, left + (now - then) * self._rate)
        self._buckets[address] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > ADDRESSES:
            self._buckets.popitem(last=False)
        return left >= 1


class Guard:
    """Refuses requests before any of their body is read, and passes on the rest."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.rates = Rates(settings.limits.rate)
        self.unanswered: Counter[str] = Counter()

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

        refusal, address = self._refusal(scope), _caller(scope)
        if refusal is None:
            self.unanswered[address] += 1
            try:
                await self.app(scope, receive, with_headers)
            finally:
                self.unanswered[address] -= 1
                self.unanswered += Counter()  # drops those without any
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})  # not accepted yet: 403
        else:
            await refuse(*refusal)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """A status and a reason; None if the request may pass."""
        headers, settings, path = Headers(scope=scope), self.settings, scope["path"]
        host, origin = headers.get("host", ""), headers.get("origin")
        if not host_allowed(host, settings.host, settings.host_names):
            return 421, "this server does not accept that host name; start it with --allow-host NAME"
        if origin is not None and not same_origin(origin, host):
            return 403, "pages of other sites may not call this server"
        if path.startswith("/v1") and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "pages of other sites may not call this server"
        full = self.unanswered[_caller(scope)] >= settings.limits.connections_per_address
        if full or not self.rates.take(_caller(scope)):
            return 429, "too many requests; try again in a second"
        is_open = scope["type"] == "http" and (path in OPEN_PATHS or path.startswith("/static/"))
        if settings.token is not None and not is_open and not _shows(headers, settings.token):
            return 401, "this server needs a token: Authorization: Bearer TOKEN"
        return None


def _caller(scope: Scope) -> str:
    """The address of the caller."""
    return (scope.get("client") or ("",))[0]


def _shows(headers: Headers, token: str) -> bool:
    """Whether a request has the token, in a header or, for a WebSocket, in a subprotocol."""
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    given = [shown.strip()] if scheme.lower() == "bearer" else []
    given += [part.strip().removeprefix("token.") for part in headers.get("sec-websocket-protocol", "").split(",")]
    return any(hmac.compare_digest(one.encode(), token.encode()) for one in given)


def refuse(status: int, reason: str) -> JSONResponse:
    """An answer with the reason of a refusal. It closes the connection, so the rest of the body is not read."""
    headers = {"connection": "close"}
    if status in (429, 503):
        headers["retry-after"] = "1"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"detail": reason}, status, headers)
