"""What the server is told when it starts, and what it allows those who call it."""

from __future__ import annotations

from attrs import field, frozen

MEGA = 1_000_000


@frozen
class Limits:
    """How much a caller may ask for; what is beyond is refused with a status from 400 to 503."""

    photo_bytes: int = 16 * MEGA
    photo_pixels: int = 25 * MEGA
    """Read from the header, before anything is decoded; so are those of frames and videos."""
    frame_bytes: int = 2 * MEGA
    """Of one picture of a camera."""
    frame_pixels: int = 3 * MEGA
    video_bytes: int = 256 * MEGA
    video_pixels: int = 9 * MEGA
    video_frames: int = 20_000
    video_seconds: float = 1800.0
    """That one video may be worked on."""
    decoded_bytes: int = 1000 * MEGA
    """Of all photos that are decoded or wait for the networks at one time; one of `photo_pixels` has to fit."""
    people: int = 50
    """The best boxes of a picture."""
    head_seconds: float = 10.0
    """For the head of a request, from the moment the connection is made or the one before is answered."""
    pause_seconds: float = 10.0
    """In which nothing of a body comes, or nothing of an answer is taken."""
    body_seconds: float = 30.0
    """For a body, beside what one of its size needs at `body_rate`."""
    body_rate: int = 50_000
    """Bytes a second, at least."""
    answer_seconds: float = 30.0
    """That a photo may wait for its poses."""
    rate: float = 60.0
    """Requests a second and address; twice as many may come at once."""
    connections: int = 256
    live: int = 8
    """Cameras at one time."""
    live_pause_seconds: float = 30.0
    """In which no frame comes."""
    videos: int = 2
    """At one time."""
    results: int = 16
    """Sets of results that wait to be fetched; the oldest goes for a new one."""
    result_seconds: float = 600.0
    """That they wait."""


@frozen
class Settings:
    """Of one server."""

    host: str = "127.0.0.1"
    """The address it listens on."""
    host_names: tuple[str, ...] = ()
    """Names beside its addresses by which it may be called."""
    token: str | None = field(default=None, repr=False)
    """What callers must show; None on loopback only."""
    limits: Limits = Limits()
