"""Small videos whose frames tell their number, and a server that streams pictures and misbehaves when told to."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

BITS = 8


def numbered(number: int, width: int = 128, height: int = 96) -> Image:
    """(H,W,3): white above, black below, and between them the bits of `number` as grey bars, the lowest left."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 3] = 255
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        image[height // 3 : 2 * height // 3, left:right] = 200 if number >> bit & 1 else 50
    return image


def number_of(image: Image) -> int:
    """What `numbered` painted. Fails on a picture that does not stand upright."""
    height, width = image.shape[:2]
    assert image[height // 6].mean() > 200
    assert image[-height // 6].mean() < 60
    row = image[height // 2].mean(1)
    return sum(int(row[round((bit + 0.5) * width / BITS)] > 125) << bit for bit in range(BITS))


def make_video(
    path: Path,
    frames: int = 12,
    *,
    codec: str = "libx264",
    rate: int = 25,
    times: Sequence[float] | None = None,
    turned: int = 0,
    sound: bool = False,
    options: dict[str, str] | None = None,
    images: Sequence[Image] | None = None,
) -> Path:
    """Writes numbered frames at `times`, seconds (default: `rate`); stored turned by a tag of `turned` degrees."""
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        pictures = [numbered(number) for number in range(frames)] if images is None else images
        stored = [np.rot90(image, -turned // 90) for image in pictures]
        stream.height, stream.width = stored[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if turned:
            stream.set_display_rotation(turned)
        voice: Any = container.add_stream("aac", rate=16000) if sound else None
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(stored):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            if times is not None:
                frame.pts, frame.time_base = round(times[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            wave = np.zeros((1, 1024 * 16), np.float32)
            tone = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            tone.sample_rate = 16000
            container.mux(voice.encode(tone))
            container.mux(voice.encode(None))
    return path


def trim(source: Path, path: Path, seconds: float) -> Path:
    """Copies a video with an edit list that leaves out its beginning, as tools that do not encode again do."""
    with (
        av.open(str(source)) as original,
        av.open(str(path), "w", options={"movflags": "faststart", "avoid_negative_ts": "disabled"}) as container,
    ):
        stream = original.streams.video[0]
        copy: Any = container.add_stream_from_template(stream)
        for packet in original.demux(stream):
            if packet.dts is not None and packet.pts is not None and packet.time_base is not None:
                offset = round(seconds / packet.time_base)
                packet.dts, packet.pts, packet.stream = packet.dts - offset, packet.pts - offset, copy
                container.mux(packet)
    return path


def jpeg(number: int) -> bytes:
    """A numbered frame as JPEG."""
    return cv2.imencode(".jpg", numbered(number))[1].tobytes()


@contextlib.contextmanager
def serve(connections: Sequence[Sequence[bytes | threading.Event]]) -> Iterator[str]:
    """The address of a camera that sends MJPEG over HTTP.

    Each connection sends the parts of its own list and ends; an event is waited for first. After the last list it
    answers 404.
    """
    waiting = list(connections)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                parts = waiting.pop(0) if waiting else None
            if parts is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with contextlib.suppress(OSError):
                for part in parts:
                    if isinstance(part, threading.Event):
                        part.wait(60)
                        continue
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(part)}\r\n\r\n"
                    self.wfile.write(head.encode() + part + b"\r\n")

        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

    with _answering(Handler) as address:
        yield f"{address}/camera.mjpg"


@contextlib.contextmanager
def serve_files(folder: Path) -> Iterator[str]:
    """The address of a server of the files of a folder."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

    with _answering(functools.partial(Handler, directory=str(folder))) as address:
        yield address


@contextlib.contextmanager
def _answering(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
