"""The command `hrkit web`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hrkit.commands.numbers import number_option
from hrkit.settings import Range

if TYPE_CHECKING:
    import socket

    from hrkit_web.settings import Limits, Settings


@click.command(
    "web",
    context_settings={"show_default": True},
    epilog="""\b
Examples:
  hrkit web
  hrkit web --backbone lite_plus --port 9000
  hrkit web --host 0.0.0.0

Other machines can connect only if --host is given. They then need a token; without --token one is made and shown.""",
)
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@number_option("--port", int, Range(0, 65535), "Port; 0 picks a free one.", default=8000)
@click.option("--token", envvar="HRKIT_WEB_TOKEN", help="What callers must send: 16 or more letters, digits or ._~-")
@click.option("--allow-host", "host_names", multiple=True, metavar="NAME", help="Host name to accept; repeatable.")
@click.option("--behind-proxy", is_flag=True, help="Take the caller's address from a proxy on this machine.")
@click.option("--backbone", default="lite", help="Default pose network.")
@click.option("--detector", default="lite_person", help='Default person detector, or "none".')
@click.option("--device", default="auto", help="cpu, cpu,cpu, cuda:0, cuda:0,1, mps.")
@click.option("--precision", default="auto", help="float32, bfloat16, float16.")
@click.option("--runtime", default="auto", help="As for `hrkit demo`.")
@number_option("--max-upload", int, Range(1, 1e6), "Largest video, MB.", default=256)
@number_option("--max-pixels", float, Range(0.1, 1e4), "Largest photo, million pixels.", default=25.0)
@number_option("--rate", float, Range(1), "Requests per second per caller.", default=60.0)
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
    """Serves a web page for photos, videos and the camera, and an HTTP API."""
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
    click.echo(f"{_address(settings, listening)}  (Ctrl-C stops it)")
    uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket. Binding it first reports a port in use before any network is loaded."""
    import socket

    from hrkit.errors import HrkitError

    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = error.strerror or error
        raise HrkitError(f"cannot listen on {host}:{port} ({reason}); choose another --host or --port") from None


def _limits(max_upload: int, max_pixels: float, rate: float) -> Limits:
    """Limits from MB, million pixels and requests per second, with memory for one photo of the largest size."""
    from attrs import evolve

    from hrkit_web.files.images import PIXEL_BYTES
    from hrkit_web.settings import MEGA, Limits

    usual, pixels = Limits(), round(max_pixels * MEGA)
    room = max(usual.decoded_bytes, usual.photo_bytes + PIXEL_BYTES * pixels)
    return evolve(usual, video_bytes=max_upload * MEGA, photo_pixels=pixels, decoded_bytes=room, rate=rate)


def _token(given: str | None, host: str, host_names: tuple[str, ...], *, behind_proxy: bool) -> str | None:
    """The token to require. One is made if other machines can connect, directly or through a proxy."""
    import re
    import secrets

    from hrkit.errors import HrkitError
    from hrkit_web.gates.access import is_loopback

    if given is not None and not re.fullmatch(r"[\w.~-]{16,}", given, re.ASCII):
        raise HrkitError("a token needs 16 or more letters, digits or ._~- ; leave --token out to have one made")
    if given is None and (host_names or behind_proxy or not is_loopback(host)):
        return secrets.token_urlsafe(24)
    return given


def _address(settings: Settings, listening: socket.socket) -> str:
    """The address of the page. The token follows a #, which browsers do not send, so it appears in no log."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        import socket

        host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"#token={settings.token}" if settings.token else "")
