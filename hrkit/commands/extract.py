"""`hrkit extract`: the keypoints of pictures and videos as files."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from hrkit.commands.model_options import Options, create_pipeline, following_options, model_options, pipeline_arguments
from hrkit.errors import HrkitError
from hrkit.extraction import Job, Progress, extract, extract_all, find_inputs
from hrkit.extraction.formats import FORMATS, check_format
from hrkit.extraction.inputs import read_list
from hrkit.extraction.manifest import FAILURES
from hrkit.extraction.one_video import keypoint_meta
from hrkit.extraction.part_file import part_path
from hrkit.profiling import profiled
from hrkit.tracking.follower import Follower
from hrkit.video.cameras import open_source


@click.command(
    "extract",
    epilog="""\b
Examples:
  hrkit extract street.mp4 -o street.csv
  hrkit extract a.mp4 b.mp4 -o keypoints/
  hrkit extract --engine local photos/ -o keypoints/""",
)
@click.argument("sources", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="A file: .csv, .jsonl, .json (COCO), .parquet, .npz, .openpose (a folder). For several inputs, a folder.",
)
@click.option(
    "--format", "kind", type=click.Choice(FORMATS), help="[default: that of the ending; csv for several inputs]"
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, and leave a finished one.")
@click.option("--overwrite", is_flag=True, help="Start again, and replace what is there.")
@click.option("--max-frames", type=click.IntRange(1), help="Stop each video after this many frames.")
@click.option("--profile", is_flag=True, help="Print where the time goes.")
@click.option("--engine", help="Write a file per picture and video, with the engine local or one of a plugin, as ray.")
@click.option("--inputs", type=click.Path(path_type=Path), help="Text file with more SOURCES, one per line.")
@click.option("--workers", type=click.IntRange(1), help="Number of processes of the engine.")
@click.option("--address", help="Cluster of the engine.  [default: this machine]")
@following_options
@model_options
def command(
    sources: tuple[str, ...],
    output: Path,
    kind: str | None,
    resume: bool,
    overwrite: bool,
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

    A single source is a video, a folder of pictures in order, the number of a camera or the address of a stream. Rows
    are saved at once, in FILE.part.jsonl; --resume goes on from there after an interruption.

    Several sources, and all with --engine or --inputs, are pictures and videos: files, folders with everything below
    them, and globs, up to millions. Each gives a file in the folder OUTPUT. The next run leaves out finished inputs and
    tries those again that are listed in OUTPUT/failures.csv.
    """
    engine_options = {name: value for name, value in (("workers", workers), ("address", address)) if value is not None}
    if len(sources) > 1 or engine is not None or inputs is not None:
        if profile:
            raise click.UsageError("--profile is for a single video; leave it out for several inputs")
        names = [*sources, *(read_list(inputs) if inputs is not None else ())]
        job = functools.partial(Job, format=kind or "csv", following=following, max_frames=max_frames)
        _extract_all(names, output, job, model, engine=engine or "local", overwrite=overwrite, **engine_options)
    elif not sources:
        raise click.UsageError("Missing argument 'SOURCES...'.")
    elif engine_options:
        raise click.UsageError(f"--{next(iter(engine_options))} is for an engine; name it with --engine")
    elif _wanted(output, kind, resume, overwrite):
        with profiled(profile) as times:
            frames = _extract(sources[0], output, model, following, format=kind, resume=resume, max_frames=max_frames)
        if times is not None:
            click.echo(times.table(frames))


def _wanted(output: Path, kind: str | None, resume: bool, overwrite: bool) -> bool:
    """Whether the file has to be made. Raises `HrkitError` if it cannot be, or if it would replace another."""
    there = any(output.iterdir()) if output.is_dir() else output.exists()
    if there and resume and not part_path(output).exists():
        click.echo(f"done before: {output}")
        return False
    if there and not overwrite and not resume:
        raise HrkitError(f"{output} exists; pass --overwrite to replace it, or --resume to leave it")
    check_format(output, kind)
    if overwrite:
        part_path(output).unlink(missing_ok=True)
    return True


def _extract(source: str, output: Path, model: Options, following: Options, **options: Any) -> int:
    """Extracts one video, with a progress bar. Returns how many frames the file holds."""
    pipeline = create_pipeline(model)
    with open_source(source) as opened:
        info, limit = opened.info, options["max_frames"]
        meta = keypoint_meta(info, pipeline, {**model, **following})
        total = info.frames if limit is None else min(limit, info.frames or limit)
        with tqdm(total=total, unit="frame", desc=info.name, dynamic_ncols=True, disable=None) as bar:
            follower = Follower(pipeline, **following)
            show = functools.partial(_show, bar)
            result = extract(
                follower, opened, output, meta, progress=lambda done, people: show(done, people=people), **options
            )
    click.echo(f"{source}: {result.frames} frames, {result.people} people: {output}")
    return result.frames


def _extract_all(
    sources: Sequence[str], output: Path, make_job: functools.partial[Job], model: Options, **options: Any
) -> None:
    """Extracts many inputs, with a progress bar. Exits with 1 if any of them failed."""
    if output.suffix[1:] in FORMATS and not output.is_dir():
        raise HrkitError(f"{output}: for several inputs the output is a folder, and --format says what is in it")
    streams = [source for source in sources if "://" in source]
    if streams:
        raise HrkitError(f"{streams[0]}: streams are extracted one at a time, without --engine")
    inputs = find_inputs(sources)
    arguments = pipeline_arguments(model)
    for name in ("weights", "detector_weights"):
        if arguments[name] is not None and os.path.isfile(arguments[name]):
            arguments[name] = os.path.abspath(arguments[name])  # workers may have another working folder
    job = make_job(inputs.root, os.path.abspath(output), model=arguments)
    with tqdm(total=len(inputs.names), unit="input", dynamic_ncols=True, disable=None) as bar:

        def progress(now: Progress) -> None:
            _show(bar, now.before + now.done + now.failed, failed=now.failed, people=now.people)

        result = extract_all(inputs, job, progress=progress, **options)
    before = f", {result.before} before" if result.before else ""
    click.echo(f"{result.done} done{before}, {result.people} people: {output}")
    if result.failed:
        click.echo(f"{result.failed} of {len(inputs.names)} inputs failed, see {output / FAILURES}", err=True)
        raise SystemExit(1)


def _show(bar: tqdm[Any], done: int, **counts: int) -> None:
    if bar.n == 0:
        bar.initial = bar.n = done  # frames of earlier runs do not count for the speed
    bar.update(done - bar.n)
    bar.set_postfix(counts, refresh=False)
