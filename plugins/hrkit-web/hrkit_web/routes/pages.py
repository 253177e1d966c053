"""The files of the page. They are read once, so that no request reaches the file system."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

FILES = {
    file.name: file.read_bytes()
    for file in resources.files("hrkit_web").joinpath("static").iterdir()
    if file.name.rpartition(".")[2] in TYPES
}


@router.get("/")
def index() -> Response:
    """The page."""
    return _file("index.html")


@router.get("/docs")
def docs() -> Response:
    """The documentation of the API."""
    return _file("docs.html")


@router.get("/static/{name}")
def static(name: str) -> Response:
    """A file of the page."""
    return _file(name)


def _file(name: str) -> Response:
    if name not in FILES:
        raise HTTPException(404)
    return Response(FILES[name], media_type=TYPES[name.rpartition(".")[2]], headers={"cache-control": "no-cache"})
