"""`POST /v1/poses`: the people in a photo."""

from __future__ import annotations

import asyncio
import io
from typing import Annotated

import anyio.to_thread
import PIL.Image
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from hrkit.drawing.annotators import Drawing
from hrkit.structures import Frame, Poses
from hrkit.video.files import SourceInfo, VideoFrame
from hrkit_web.errors import BusyError
from hrkit_web.files.images import PIXEL_BYTES, decode, open_photo
from hrkit_web.files.recording import Recording
from hrkit_web.files.results import MEDIA_TYPES
from hrkit_web.files.uploads import form_schema, upload
from hrkit_web.networks.batching import Job
from hrkit_web.payloads import PhotoChoice, PosesOut, skeleton_out
from hrkit_web.services import Services, services_of

router = APIRouter()


@router.post(
    "/v1/poses",
    response_model=PosesOut,
    openapi_extra=form_schema("image", "A JPEG, PNG or WebP."),
    summary="Find the people in a photo",
)
async def poses(request: Request, choice: Annotated[PhotoChoice, Query()]) -> Response:
    """Finds people and their keypoints, in pixels of the upright picture.

    Photos that arrive at the same time go through the networks together.
    """
    services = services_of(request)
    pipeline = await services.pipeline(choice)
    async with upload(request, "image") as file:
        picture = await anyio.to_thread.run_sync(  # a hostile header takes seconds
            open_photo, file.file, services.limits.photo_pixels, limiter=services.decoders
        )
        with services.memory.take((file.size or 0) + PIXEL_BYTES * picture.width * picture.height):
            frame = await anyio.to_thread.run_sync(decode, picture, limiter=services.decoders)
            job = Job(pipeline, frame, threshold=choice.threshold, most_people=services.limits.people)
            found = await _answer(services, job)
            services.metrics.people.inc(len(found))
            if choice.format == "json":
                return JSONResponse(_poses_out(frame, found))
            make = _csv if choice.format == "csv" else _jpeg
            return await anyio.to_thread.run_sync(make, services, frame, found, limiter=services.decoders)


async def _answer(services: Services, job: Job) -> Poses:
    (answer,) = services.batcher.submit(job)
    try:
        found: Poses = await asyncio.wait_for(asyncio.wrap_future(answer), services.limits.answer_seconds)
    except (asyncio.TimeoutError, TimeoutError):
        raise BusyError("the networks are busy; try again later") from None
    return found


def _poses_out(frame: Frame, found: Poses) -> dict[str, object]:
    height, width = frame.shape[:2]
    return {"width": width, "height": height, "skeleton": skeleton_out(found.skeleton), "people": found.to_dict()}


def _csv(services: Services, frame: Frame, found: Poses) -> Response:
    height, width = frame.shape[:2]
    with services.results.workspace() as folder:
        with Recording(folder, found.skeleton, SourceInfo("photo", width, height), annotate=False) as recording:
            recording.write(VideoFrame(0, 0.0, frame), found)
            table = recording.finish()[0]
        return Response(table.read_bytes(), media_type=MEDIA_TYPES["csv"])


def _jpeg(services: Services, frame: Frame, found: Poses) -> Response:
    file = io.BytesIO()
    PIL.Image.fromarray(Drawing(boxes=False)(frame, found)[:, :, ::-1]).save(file, "JPEG", quality=92)
    return Response(file.getvalue(), media_type="image/jpeg")
