"""The part of `hrkit demo` for pictures."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path

import click

from hrkit.commands.model_options import Options, create_pipeline
from hrkit.drawing.annotators import Drawing
from hrkit.errors import HrkitError, ImageError, one_line
from hrkit.files import write_text
from hrkit.images import WRITABLE, find_images, read_image, write_image
from hrkit.pipeline import Pipeline
from hrkit.structures import Poses, best


def draw_pictures(
    model: Options, patterns: Sequence[str], output: Path, drawing: Drawing, write_json: bool, max_people: int | None
) -> None:
    """Draws the people of each picture that `patterns` stand for, and writes it to the folder `output`.

    Of each picture at most the `max_people` best people are taken. Exits with 1 if some of several pictures failed, and
    with 2 if the only one did.
    """
    if output.exists() and not output.is_dir():
        raise ImageError(f"{output} is a file; pictures go to a folder")
    paths = [path for pattern in patterns for path in find_images(pattern)]
    pipeline = create_pipeline(model)
    drawing.udp = pipeline.codec.udp
    taken = {_place(path) for path in paths}  # so no input is replaced
    failed = 0
    for path in paths:
        target = _free_name(output, path, taken)
        try:
            _draw(pipeline, path, target, drawing, write_json, max_people)
        except (HrkitError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
                raise
            click.echo(f"error: {one_line(error)}", err=True)
            failed += 1
    if failed:
        click.echo(f"{failed} of {len(paths)} pictures failed", err=True)
        raise SystemExit(1 if len(paths) > 1 else 2)


def _draw(
    pipeline: Pipeline, path: Path, target: Path, drawing: Drawing, write_json: bool, max_people: int | None
) -> None:
    frame = read_image(path)
    poses = best(pipeline.predict(frame, return_heatmaps=drawing.heatmaps), max_people)
    click.echo(f"{click.format_filename(path)}: {len(poses)} {'person' if len(poses) == 1 else 'people'}")
    for line in _lines(poses):
        click.echo(f"  {line}")
    write_image(target, drawing(frame, poses))
    click.echo(f"  drawn:     {click.format_filename(target)}")
    if write_json:
        height, width = frame.shape[:2]
        content = {"image": str(path), "width": width, "height": height, "people": poses.to_dict()}
        write_text(target.with_suffix(".json"), json.dumps(content, indent=1))
        click.echo(f"  keypoints: {click.format_filename(target.with_suffix('.json'))}")


def _lines(poses: Poses) -> list[str]:
    seen = (poses.keypoint_scores >= 0.2).sum(1)
    return [
        f"person {i + 1}: score {poses.scores[i]:.2f}, box {x1:.0f},{y1:.0f} to {x2:.0f},{y2:.0f} "
        f"(score {poses.detections.scores[i]:.2f}), {seen[i]} of {len(poses.skeleton)} joints seen"
        for i, (x1, y1, x2, y2) in enumerate(poses.detections.xyxy)
    ]


def _place(path: Path) -> str:
    """The path without its ending, in lower case, because some file systems ignore case."""
    return str(path.resolve().with_suffix("")).casefold()


def _free_name(output: Path, path: Path, taken: set[str]) -> Path:
    """`STEM_poses` with the picture's ending, numbered if its place is in `taken`. The place is added to `taken`."""
    ending = path.suffix if path.suffix.lower() in WRITABLE else ".png"
    names = (f"{path.stem}_poses{number}" for number in ("", *range(2, len(taken) + 3)))
    target = next(output / (name + ending) for name in names if _place(output / (name + ending)) not in taken)
    taken.add(_place(target))
    return target
