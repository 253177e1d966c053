"""A running server, and a client that speaks plain HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

PLUGIN = Path(__file__).resolve().parents[1]
BOUNDARY = "a-boundary-of-tests"

for needed in ("fastapi", "uvicorn", "websockets"):
    if importlib.util.find_spec(needed) is None:
        collect_ignore_glob = ["test_*.py"]
if importlib.util.find_spec("hrkit_web") is None:
    sys.path.insert(0, str(PLUGIN))


class Answer:
    """Status, headers (names in lower case) and body of an answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.splitlines()]


class Site:
    """A server on loopback."""

    def __init__(self, port: int, app: Any) -> None:
        self.port, self.app = port, app
        self.host = f"127.0.0.1:{port}"
        self.address = f"http://{self.host}/"

    @property
    def services(self) -> Any:
        return self.app.state.services

    def ask(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {}, encode_chunked=not isinstance(body, bytes | None))
            return Answer(connection.getresponse())

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self.ask("GET", path, headers=headers)

    def send(self, path: str, field: str, data: bytes, name: str = "a") -> Answer:
        """Posts a form with one file."""
        return self.ask("POST", path, *self.form(field, data, name))

    @staticmethod
    def form(field: str, data: bytes, name: str = "a") -> tuple[bytes, dict[str, str]]:
        """The body and headers of a form with one file."""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
        return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    def raw(self, data: bytes, wait: float = 30.0) -> bytes:
        """Sends bytes and returns all that is received until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            got = b""
            with contextlib.suppress(ConnectionError):  # closed while still sending
                connection.sendall(data)
                while part := connection.recv(65536):
                    got += part
            return got


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Pictures are so small here that more threads only slow each other down."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def synthetic() -> Any:
    """A pipeline that finds painted people exactly and needs no weights."""
    from hrkit import Pipeline

    return Pipeline.from_names("synthetic", "synthetic", weights=None, input_size=(128, 96))


@pytest.fixture(scope="session")
def serve(synthetic: Any) -> Callable[..., contextlib.AbstractContextManager[Site]]:
    """`serve(pipeline, token=..., **limits)` runs a server for a block."""

    @contextlib.contextmanager
    def serving(pipeline: Any = synthetic, *, token: str | None = None, **limits: Any) -> Iterator[Site]:
        import uvicorn
        from hrkit_web.gates.connections import server_config
        from hrkit_web.metrics import Metrics
        from hrkit_web.networks.batching import Batcher
        from hrkit_web.networks.models import Model, Models
        from hrkit_web.server import create_app
        from hrkit_web.settings import Limits, Settings

        offered = {kind: [Model("synthetic", True, 1, "none")] for kind in ("backbones", "detectors")}
        metrics = Metrics()
        batcher = Batcher(metrics)
        models = Models(batcher, lambda backbone, detector: pipeline, ("synthetic", "synthetic"), lambda: offered)
        allowed = Limits(**{"rate": 1e6, **limits})
        app = create_app(Settings(token=token, limits=allowed), models, batcher, metrics)
        listening = socket.create_server(("127.0.0.1", 0))
        config = server_config(app, allowed)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
        thread.start()
        poll(lambda: server.started)
        try:
            yield Site(listening.getsockname()[1], app)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive(), "the server does not stop"

    return serving


@pytest.fixture(scope="module")
def site(serve: Any) -> Iterator[Site]:
    """A server with the synthetic pipeline, shared by the tests of a module."""
    with serve() as one:
        yield one


def poll(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Waits until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition does not come true"
        time.sleep(0.01)


@pytest.fixture(name="poll", scope="session")
def poll_fixture() -> Callable[..., None]:
    return poll


@pytest.fixture(scope="session")
def painted() -> Any:
    """Paints two people, `shift` px to the right: a (240,320,3) BGR frame and their joints (2,17,2) in px."""
    from hrkit.synthetic import paint_people

    grid = np.array([[k % 3 / 2, k // 3 / 5] for k in range(17)])

    def paint(shift: float = 0.0) -> tuple[Any, Any]:
        people = np.stack([grid * [60, 120] + [30 + shift, 40], grid * [50, 100] + [150 + shift, 60]])
        return paint_people((240, 320), people, radius=4), people

    return paint


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """Encodes a (H,W,3) BGR frame as a file."""
    import io

    import PIL.Image

    def encode(frame: Any, format: str = "PNG", **options: Any) -> bytes:
        file = io.BytesIO()
        PIL.Image.fromarray(frame[:, :, ::-1]).save(file, format, **options)
        return file.getvalue()

    return encode


@pytest.fixture(scope="session")
def film(painted: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MP4 of 12 frames in which the painted people move to the right."""
    from hrkit.video.sinks import Mp4Sink

    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with Mp4Sink(path, fps=25) as sink:
        for index in range(12):
            sink.write(painted(2.0 * index)[0], index / 25)
    return path.read_bytes()


@pytest.fixture(scope="session")
def load_tool() -> ModuleType:
    """The module tools/load.py."""
    spec = importlib.util.spec_from_file_location("hrkit_web_load", PLUGIN / "tools" / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
