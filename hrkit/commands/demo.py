"""`hrkit demo`: people drawn on pictures, videos and cameras."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from hrkit.commands.demo_pictures import draw_pictures
from hrkit.commands.model_options import Options, create_pipeline, following_options, model_options
from hrkit.commands.player import Played, play
from hrkit.drawing.annotators import ColorBy, Drawing
from hrkit.files import check_outputs, find_files, plain_stem, without_secrets
from hrkit.images import ENDINGS
from hrkit.profiling import profiled
from hrkit.tracking.follower import Follower
from hrkit.video.cameras import open_source
from hrkit.video.sinks import WindowSink, display_available, open_sink

FOLDER = Path("demo-output")


@click.command(
    "demo",
    epilog="""\b
Examples:
  hrkit demo --camera 0
  hrkit demo --video street.mp4 --smooth --color-by person
  hrkit demo --image photos/ --output drawn --json""",
)
@click.option("--camera", help="Number of a camera, or address of a stream (rtsp://, http://).")
@click.option("--video", help="A video, or a folder of pictures in order.")
@click.option("--image", "images", multiple=True, help="A picture, a glob or a folder; may be repeated.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="A folder, or FILE.mp4 for a video.  [default: demo-output; cameras are not recorded]",
)
@click.option("--show/--no-show", default=None, help="Show a window.  [default: for cameras]")
@click.option("--json", "write_json", is_flag=True, help="Also write the keypoints of each picture.")
@click.option("--heatmaps", is_flag=True, help="Draw the heatmaps of the network.")
@click.option("--boxes/--no-boxes", default=True, help="Draw boxes and labels.")
@click.option("--color-by", type=click.Choice(["side", "person"]), default="side")
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
    color_by: ColorBy,
    profile: bool,
    model: Options,
    following: Options,
) -> None:
    """Finds people in pictures, in a video or in front of a camera, and draws their skeletons.

    Keys in the window: q or Esc ends, space pauses, s saves the picture, h shows heatmaps, b boxes.
    """
    if sum(map(bool, (camera, video, images))) != 1:
        raise click.UsageError("one of --camera, --video and --image is needed")
    drawing = Drawing(color_by=color_by, boxes=boxes, heatmaps=heatmaps)
    if images:
        draw_pictures(model, images, output or FOLDER, drawing, write_json, following["max_people"])
        return
    source = str(camera or video)
    show = bool(camera) if show is None else show
    reason = display_available() if show else None
    if reason is not None:
        click.echo(f"{reason}; writing a file instead", err=True)
        show = False
    folder = FOLDER if output is None or output.suffix else output
    target = output if output is not None and output.suffix else folder / f"{_stem(source)}_poses.mp4"
    kept = output is not None or not (camera and show)
    with profiled(profile) as times:
        played = _play(source, target if kept else None, folder if show else None, drawing, model, following)
    if kept:
        click.echo(f"drawn: {click.format_filename(target)}")
    lost = f", {played.dropped} dropped" if played.dropped else ""
    rate = played.frames / played.seconds if played.seconds else 0.0
    click.echo(f"{without_secrets(source)}: {played.frames} frames, {played.ids} people, {rate:.1f} frames/s{lost}")
    if times is not None:
        click.echo(times.table(played.frames))


def _play(
    source: str, target: Path | None, snapshots: Path | None, drawing: Drawing, model: Options, following: Options
) -> Played:
    """Records a source to `target`, and shows it in a window whose pictures are saved in `snapshots`; None: neither."""
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_source(source))
        frames = find_files(source, ENDINGS)[1]  # of a folder of pictures
        outputs = [path for path in (target, snapshots) if path is not None]
        check_outputs(outputs, [source, *frames, model["weights"], model["detector_weights"]])
        info = opened.info
        fps = None if info.live else info.fps
        sink = stack.enter_context(open_sink(target, fps=fps, audio_from=info.audio_from))  # fails before networks load
        pipeline = create_pipeline(model)
        drawing.udp = pipeline.codec.udp
        follower = Follower(pipeline, **following)
        if snapshots is None:
            return play(opened, follower, drawing, sink)
        window = stack.enter_context(WindowSink(f"hrkit: {without_secrets(source)}"))
        return play(opened, follower, drawing, sink, window=window, snapshots=snapshots)


def _stem(source: str) -> str:
    """The name of a recording: that of the source without its ending, `camera0`, or the last part of an address."""
    name = without_secrets(source).split("://", 1)[-1].rstrip("/")
    return f"camera{source}" if source.isdecimal() else plain_stem(name) or "video"
