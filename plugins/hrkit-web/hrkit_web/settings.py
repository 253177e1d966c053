"""Settings of the server, and the limits of what callers may ask for."""

from __future__ import annotations

from attrs import field, frozen

MEGA = 1_000_000


@frozen
class Limits:
    """Limits of what callers may ask for. Requests beyond them are refused with a status from 400 to 503."""

    photo_bytes: int = 16 * MEGA
    photo_pixels: int = 25 * MEGA
    """Checked in the header before anything is decoded, as are the pixels of frames and videos."""
    frame_bytes: int = 2 * MEGA
    """Largest camera frame."""
    frame_pixels: int = 3 * MEGA
    video_bytes: int = 256 * MEGA
    video_pixels: int = 9 * MEGA
    video_frames: int = 20_000
    video_seconds: float = 1800.0
    """Longest time to work on one video."""
    decoded_bytes: int = 1000 * MEGA
    """Memory for all photos being decoded or waiting for the networks; one of `photo_pixels` has to fit."""
    people: int = 50
    """Most people in a picture; the best are kept."""
    head_seconds: float = 10.0
    """Time for the head of a request, from the connection or the previous answer on."""
    pause_seconds: float = 10.0
    """Longest pause in which no part of a body arrives or no part of an answer is read."""
    body_seconds: float = 30.0
    """Time for a body, in addition to what its bytes take at `body_rate`."""
    body_rate: int = 50_000
    """Slowest arrival of a body, bytes per second."""
    answer_seconds: float = 30.0
    """Longest wait of a photo for its poses."""
    rate: float = 60.0
    """Requests per second and address; twice as many may arrive at once."""
    connections: int = 256
    connections_per_address: int = 64
    """Also the most requests of one address that are not answered yet."""
    live: int = 8
    """Most cameras at one time."""
    live_pause_seconds: float = 30.0
    """Longest pause between two frames of a camera."""
    videos: int = 2
    """Most videos at one time."""
    results: int = 16
    """Most sets of results that wait to be fetched; a new set replaces the oldest."""
    result_seconds: float = 600.0
    """Longest time that results wait."""


@frozen
class Settings:
    """The settings of one server."""

    host: str = "127.0.0.1"
    """The address it listens on."""
    host_names: tuple[str, ...] = ()
    """Host names it accepts in addition to its addresses."""
    token: str | None = field(default=None, repr=False)
    """Secret that callers must send; None only on loopback."""
    limits: Limits = Limits()
