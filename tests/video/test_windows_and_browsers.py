"""A browser plays what was written, and a window shows frames and tells keys; without a display it says so."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import queue
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from hrkit.errors import VideoError
from hrkit.video.sinks import Mp4Sink, WindowSink
from recorded_videos import COLORS, sine, stripes

# browsers


PAGE = """<!DOCTYPE html><video muted autoplay src="a.mp4"></video><script>
const video = document.querySelector("video"), times = [];
const tell = (what) => fetch("/told", {method: "POST", body: JSON.stringify(what)});
video.onerror = () => tell({error: video.error.message});
video.onended = () => {
  const canvas = document.createElement("canvas"), width = video.videoWidth, height = video.videoHeight;
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  const pixels = [...Array(8).keys()].map((k) => context.getImageData((k + 0.5) * width / 8, height / 2, 1, 1).data);
  tell({width, height, duration: video.duration, at: video.currentTime, pixels: pixels.map((p) => [...p])});
};
</script>"""


@contextlib.contextmanager
def told_by_page(folder: Path) -> Iterator[tuple[str, queue.Queue[dict[str, object]]]]:
    """Serves a folder; what the page in it tells comes in the queue."""
    told: queue.Queue[dict[str, object]] = queue.Queue()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", told
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def child(*command: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, text=True, **options) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("sounds", [False, True])
def test_a_browser_plays_it_to_the_end_in_its_colors(tmp_path: Path, sounds: bool) -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for found in map(shutil.which, names) if found), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(names)} is installed")
    source = sine(tmp_path / "a.wav", "pcm_s16le") if sounds else None
    with Mp4Sink(tmp_path / "a.mp4", fps=25, audio_from=source) as sink:
        for k in range(25):
            sink.write(stripes(179, 319), k / 25)
    (tmp_path / "page.html").write_text(PAGE)
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required")
    with (
        told_by_page(tmp_path) as (address, told),
        child(
            *(browser, *options, f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0"),
            f"{address}/page.html",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ),
    ):
        seen = told.get(timeout=120)
    assert (seen.get("error"), seen["width"], seen["height"]) == (None, 320, 180)
    assert seen["duration"] == pytest.approx(1, abs=1e-3)
    assert seen["at"] == pytest.approx(1, abs=0.05)
    pixels = np.array(seen["pixels"])[:, 2::-1]
    np.testing.assert_allclose(pixels, COLORS, atol=8)


# windows


SHOWS = """
import signal, numpy as np
signal.alarm(100)
from hrkit.video.sinks import WindowSink
with WindowSink("hrkit window") as window:
    keys, said = [], 0
    while not window.closed and "q" not in keys:
        window.write(np.full((120, 160, 3), (40, 160, 220), np.uint8), 0.0, wait=0.02)
        keys += [key for key in [window.key()] if key]
        if len(keys) >= said:
            said = len(keys) + 1
            print("keys", *keys, flush=True)
window.write(np.zeros((120, 160, 3), np.uint8), 1.0)
print("end", "closed" if window.closed else "open", window.key() == "", flush=True)
"""


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A display that nobody sees."""
    if not sys.platform.startswith("linux") or not shutil.which("Xvfb") or not shutil.which("xdotool"):
        pytest.skip("needs Linux with Xvfb and xdotool")
    with child(
        "Xvfb",
        "-displayfd",
        "1",
        "-noreset",
        "-screen",
        "0",
        "640x480x24",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as x:
        assert x.stdout is not None
        yield f":{x.stdout.readline().strip()}"


def xdotool(display: str, *command: str) -> str:
    environment = {**os.environ, "DISPLAY": display}
    done = subprocess.run(
        ["xdotool", *command], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


@contextlib.contextmanager
def window_on(display: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A child that shows a window, and the window's number."""
    environment = {**os.environ, "DISPLAY": display}
    with child(sys.executable, "-c", SHOWS, env=environment, stdout=subprocess.PIPE) as shows:
        assert shows.stdout is not None
        assert shows.stdout.readline() == "keys\n"
        window = xdotool(display, "search", "--sync", "--onlyvisible", "--name", "hrkit window").split()[0]
        xdotool(display, "windowfocus", "--sync", window)
        yield shows, window


@pytest.mark.slow
def test_a_window_shows_and_tells_keys(display: str) -> None:
    with window_on(display) as (shows, _):
        pressed = []
        for key, name in (("s", "s"), ("Escape", "esc"), ("space", "space"), ("H", "h"), ("q", "q")):
            xdotool(display, "key", key)
            pressed.append(name)
            assert shows.stdout.readline().split() == ["keys", *pressed]  # type: ignore[union-attr]
        assert shows.stdout.readline() == "end closed True\n"  # type: ignore[union-attr]
        assert shows.wait(60) == 0


def press_close_button(display: str, window: int) -> None:
    """Sends WM_DELETE_WINDOW, as window managers do; in the X11 protocol itself, as xdotool cannot."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(f"/tmp/.X11-unix/X{display[1:]}")

        def receive(size: int) -> bytes:
            return server.recv(size, socket.MSG_WAITALL)

        def atom(name: bytes) -> int:
            padded = name + b"\0" * (-len(name) % 4)
            server.sendall(struct.pack("<BBHHxx", 16, 0, 2 + len(padded) // 4, len(name)) + padded)
            return int(struct.unpack_from("<I", receive(32), 8)[0])

        server.sendall(struct.pack("<BxHHHHxx", ord("l"), 11, 0, 0, 0))
        receive(4 * struct.unpack_from("<H", receive(8), 6)[0])
        message = struct.pack("<BBHIII16x", 33, 32, 0, window, atom(b"WM_PROTOCOLS"), atom(b"WM_DELETE_WINDOW"))
        server.sendall(struct.pack("<BBHII", 25, 0, 11, window, 0) + message)
        atom(b"WM_PROTOCOLS")  # once this is answered the message was sent


@pytest.mark.slow
def test_a_window_that_the_user_closed(display: str) -> None:
    with window_on(display) as (shows, window):
        press_close_button(display, int(window))
        assert shows.stdout.readline() == "end closed True\n"  # type: ignore[union-attr]
        assert shows.wait(60) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there always is a display")
@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "DISPLAY is not set"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "X11 only"),
        ({"DISPLAY": ":98765"}, "':98765' does not answer"),
        ({"DISPLAY": "127.0.0.1:1.0"}, "does not answer"),
        ({"DISPLAY": "nonsense"}, "does not answer"),
    ],
)
def test_without_a_display_there_is_no_window_and_the_process_lives(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(VideoError, match=says):
        WindowSink("nowhere")


def said_on(display: str, code: str) -> str:
    """What a process of its own says; in this one PyAV may have been imported first."""
    environment = {**os.environ, "DISPLAY": display}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=120, check=True).stdout


@pytest.mark.slow
def test_a_display_that_answers_is_available(display: str) -> None:
    for name in (display, f"unix{display}.0"):
        assert said_on(name, "from hrkit.video.sinks import *; print(display_available())") == "None\n"


@pytest.mark.slow
def test_a_window_that_would_hang_as_av_came_first_is_refused_and_others_are_shown(display: str) -> None:
    code = """
import av, numpy as np
from hrkit.video.sinks import VideoError, WindowSink
try:
    with WindowSink("first") as window:
        window.write(np.zeros((9, 9, 3), np.uint8), 0.0)
        print("shown")
except VideoError as error:
    print(error)
"""
    assert said_on(display, code) in (
        "shown\n",
        "a window would hang, as av was imported before cv2; import cv2 first\n",
    )


def test_opencv_without_windows_is_told_before_a_display_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "\n  GUI:                           NONE\n")
    with pytest.raises(VideoError, match="opencv-python-headless"):
        WindowSink("nowhere")
