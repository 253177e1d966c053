"""Metrics of the server, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()


class Metrics:
    """The metrics of one server, and the memory and time that its process uses."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = self._counter("requests", "Requests by route and status.", ("route", "status"))
        self.people = self._counter("people", "People found, in photos, frames and videos.")
        self.frames = self._counter("frames", "Frames of cameras and videos.", ("source",))
        self.dropped = self._counter("dropped_frames", "Camera frames that newer ones replaced.")
        self.seconds = self._histogram(
            "photo_seconds", "Seconds from a photo to its poses.", (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
        )
        self.batch_size = self._histogram("batch_size", "Pictures in a batch.", (1, 2, 4, 8, 16, 32))

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Adds a metric whose value is read each time the metrics are shown."""
        Gauge(f"hrkit_web_{name}", help, registry=self._registry).set_function(read)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, help: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"hrkit_web_{name}", help, labels, registry=self._registry)

    def _histogram(self, name: str, help: str, bounds: tuple[float, ...]) -> Histogram:
        return Histogram(f"hrkit_web_{name}", help, buckets=bounds, registry=self._registry)


class Counted:
    """Counts requests by the pattern of their route, as labels made of requested paths would be without limit."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500
        began = time.perf_counter()

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, seen)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status)).inc()
            if route == "/v1/poses" and status == 200:
                self.metrics.seconds.observe(time.perf_counter() - began)
