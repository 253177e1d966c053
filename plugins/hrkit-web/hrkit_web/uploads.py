"""The one file of a multipart form; its name, and whatever else the form says, is not looked at."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from hrkit_web.errors import RefusedError


@contextlib.asynccontextmanager
async def upload(request: Request, field: str) -> AsyncIterator[UploadFile]:
    """The file in `field`, for the block: of more than 1 MB it is on disk, under no name.

    Raises `RefusedError` for a body that is no such form, and what reading it raises.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise RefusedError(415, f"send a form (multipart/form-data) with a file in the field {field!r}")
    async with request.form(max_files=1, max_fields=0) as form:
        file = form.get(field)
        if not isinstance(file, UploadFile):
            raise RefusedError(422, f"there is no file in the field {field!r}")
        yield file


def form_schema(field: str, description: str) -> dict[str, Any]:
    """What OpenAPI shall say of such a form."""
    file = {"type": "string", "format": "binary", "description": description}
    schema = {"type": "object", "required": [field], "properties": {field: file}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
