"""`hrkit demo`: people drawn on pictures, on videos and on what a camera sees."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hrkit.commands.model_options import following_options, model_options

if TYPE_CHECKING:
    from hrkit.commands.player import Played
    from hrkit.drawing.overlay import Drawing
    from hrkit.pipeline import Pipeline

FOLDER = Path("demo-output")


@click.command(
    "demo",
    epilog="\b\nExamples:\n  hrkit demo --camera 0\n  hrkit demo --video street.mp4 --smooth --color-by person\n"
    "  hrkit demo --image photos/ --output drawn --json",
)
@click.option("--camera", help="The number of a camera, or the address of a stream (rtsp://, http://).")
@click.option("--video", help="A video, or a folder of pictures that make one.")
@click.option("--image", "images", multiple=True, help="A picture, a glob or a folder; may be repeated.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="A folder, or for videos FILE.mp4.  [default: demo-output; what a camera shows is not kept]",
)
@click.option("--show/--no-show", default=None, help="In a window.  [default: cameras]")
@click.option("--json", "write_json", is_flag=True, help="Also write the keypoints beside each picture.")
@click.option("--heatmaps", is_flag=True, help="Draw how sure the network is of each place.")
@click.option("--boxes/--no-boxes", default=True, show_default=True, help="Draw boxes and labels.")
@click.option("--color-by", type=click.Choice(["side", "person"]), default="side", show_default=True)
@click.option("--profile", is_flag=True, help="Print where the time of a video goes.")
@following_options
@model_options
def command(
    camera: str | None,
    video: str | None,
    images: tuple[str, ...],
    output: Path | None,
    show: bool | None,
    write_json: bool,
    heatmaps: bool,
    boxes: bool,
    color_by: Any,
    profile: bool,
    make_pipeline: Callable[[], Pipeline],
    following: dict[str, Any],
) -> None:
    """Finds people in pictures, in a video or in front of a camera, and draws their skeletons.

    Keys in the window: q or Esc ends, space pauses, s saves the picture, h shows heatmaps, b boxes.
    """
    if sum(map(bool, (camera, video, images))) != 1:
        raise click.UsageError("one of --camera, --video and --image is needed")
    from hrkit.drawing.overlay import Drawing
    from hrkit.profiling import profiled

    drawing = Drawing(color_by=color_by, boxes=boxes, heatmaps=heatmaps)
    if images:
        from hrkit.commands.demo_pictures import draw_pictures

        draw_pictures(make_pipeline, images, output or FOLDER, drawing, write_json, following["max_people"])
        return
    source = str(camera or video)
    show = bool(camera) if show is None else show
    with profiled(profile) as times:
        played = _play(source, output, show, bool(camera), drawing, make_pipeline, following)
    lost = f", {played.dropped} dropped" if played.dropped else ""
    rate = played.frames / played.seconds if played.seconds else 0.0
    click.echo(f"{source}: {played.frames} frames, {played.ids} people, {rate:.1f} frames/s{lost}")
    if times is not None:
        click.echo(times.table(played.frames))


def _play(
    source: str,
    output: Path | None,
    show: bool,
    live: bool,
    drawing: Drawing,
    make_pipeline: Callable[[], Pipeline],
    following: dict[str, Any],
) -> Played:
    """Shows or records a moving source, as options and display allow."""
    from hrkit.commands.player import play
    from hrkit.errors import VideoError
    from hrkit.tracking.follower import Follower
    from hrkit.video.cameras import open_source
    from hrkit.video.sinks import WindowSink, display_available, open_sink

    reason = display_available() if show else None
    if reason is not None:
        click.echo(f"{reason}; writing a file instead", err=True)
        show = False
    folder = FOLDER if output is None or output.suffix else output
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_source(source))
        target = output if output is not None and output.suffix else folder / f"{_stem(source)}_poses.mp4"
        keep = output is not None or not (show and live)
        if keep and target.exists() and Path(source).exists() and target.samefile(source):
            raise VideoError(f"{target} is the video itself; name another --output")
        info = opened.info
        path = target if keep else None  # what cannot be written shows before networks are loaded
        sink = stack.enter_context(open_sink(path, fps=None if info.live else info.fps, audio_from=info.audio_from))
        pipeline = make_pipeline()
        drawing.udp = pipeline.codec.udp
        window = stack.enter_context(WindowSink(f"hrkit: {source}")) if show else None
        played = play(opened, Follower(pipeline, **following), drawing, sink, window=window, snapshots=folder)
    if keep:
        click.echo(f"drawn: {click.format_filename(target)}")
    return played


def _stem(source: str) -> str:
    """What a recording of a source is called: its name without ending, `camera0`, or the host of an address."""
    if source.isdecimal():
        return f"camera{source}"
    from hrkit.files import plain_stem

    name = source.split("://", 1)[-1].split("?")[0].rstrip("/")
    return plain_stem(name) or "video"
