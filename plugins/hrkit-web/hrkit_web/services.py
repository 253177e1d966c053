"""What the routes share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio.to_thread
from attrs import define, field
from starlette.requests import HTTPConnection

from hrkit_web.errors import BusyError
from hrkit_web.files.images import Room
from hrkit_web.files.results import ResultStore
from hrkit_web.metrics import Metrics
from hrkit_web.networks.batching import Batcher, SharedPipeline
from hrkit_web.networks.models import Models
from hrkit_web.payloads import Choice
from hrkit_web.settings import Limits

SWEEP_SECONDS = 10.0

CLOSE_SECONDS = 10.0
"""That cameras and videos have to end when the server does."""

DECODERS = 4
"""Photos that are decoded at once, beside the networks."""


class Places:
    """So many at one time."""

    def __init__(self, count: int, what: str) -> None:
        self._count, self._what = count, what
        self.taken = 0

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """A place for the block; raises `BusyError` if there is none."""
        if self.taken >= self._count:
            raise BusyError(f"{self._count} {self._what} at one time are what this server takes; try again later")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


@define(eq=False)
class Services:
    """Made when the server starts, closed when it ends."""

    limits: Limits
    models: Models
    metrics: Metrics
    batcher: Batcher
    results: ResultStore
    room: Room
    lives: Places
    videos: Places
    decoders: anyio.CapacityLimiter = field(factory=lambda: anyio.CapacityLimiter(DECODERS))

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, limits: Limits, models: Models, batcher: Batcher, metrics: Metrics
    ) -> AsyncIterator[Services]:
        """All of them, until the block ends."""
        services = cls(
            limits,
            models,
            metrics,
            batcher,
            ResultStore(most=limits.results, seconds=limits.result_seconds),
            Room(limits.decoded_bytes),
            Places(limits.live, "cameras"),
            Places(limits.videos, "videos"),
        )
        sweeping = asyncio.create_task(services._sweep())
        try:
            yield services
        finally:
            sweeping.cancel()
            models.close()
            await anyio.to_thread.run_sync(services.batcher.close)
            with anyio.move_on_after(CLOSE_SECONDS):  # their threads end now that they get no more answers
                while services.lives.taken or services.videos.taken:
                    await asyncio.sleep(0.02)
            services.results.close()

    async def pipeline(self, choice: Choice) -> Any:
        """The pipeline of a choice, within the time that an answer may take.

        Raises `RefusedError`, with 503 while weights are still on their way.
        """
        try:
            return await asyncio.wait_for(self.models.get(choice.backbone, choice.detector), self.limits.answer_seconds)
        except (asyncio.TimeoutError, TimeoutError):
            raise BusyError("the weights are still being loaded; try again in a while") from None

    async def shared(self, choice: Choice) -> SharedPipeline:
        """The same, for one video or camera."""
        pipeline = await self.pipeline(choice)
        return SharedPipeline(self.batcher, pipeline, threshold=choice.threshold, most_people=self.limits.people)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await anyio.to_thread.run_sync(self.results.sweep)


def services_of(connection: HTTPConnection) -> Services:
    """Of the app that a request came to."""
    services: Services = connection.app.state.services
    return services
