"""`hrkit web`: serves the page and the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import socket

    from hrkit_web.settings import Limits, Settings


@click.command(
    "web",
    epilog="""\b
Examples:
  hrkit web
  hrkit web --backbone lite_plus --port 9000
  hrkit web --host 0.0.0.0

Other machines reach it only with --host, and then need the token, which is made and shown if none is given.""",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option("--token", envvar="HRKIT_WEB_TOKEN", help="What callers must show: 16 or more letters, digits or ._~-")
@click.option("--allow-host", "host_names", multiple=True, metavar="NAME", help="A name it is called by; repeatable.")
@click.option("--behind-proxy", is_flag=True, help="Believe a proxy on this machine who the caller is.")
@click.option("--backbone", default="lite", show_default=True, help="Pose network, until another is chosen.")
@click.option("--detector", default="lite_person", show_default=True, help='Person detector; or "none".')
@click.option("--device", default="auto", show_default=True, help="cpu, cpu,cpu, cuda:0, cuda:0,1, mps.")
@click.option("--precision", default="auto", show_default=True, help="float32, bfloat16, float16.")
@click.option("--runtime", default="auto", show_default=True, help="As of `hrkit demo`.")
@click.option("--max-upload", type=click.IntRange(1), default=256, show_default=True, help="MB of a video.")
@click.option("--max-pixels", type=click.FloatRange(0.1), default=25.0, show_default=True, help="Million, of a photo.")
@click.option("--rate", type=click.FloatRange(1), default=60.0, show_default=True, help="Requests a second and caller.")
def command(
    host: str,
    port: int,
    token: str | None,
    host_names: tuple[str, ...],
    behind_proxy: bool,
    backbone: str,
    detector: str,
    device: str,
    precision: str,
    runtime: str,
    max_upload: int,
    max_pixels: float,
    rate: float,
) -> None:
    """Serves a page for photos, videos and the camera, and an HTTP API."""
    import functools
    import socket

    import uvicorn

    from hrkit_web.gates.access import is_loopback
    from hrkit_web.gates.connections import server_config
    from hrkit_web.metrics import Metrics
    from hrkit_web.networks.batching import Batcher
    from hrkit_web.networks.models import Models, build_pipeline
    from hrkit_web.server import create_app
    from hrkit_web.settings import Settings

    listening = _listen(host, port)
    token = _token(token, host, host_names, behind_proxy=behind_proxy)
    limits = _limits(max_upload, max_pixels, rate)
    if not is_loopback(host):
        host_names = (*host_names, socket.gethostname())
    settings = Settings(host, host_names, token, limits)
    build = functools.partial(build_pipeline, device=device, precision=precision, runtime=runtime)
    metrics = Metrics()
    batcher = Batcher(metrics)
    models = Models(batcher, build, (backbone, detector))
    models.prepare()
    config = server_config(create_app(settings, models, batcher, metrics), limits, behind_proxy=behind_proxy)
    click.echo(f"{_address(settings, listening)}  (Ctrl-C ends it)")
    uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """A socket that is bound already, so that a port that is taken is told before any network is loaded."""
    import socket

    from hrkit.errors import HrkitError

    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = error.strerror or error
        raise HrkitError(f"cannot listen on {host}:{port} ({reason}); choose another --host or --port") from None


def _limits(max_upload: int, max_pixels: float, rate: float) -> Limits:
    """From MB, millions and requests a second; so much memory that one photo of the largest size can be decoded."""
    from attrs import evolve

    from hrkit_web.files.images import PIXEL_BYTES
    from hrkit_web.settings import MEGA, Limits

    usual, pixels = Limits(), round(max_pixels * MEGA)
    room = max(usual.decoded_bytes, usual.photo_bytes + PIXEL_BYTES * pixels)
    return evolve(usual, video_bytes=max_upload * MEGA, photo_pixels=pixels, decoded_bytes=room, rate=rate)


def _token(given: str | None, host: str, host_names: tuple[str, ...], *, behind_proxy: bool) -> str | None:
    """The token that is wanted; one is made where other machines may call, by way of a proxy too."""
    import re
    import secrets

    from hrkit.errors import HrkitError
    from hrkit_web.gates.access import is_loopback

    if given is not None and not re.fullmatch(r"[\w.~-]{16,}", given, re.ASCII):
        raise HrkitError("a token is 16 or more letters, digits or ._~- ; leave --token out to have one made")
    if given is None and (host_names or behind_proxy or not is_loopback(host)):
        return secrets.token_urlsafe(24)
    return given


def _address(settings: Settings, listening: socket.socket) -> str:
    """Where the page is. What stands behind # is not sent by browsers, so that no log has the token."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        import socket

        host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"#token={settings.token}" if settings.token else "")
