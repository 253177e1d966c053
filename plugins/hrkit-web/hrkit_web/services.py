"""What the routes share: the networks, the stored results and the capacities."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import anyio.to_thread
from attrs import define, field
from starlette.requests import HTTPConnection

from hrkit.runtimes.allocator import return_freed_memory
from hrkit_web.errors import BusyError
from hrkit_web.files.results import ResultStore
from hrkit_web.metrics import Metrics
from hrkit_web.networks.batching import Batcher, SharedPipeline
from hrkit_web.networks.models import Models
from hrkit_web.payloads import Choice
from hrkit_web.settings import Limits

if TYPE_CHECKING:
    from hrkit.pipeline import Pipeline

SWEEP_SECONDS = 10.0

CLOSE_SECONDS = 10.0
"""Time for cameras and videos to end when the server stops."""

DECODERS = 4
"""Photos decoded at one time."""


class Capacity:
    """Limits what may be in use at one time."""

    def __init__(self, total: int, refusal: str) -> None:
        self._total, self._refusal = total, refusal
        self.taken = 0
        self.used = False
        """Whether any was taken since this was set to False."""

    @contextlib.contextmanager
    def take(self, amount: int = 1) -> Iterator[None]:
        """Takes an amount for the block. Raises `BusyError` if less is free."""
        if self.taken + amount > self._total:
            raise BusyError(self._refusal)
        self.taken += amount
        self.used = True
        try:
            yield
        finally:
            self.taken -= amount


@define(eq=False)
class Services:
    """Created when the server starts and closed when it stops."""

    limits: Limits
    models: Models
    metrics: Metrics
    batcher: Batcher
    results: ResultStore
    memory: Capacity
    """Bytes for decoded photos."""
    cameras: Capacity
    videos: Capacity
    decoders: anyio.CapacityLimiter = field(factory=lambda: anyio.CapacityLimiter(DECODERS))

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, limits: Limits, models: Models, batcher: Batcher, metrics: Metrics
    ) -> AsyncIterator[Services]:
        """The services, for the block."""
        services = cls(
            limits,
            models,
            metrics,
            batcher,
            ResultStore(most=limits.results, seconds=limits.result_seconds),
            Capacity(limits.decoded_bytes, "too many pictures at once; try again in a second"),
            Capacity(limits.live, f"this server takes {limits.live} cameras at one time; try again later"),
            Capacity(limits.videos, f"this server takes {limits.videos} videos at one time; try again later"),
        )
        sweeping = asyncio.create_task(services._sweep())
        try:
            yield services
        finally:
            sweeping.cancel()
            models.close()
            await anyio.to_thread.run_sync(services.batcher.close)
            with anyio.move_on_after(CLOSE_SECONDS):  # their threads end as they get no more answers
                while services.cameras.taken or services.videos.taken:
                    await asyncio.sleep(0.02)
            services.results.close()

    async def pipeline(self, choice: Choice) -> Pipeline:
        """The pipeline of a choice.

        Raises `RefusedError`, with 503 if its weights do not load within the time for an answer.
        """
        try:
            return await asyncio.wait_for(self.models.get(choice.backbone, choice.detector), self.limits.answer_seconds)
        except (asyncio.TimeoutError, TimeoutError):
            raise BusyError("the weights are still being loaded; try again later") from None

    async def shared(self, choice: Choice) -> SharedPipeline:
        """The pipeline of a choice, for one video or camera."""
        pipeline = await self.pipeline(choice)
        return SharedPipeline(self.batcher, pipeline, threshold=choice.threshold, most_people=self.limits.people)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await anyio.to_thread.run_sync(self.results.sweep)
            if self.memory.used and not self.memory.taken:
                self.memory.used = False
                await anyio.to_thread.run_sync(return_freed_memory)


def services_of(connection: HTTPConnection) -> Services:
    """The services of the app that handles a request."""
    services: Services = connection.app.state.services
    return services
