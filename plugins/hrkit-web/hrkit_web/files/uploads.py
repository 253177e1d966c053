"""Reads the file of a multipart form. Its name and all other parts of the form are ignored."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.requests import Request

from hrkit_web.errors import RefusedError

CHARSETS = (b"utf-8", b"utf8", b"us-ascii", b"ascii", b"iso-8859-1", b"latin-1", b"latin1", b"windows-1252")
"""Accepted charsets of a form. Starlette accepts any Python codec, and some of those fail or are slow."""


@contextlib.asynccontextmanager
async def upload(request: Request, field: str) -> AsyncIterator[UploadFile]:
    """The file in `field`, for the block. Files of more than 1 MB are unnamed files on disk.

    Raises `RefusedError` if the body is not such a form, and whatever reading it raises.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise RefusedError(415, f"send a form (multipart/form-data) with a file in the field {field!r}")
    if parse_options_header(kind)[1].get(b"charset", b"utf-8").lower() not in CHARSETS:
        raise RefusedError(400, "send the form in UTF-8, or leave out its charset")
    async with request.form(max_files=1, max_fields=0) as form:
        file = form.get(field)
        if not isinstance(file, UploadFile):
            raise RefusedError(422, f"there is no file in the field {field!r}")
        yield file


def form_schema(field: str, description: str) -> dict[str, object]:
    """The description of such a form for OpenAPI."""
    file = {"type": "string", "format": "binary", "description": description}
    schema = {"type": "object", "required": [field], "properties": {field: file}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
