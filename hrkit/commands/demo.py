"""`hrkit demo`: people drawn on pictures, videos and cameras."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from hrkit.commands.demo_pictures import draw_pictures, free_name
from hrkit.commands.model_options import Options, create_pipeline, following_options, model_options, need_video
from hrkit.commands.numbers import PATH
from hrkit.commands.player import Played, play
from hrkit.commands.short_help import ShortHelp
from hrkit.drawing.annotators import ColorBy, Drawing
from hrkit.errors import HrkitError, counted, one_line
from hrkit.extraction.inputs import VIDEOS, is_picture, with_lists
from hrkit.files import check_outputs, find_files, is_address, plain_stem, without_secrets
from hrkit.images import ENDINGS, find_images
from hrkit.pipeline import Pipeline
from hrkit.profiling import profiled
from hrkit.tracking.follower import Follower
from hrkit.video.cameras import is_device, open_source
from hrkit.video.sinks import WindowSink, display_available, open_sink

FOLDER = Path("demo-output")


@click.command(
    "demo",
    cls=ShortHelp,
    epilog="""\b
Examples:
  hrkit demo photo.jpg
  hrkit demo 0
  hrkit demo street.mp4 -o drawn.mp4 --smooth --color-by person
  hrkit demo photos/ -o drawn --json""",
)
@click.argument("sources", nargs=-1)
@click.option("--camera", help="Number of a camera, or address of a stream (rtsp://, http://).")
@click.option("--video", help="A video, or a folder of pictures in order.")
@click.option("--image", "images", multiple=True, help="A picture, a glob or a folder; may be repeated.")
@click.option(
    "-o",
    "--output",
    type=PATH,
    help="A folder, or FILE.jpg for a picture, FILE.mp4 for a video.  [default: demo-output; cameras are not recorded]",
)
@click.option("--recursive", is_flag=True, help="Take what lies in folders below too.")
@click.option("--show/--no-show", default=None, help="Show videos in a window.  [default: for cameras]")
@click.option("--json", "write_json", is_flag=True, help="Also write the keypoints of each picture.")
@click.option("--heatmaps", is_flag=True, help="Draw the heatmaps of the network.")
@click.option("--boxes/--no-boxes", default=True, help="Draw boxes and labels.")
@click.option("--color-by", type=click.Choice(["side", "person"]), default="side")
@click.option("--profile", is_flag=True, help="Print where the time of a video goes.")
@following_options
@model_options
def command(
    sources: tuple[str, ...],
    camera: str | None,
    video: str | None,
    images: tuple[str, ...],
    output: Path | None,
    recursive: bool,
    show: bool | None,
    write_json: bool,
    heatmaps: bool,
    boxes: bool,
    color_by: ColorBy,
    profile: bool,
    model: Options,
    following: Options,
) -> None:
    """Finds people in SOURCES and draws their skeletons.

    A source is a picture, a video, a folder or glob of both, an address (https://, rtsp://), a camera by its number,
    `screen`, or a .txt or .csv file that lists sources. --image, --video and --camera say what it is.

    Keys in the window: q or Esc ends, space pauses, s saves the picture, h shows heatmaps, b boxes.
    """
    if sum(map(bool, (sources, camera, video, images))) != 1:
        raise click.UsageError("one of SOURCES, --camera, --video and --image is needed, as in: hrkit demo photo.jpg")
    pictures, videos = _sorted(with_lists(sources), recursive)
    for name in images:
        pictures += [name] if is_address(name) else map(str, find_images(name, deep=recursive))
    videos += [source for source in (camera, video) if source]
    if videos and write_json:
        raise click.UsageError("--json is for pictures; `hrkit extract` writes the keypoints of videos")
    if not videos and (profile or need_video(following)):
        raise click.UsageError("--profile, --smooth and --detect-every are for videos; --video takes a folder as one")
    if pictures and show:
        raise click.UsageError("--show is for cameras and videos; pictures are written to files")
    count = len(pictures) + len(videos)
    file = _file(output, count, pictures)
    folder = FOLDER if output is None or file else output
    drawing = Drawing(color_by=color_by, boxes=boxes, heatmaps=heatmaps)
    pipeline = functools.cache(lambda: create_pipeline(model))  # after what can fail before
    weights = [model["weights"], model["detector_weights"]]
    how: Options = {"live": bool(camera), "show": show, "record": output is not None, "profile": profile}
    failed = 0
    taken: set[str] = set()
    for source in videos:
        target = file or free_name(folder, f"{_stem(source)}_poses", ".mp4", taken)
        try:
            _draw_video(source, target, folder, weights, drawing, pipeline, following, **how)
        except HrkitError as error:
            if count == 1:
                raise
            click.echo(f"error: {one_line(error)}", err=True)
            failed += 1
    if pictures:
        failed += draw_pictures(pipeline(), pictures, folder, file, drawing, write_json, following["max_people"])
    if failed and count > 1:
        click.echo(f"{failed} of {count} {'sources' if videos else 'pictures'} failed", err=True)
    if failed:
        raise SystemExit(1 if count > 1 else 2)


def _sorted(sources: Sequence[str], recursive: bool) -> tuple[list[str], list[str]]:
    """The pictures, and the videos, cameras and streams, that sources stand for."""
    pictures: list[str] = []
    videos: list[str] = []
    for source in sources:
        found = [source]
        if not is_address(source) and not is_device(source):
            found = find_files(source, (*ENDINGS, *VIDEOS), deep=recursive)[1]
        if not source or not found:
            raise HrkitError(f"{source or 'an empty name'}: no pictures or videos there")
        for name in found:
            (pictures if is_picture(without_secrets(name)) else videos).append(name)
    return pictures, videos


def _file(output: Path | None, count: int, pictures: Sequence[str]) -> Path | None:
    """The output, if it names a file and not a folder. Raises `UsageError` if `count` sources would go there."""
    if output is None or output.is_dir() or not output.suffix:
        return None
    if (pictures or count > 1) and output.suffix.lower() not in (*ENDINGS, *VIDEOS):
        return None
    if count > 1:
        raise click.UsageError(f"{count} sources are drawn to a folder, not to one file {output}")
    return output


def _window(wanted: bool) -> bool:
    """Whether a window can be opened; if not, it is said why."""
    reason = display_available() if wanted else None
    if reason is not None:
        click.echo(f"{reason}; writing a file instead", err=True)
    return wanted and reason is None


def _draw_video(
    source: str,
    target: Path,
    snapshots: Path,
    weights: Sequence[str],
    drawing: Drawing,
    pipeline: Callable[[], Pipeline],
    following: Options,
    *,
    live: bool,
    show: bool | None,
    record: bool,
    profile: bool,
) -> None:
    """Draws a video, a camera or a stream: to the file `target`, in a window, or both.

    `show` None opens a window for what is live. What is live and shown is recorded only with `record`. The window saves
    pictures in the folder `snapshots`.
    """
    with open_source(source) as opened, profiled(profile) as times, contextlib.ExitStack() as stack:
        live, info = live or opened.info.live, opened.info
        shown = _window(live if show is None else show)
        recorded = target if record or not (live and shown) else None
        outputs = [path for path in (recorded, snapshots if shown else None) if path is not None]
        check_outputs(outputs, [source, *weights, *find_files(source, ENDINGS)[1]])  # the files of a folder too
        fps = None if info.live else info.fps
        sink = stack.enter_context(open_sink(recorded, fps=fps, audio_from=info.audio_from))  # before networks load
        drawing.udp, drawing.margin = pipeline().codec.udp, pipeline().pose_model.spec.margin
        follower = Follower(pipeline(), **following)
        window = stack.enter_context(WindowSink(f"hrkit: {without_secrets(source)}")) if shown else None
        played = play(opened, follower, drawing, sink, window=window, snapshots=snapshots)
    _say(source, recorded, played)
    if times is not None:
        click.echo(times.table(played.frames))


def _say(source: str, drawn: Path | None, played: Played) -> None:
    if drawn is not None:
        click.echo(f"drawn: {click.format_filename(drawn)}")
    lost = f", {played.dropped} dropped" if played.dropped else ""
    frames, people = counted(played.frames, "frame", "frames"), counted(played.people, "pose", "poses")
    people += f" of {counted(played.ids, 'person', 'people')}" if played.ids else ""
    rate = played.frames / played.seconds if played.seconds else 0.0
    click.echo(f"{without_secrets(source)}: {frames}, {people}, {rate:.1f} frames/s{lost}")


def _stem(source: str) -> str:
    """The name of a recording: that of the source without its ending, `camera0`, or the last part of an address."""
    name = without_secrets(source).split("://", 1)[-1].rstrip("/")
    return f"camera{source}" if source.isdecimal() else plain_stem(name) or "video"
