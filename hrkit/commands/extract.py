"""`hrkit extract`: the keypoints of pictures and videos as files."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from hrkit.commands.model_options import (
    Options,
    create_pipeline,
    following_options,
    model_options,
    need_video,
    pipeline_arguments,
)
from hrkit.commands.numbers import PATH, number_option
from hrkit.commands.short_help import ShortHelp
from hrkit.errors import HrkitError, counted
from hrkit.extraction import Job, Progress, extract, extract_all, extract_photos, find_inputs
from hrkit.extraction.formats import FOLDERS, FORMATS
from hrkit.extraction.inputs import Inputs, is_picture, read_list, with_lists
from hrkit.extraction.manifest import FAILURES
from hrkit.extraction.output import check_free
from hrkit.extraction.provenance import file_record, files_record, keypoint_meta
from hrkit.files import check_outputs, is_address, without_secrets
from hrkit.profiling import profiled
from hrkit.settings import Range
from hrkit.tracking.follower import Follower
from hrkit.video.cameras import open_source


@click.command(
    "extract",
    cls=ShortHelp,
    epilog="""\b
Examples:
  hrkit extract street.mp4 -o street.csv
  hrkit extract photos/ -o people.csv
  hrkit extract a.mp4 b.mp4 -o keypoints/""",
)
@click.argument("sources", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=PATH,
    required=True,
    help="A file: .csv, .jsonl, .json (COCO), .parquet, .npz. A folder: .openpose, .txt (YOLO), .crops (pictures of "
    "people), or one for a file per input.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="[default: that of the file extension; csv for a file per input]",
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, and leave a finished one.")
@click.option("--overwrite", is_flag=True, help="Start again, and replace what is there.")
@click.option("--recursive", is_flag=True, help="Photos of folders below too; always if OUTPUT has a file per input.")
@click.option("--as-video", is_flag=True, help="Take pictures as the frames of a video: 25 per second, with ids.")
@number_option("--max-frames", int, Range(1), "Stop each video after this many frames.")
@click.option("--profile", is_flag=True, help="Print where the time goes.")
@click.option("--engine", help="Write a file per picture and video, with the engine local or one of a plugin, as ray.")
@click.option("--inputs", type=PATH, help="Text file with more SOURCES, one per line.")
@number_option("--workers", int, Range(1), "Number of processes of the engine.")
@click.option("--address", help="Cluster of the engine.  [default: this machine]")
@following_options
@model_options
def command(
    sources: tuple[str, ...],
    output: Path,
    kind: str | None,
    resume: bool,
    overwrite: bool,
    recursive: bool,
    as_video: bool,
    max_frames: int | None,
    profile: bool,
    engine: str | None,
    inputs: Path | None,
    workers: int | None,
    address: str | None,
    model: Options,
    following: Options,
) -> None:
    """Writes the keypoints of all people in SOURCES to files.

    A video, a camera by its number, `screen`, or an address gives one file. Photos (files, folders and globs) give
    one table with the name of each photo, or, with --as-video, are the frames of a video in order. Rows are saved at
    once, in FILE.part.jsonl; --resume goes on from there after an interruption.

    With a folder as OUTPUT, and always with --engine or for several videos, each picture and video gives a file of its
    own: of files, of folders with everything below them, and of globs, up to millions. The next run leaves out finished
    inputs and tries those again that are listed in OUTPUT/failures.csv.
    """
    if resume and overwrite:
        raise click.UsageError("--resume goes on with what is there and --overwrite begins anew; pass one of them")
    names = [*with_lists(sources), *(read_list(inputs) if inputs is not None else ())]
    if not names:
        raise click.UsageError("Missing argument 'SOURCES...'.")
    weights = (value for value in model.values() if isinstance(value, str))  # or names of them, and other words
    check_outputs([output], [inputs, *weights])
    engine_options = {name: value for name, value in (("workers", workers), ("address", address)) if value}
    photos = not as_video and all(map(_is_photos, names))
    one_output = _is_one_output(output, kind, len(names)) if photos else len(names) == 1
    if engine is not None or not one_output:
        if profile:
            raise click.UsageError("--profile is for a single file; leave it out for a file per input")
        job = functools.partial(Job, format=kind or "csv", following=following, max_frames=max_frames)
        _extract_all(names, output, job, model, engine=engine or "local", overwrite=overwrite, **engine_options)
        return
    if engine_options:
        raise click.UsageError(f"--{next(iter(engine_options))} is for an engine; name it with --engine")
    options: Options = {"format": kind, "resume": resume, "overwrite": overwrite}
    check_free(output, **options)
    with profiled(profile) as times:
        if photos:
            _check_for_photos(max_frames, following)
            found = find_inputs(names, photos=True, deep=recursive)
            frames = _extract_photos(found, output, model, following, **options)
        else:
            frames = _extract(names[0], output, model, following, max_frames=max_frames, **options)
    if times is not None:
        click.echo(times.table(frames))


def _is_one_output(output: Path, kind: str | None, sources: int) -> bool:
    """Whether the output is one file, or a folder in a format, for all photos, rather than a folder with files."""
    ending = output.suffix.lower()
    named = kind in FOLDERS or ending[1:] in FORMATS
    return named or (sources == 1 and bool(ending) and not output.is_dir())  # an ending that is a mistake, say


def _check_for_photos(max_frames: int | None, following: Options) -> None:
    if max_frames or need_video(following):
        raise click.UsageError("--max-frames, --smooth and --detect-every are for videos; see --as-video")


def _is_photos(source: str) -> bool:
    """Whether a source is a picture, a folder or a glob, rather than a video, a camera or a stream."""
    if is_address(source):  # a picture there is a video of one frame
        return False
    return os.path.isdir(source) or is_picture(source) or (not os.path.exists(source) and source.endswith("*"))


def _extract(source: str, output: Path, model: Options, following: Options, **options: Any) -> int:
    """Extracts one video, with a progress bar. Returns how many frames the file holds."""
    photos = find_inputs([source], photos=True, deep=False) if _is_photos(source) else None
    check_outputs([output], [source, *([] if photos is None else photos.paths)])
    made_from = file_record(source) if photos is None else files_record(photos)
    pipeline = create_pipeline(model)
    with open_source(source) as opened:
        info, limit = opened.info, options["max_frames"]
        meta = keypoint_meta(info, pipeline, {**model, **following, "max_frames": limit}, made_from)
        total = info.frames if limit is None else min(limit, info.frames or limit)
        with _bar(total, "frame", info.name) as show:
            result = extract(
                Follower(pipeline, **following),
                opened,
                output,
                meta,
                progress=show,
                reopen=None if info.live else lambda: open_source(source),
                **options,
            )
    frames, people = counted(result.frames, "frame", "frames"), counted(result.people, "pose", "poses")
    said = "done before" if result.before else f"{without_secrets(source)}: {frames}, {people}"
    click.echo(f"{said}: {output}")
    if result.damage and not info.live:
        click.echo(result.damage, err=True)
        raise SystemExit(1)
    return result.frames


def _extract_photos(photos: Inputs, output: Path, model: Options, following: Options, **options: Any) -> int:
    """Extracts photos to one table, with a progress bar. Returns how many there are; exits with 1 if any failed."""
    pipeline = create_pipeline(model)
    with _bar(len(photos.names), "photo", os.path.basename(photos.root)) as show:
        result = extract_photos(
            pipeline,
            photos,
            output,
            max_people=following["max_people"],
            settings=model,
            progress=show,
            **options,
        )
    for name, reason in result.failed.items():
        click.echo(f"{name}: {reason}", err=True)
    read, people = counted(result.frames, "photo", "photos"), counted(result.people, "person", "people")
    said = "done before" if result.before else f"{read}, {people}"
    click.echo(f"{said}: {output}")
    if result.failed:
        click.echo(f"{len(result.failed)} of {len(photos.names)} photos failed", err=True)
        raise SystemExit(1)
    return result.frames


def _extract_all(
    sources: Sequence[str], output: Path, make_job: functools.partial[Job], model: Options, **options: Any
) -> None:
    """Extracts many inputs, with a progress bar. Exits with 1 if any of them failed."""
    if output.suffix[1:] in FORMATS and not output.is_dir():
        raise HrkitError(f"{output}: for several inputs the output is a folder, and --format says what is in it")
    streams = [source for source in sources if "://" in source]
    if streams:
        raise HrkitError(f"{without_secrets(streams[0])}: addresses are extracted one at a time, without --engine")
    inputs = find_inputs(sources)
    arguments = pipeline_arguments(model)
    for name in ("weights", "detector_weights"):
        if arguments[name] is not None and os.path.isfile(arguments[name]):
            arguments[name] = os.path.abspath(arguments[name])  # workers may have another working folder
    job = make_job(inputs.root, os.path.abspath(output), model=arguments)
    with _bar(len(inputs.names), "input") as show:

        def progress(now: Progress) -> None:
            show(now.before + now.done + now.failed, now.people, failed=now.failed)

        result = extract_all(inputs, job, progress=progress, **options)
    before = f", {result.before} before" if result.before else ""
    click.echo(f"{result.done} done{before}, {counted(result.people, 'person', 'people')}: {output}")
    if result.failed:
        click.echo(f"{result.failed} of {len(inputs.names)} inputs failed, see {output / FAILURES}", err=True)
        raise SystemExit(1)


@contextmanager
def _bar(total: int | None, unit: str, name: str | None = None) -> Iterator[Callable[..., None]]:
    """A progress bar, and the function that moves it to a number of units and shows counts."""
    with tqdm(total=total, unit=unit, desc=name, dynamic_ncols=True, disable=None) as bar:

        def show(done: int, people: int, **counts: int) -> None:
            if bar.n == 0:
                bar.initial = bar.n = done  # frames of earlier runs do not count for the speed
            bar.update(done - bar.n)
            bar.set_postfix({**counts, "people": people}, refresh=False)

        yield show
