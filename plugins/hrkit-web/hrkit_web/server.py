"""The ASGI app: its routes, the middleware around them, and the answers to errors."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import anyio.to_thread
from attrs import asdict
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from hrkit import __version__
from hrkit.errors import DownloadError, HrkitError
from hrkit_web import metrics
from hrkit_web.errors import RefusedError
from hrkit_web.files.results import MEDIA_TYPES
from hrkit_web.gates.access import Guard, refuse
from hrkit_web.gates.bodies import Bodies
from hrkit_web.networks.batching import Batcher
from hrkit_web.networks.models import Models
from hrkit_web.payloads import Refusal, colors_out
from hrkit_web.routes import cameras, pages, photos, videos
from hrkit_web.services import Services, services_of
from hrkit_web.settings import Settings

REFUSALS: dict[int | str, dict[str, object]] = {
    status: {"model": Refusal, "description": why}
    for status, why in {
        401: "The token is missing or wrong.",
        403: "The request comes from a page of another site.",
        408: "The body arrives too slowly.",
        413: "Too large, or too many pixels.",
        415: "The file format is not supported.",
        421: "The server does not accept this host name.",
        422: "A parameter or the file is invalid.",
        429: "Too many requests from this address.",
        503: "The server is busy; `Retry-After` says when to try again.",
    }.items()
}


def create_app(settings: Settings, models: Models, batcher: Batcher, counted: metrics.Metrics) -> FastAPI:
    """The ASGI app of a server that listens on `settings.host`. When it ends, it closes the models and the batcher."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Services.running(settings.limits, models, batcher, counted) as services:
            app.state.services = services
            counted.gauge("waiting", "Pictures that wait for the networks.", lambda: services.batcher.waiting)
            counted.gauge("cameras", "Connected cameras.", lambda: services.cameras.taken)
            counted.gauge("videos", "Videos in progress.", lambda: services.videos.taken)
            yield

    app = FastAPI(
        title="hrkit",
        version=__version__,
        description="People and their keypoints in photos, videos and, over the WebSocket `/v1/live`, camera frames.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=REFUSALS,
    )
    for part in (pages, photos, videos, cameras):
        app.include_router(part.router)
    _add_routes(app)
    app.add_exception_handler(HrkitError, _refused)
    # from the inside out
    app.add_middleware(Bodies, limits=settings.limits)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(metrics.Counted, metrics=counted)
    return app


def _add_routes(app: FastAPI) -> None:
    @app.get("/v1/models", summary="List the networks")
    async def models(request: Request) -> dict[str, object]:
        """Networks on this machine come first. The weights of the others are downloaded when they are first chosen."""
        services = services_of(request)
        backbone, detector = services.models.default
        offered = await anyio.to_thread.run_sync(services.models.offered)
        limits = services.limits
        return {
            **{kind: [asdict(model) for model in found] for kind, found in offered.items()},
            "default": {"backbone": backbone, "detector": detector},
            "colors": colors_out(),
            "limits": {"photo_bytes": limits.photo_bytes, "video_bytes": limits.video_bytes},
        }

    @app.get("/v1/results/{name}/{kind}", response_class=StreamingResponse, summary="Fetch a file of a video")
    async def result(request: Request, name: str, kind: Literal["csv", "json", "mp4"]) -> Response:
        """Each file can be fetched once, and is then deleted."""
        path = services_of(request).results.take(name, kind)
        return _Once(path, media_type=MEDIA_TYPES[kind], filename=path.name)

    @app.delete("/v1/results/{name}", status_code=204, summary="Delete the files of a video")
    async def drop(request: Request, name: str) -> None:
        """Succeeds even if the files are gone already."""
        await anyio.to_thread.run_sync(services_of(request).results.drop, name)

    @app.get("/health", summary="Check that the server runs")
    async def health() -> dict[str, str]:
        """Answers if the server runs."""
        return {"status": "ok", "version": __version__}

    @app.get("/metrics", summary="Metrics for Prometheus")
    async def prometheus(request: Request) -> Response:
        """Metrics in Prometheus' text format."""
        return Response(services_of(request).metrics.text(), headers={"content-type": metrics.CONTENT_TYPE})


class _Once(FileResponse):
    """A file that is deleted once sending ends. It is sent whole, as no second request could fetch the rest."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del self.headers["accept-ranges"]
        whole = [(name, value) for name, value in scope["headers"] if name not in (b"range", b"if-range")]
        try:
            await super().__call__({**scope, "headers": whole}, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, RefusedError):
        return refuse(error.status, str(error))
    return refuse(503 if isinstance(error, DownloadError) else 422, str(error))
