"""`hrkit extract`: the keypoints of videos, and of many inputs at once, as files."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hrkit.commands.model_options import following_options, model_options, pipeline_settings

if TYPE_CHECKING:
    from hrkit.pipeline import Pipeline

FORMATS = ("csv", "jsonl", "json", "parquet", "npz", "openpose")


@click.command(
    "extract",
    epilog="""\b
Examples:
  hrkit extract street.mp4 -o street.csv
  hrkit extract a.mp4 b.mp4 -o keypoints/ --resume
  hrkit extract --engine local photos/ -o keypoints/""",
)
@click.argument("sources", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="A file: .csv, .jsonl, .json (COCO), .parquet, .npz, .openpose (a folder). Of several sources: a folder.",
)
@click.option("--format", "kind", type=click.Choice(FORMATS), help="[default: the ending's; of several sources csv]")
@click.option("--resume", is_flag=True, help="Go on with what was interrupted, and leave what is done.")
@click.option("--overwrite", is_flag=True, help="Begin anew, whatever is there.")
@click.option("--max-frames", type=click.IntRange(1), help="Stop after so many.")
@click.option("--profile", is_flag=True, help="Print where the time goes.")
@click.option("--engine", help="Every picture and video to a file of its own: local, or a plugin's, as ray.")
@click.option(
    "--inputs", type=click.Path(path_type=Path), help="A text file of more SOURCES, one a line; with --engine."
)
@click.option("--workers", type=click.IntRange(1), help="Of the engine: how many processes.")
@click.option("--address", help="Of the engine: the cluster.  [default: this machine]")
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
    make_pipeline: functools.partial[Pipeline],
    following: dict[str, Any],
) -> None:
    """Writes the keypoints of everybody in SOURCES to files.

    A source is a video, a folder of pictures, the number of a camera or the address of a stream. What is known is in
    FILE.part.jsonl at once; after an interruption --resume goes on from there.

    With --engine, SOURCES may be a million: the pictures and videos of files, folders with all below them, and globs.
    Each gives a file in the folder OUTPUT. What is done is left out by the next run, and what failed is in
    OUTPUT/failures.csv.
    """
    from hrkit.errors import HrkitError, one_line
    from hrkit.profiling import profiled

    chosen = {name: value for name, value in (("workers", workers), ("address", address)) if value is not None}
    if inputs is not None or engine is not None:
        if profile:
            raise click.UsageError("--profile is of single videos; leave out --engine and --inputs")
        model = pipeline_settings(**make_pipeline.keywords)
        _extract_all(
            sources, inputs, output, kind or "csv", model, following, max_frames, engine or "local", overwrite, chosen
        )
        return
    if not sources:
        raise click.UsageError("Missing argument 'SOURCES...'.")
    if chosen:
        raise click.UsageError(f"--{next(iter(chosen))} is of an engine; name it with --engine")
    if len(sources) > 1:
        kind = kind or "csv"
    todo = _still_to_do(sources, _targets(sources, output, kind), kind, resume, overwrite)
    if not todo:
        return
    pipeline = make_pipeline()
    failed = 0
    for source, target in todo:
        with profiled(profile) as times:
            try:
                frames = _extract(pipeline, source, target, kind, make_pipeline.keywords, following, resume, max_frames)
            except (HrkitError, OSError) as error:
                if len(sources) == 1:
                    raise
                click.echo(f"error: {one_line(error)}", err=True)
                failed += 1
                continue
        if times is not None:
            click.echo(times.table(frames))
    if failed:
        click.echo(f"{failed} of {len(sources)} sources failed", err=True)
        raise SystemExit(1)


def _targets(sources: Sequence[str], output: Path, kind: str | None) -> list[Path]:
    """The file of each source: `output` itself for one, files named after the sources in that folder for several."""
    from hrkit.errors import HrkitError
    from hrkit.files import plain_stem

    if len(sources) == 1:
        return [output]
    if output.suffix[1:] in FORMATS:
        raise HrkitError(f"{output}: of several sources the output is a folder, and --format says what is in it")
    targets: list[Path] = []
    for source in sources:
        stem = plain_stem(source) or "video"
        names = (f"{stem}{number}.{kind}" for number in ("", *(f"_{n}" for n in range(2, len(sources) + 1))))
        taken = {target.name.casefold() for target in targets}
        targets.append(output / next(name for name in names if name.casefold() not in taken))
    return targets


def _still_to_do(
    sources: Sequence[str], targets: Sequence[Path], kind: str | None, resume: bool, overwrite: bool
) -> list[tuple[str, Path]]:
    """Sources and targets without what is done. Raises `HrkitError` before any work for what cannot be written."""
    from hrkit.errors import HrkitError
    from hrkit.extraction.formats import check_format
    from hrkit.extraction.part_file import part_path

    todo = []
    for source, target in zip(sources, targets, strict=True):
        there = any(target.iterdir()) if target.is_dir() else target.exists()
        if there and resume and not part_path(target).exists():
            click.echo(f"{source}: done before, {target}")
            continue
        if there and not overwrite and not resume:
            raise HrkitError(f"{target} exists; pass --overwrite to make it anew, or --resume to leave what is done")
        check_format(target, kind)
        if overwrite:
            part_path(target).unlink(missing_ok=True)
        todo.append((source, target))
    return todo


def _extract(
    pipeline: Pipeline,
    source: str,
    target: Path,
    kind: str | None,
    model: Mapping[str, Any],
    following: Mapping[str, Any],
    resume: bool,
    max_frames: int | None,
) -> int:
    """One source to one file, with a progress bar; how many frames the file holds."""
    from tqdm import tqdm

    from hrkit.extraction.one_video import extract, keypoint_meta
    from hrkit.tracking.follower import Follower
    from hrkit.video.cameras import open_source

    with open_source(source) as opened:
        info = opened.info
        meta = keypoint_meta(info, pipeline, {**model, **following})
        total = info.frames if max_frames is None else min(max_frames, info.frames or max_frames)
        with tqdm(total=total, unit="frame", desc=info.name, dynamic_ncols=True, disable=None) as bar:

            def progress(done: int, people: int) -> None:
                if bar.n == 0:
                    bar.initial = bar.n = done  # what was there before does not count for the speed
                bar.update(done - bar.n)
                bar.set_postfix(people=people, refresh=False)

            result = extract(
                Follower(pipeline, **following),
                opened,
                target,
                meta,
                format=kind,
                resume=resume,
                max_frames=max_frames,
                progress=progress,
            )
    click.echo(f"{source}: {result.frames} frames, {result.people} people: {target}")
    return result.frames


def _extract_all(
    sources: Sequence[str],
    listed: Path | None,
    output: Path,
    kind: str,
    model: Mapping[str, Any],
    following: Mapping[str, Any],
    max_frames: int | None,
    engine: str,
    overwrite: bool,
    options: Mapping[str, Any],
) -> None:
    """Every input to a file of its own, with a progress bar."""
    from tqdm import tqdm

    from hrkit.extraction.inputs import find_inputs, read_list
    from hrkit.extraction.manifest import FAILURES
    from hrkit.extraction.many_inputs import Job, Progress, extract_all

    inputs = find_inputs([*sources, *(read_list(listed) if listed is not None else ())])
    weights = {
        name: os.path.abspath(model[name])  # workers may be elsewhere
        for name in ("weights", "detector_weights")
        if model[name] is not None and os.path.isfile(model[name])
    }
    job = Job(inputs.root, os.path.abspath(output), kind, {**model, **weights}, following, max_frames)
    with tqdm(total=len(inputs.names), unit="input", dynamic_ncols=True, disable=None) as bar:

        def show(progress: Progress) -> None:
            if bar.n == 0:
                bar.initial = bar.n = progress.before  # what was there before does not count for the speed
            bar.update(progress.before + progress.done + progress.failed - bar.n)
            bar.set_postfix(failed=progress.failed, people=progress.people, refresh=False)

        result = extract_all(inputs, job, engine=engine, overwrite=overwrite, progress=show, **options)
    before = f", {result.before} before" if result.before else ""
    click.echo(f"{result.done} done{before}, {result.people} people: {output}")
    if result.failed:
        click.echo(f"{result.failed} of {len(inputs.names)} inputs failed, see {output / FAILURES}", err=True)
        raise SystemExit(1)
