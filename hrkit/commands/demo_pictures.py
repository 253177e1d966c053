"""The part of `hrkit demo` for pictures."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path

import click

from hrkit.drawing.annotators import Drawing
from hrkit.errors import HrkitError, ImageError, counted, one_line
from hrkit.files import check_outputs, without_secrets, write_text
from hrkit.images import WRITABLE, read_image, write_image
from hrkit.pipeline import Pipeline
from hrkit.structures import Poses, best


def draw_pictures(
    pipeline: Pipeline,
    pictures: Sequence[str],
    folder: Path,
    file: Path | None,
    drawing: Drawing,
    write_json: bool,
    max_people: int | None,
) -> int:
    """Draws people on each picture, a file or an address, and writes it to `folder`, or the only picture to `file`.

    Only the `max_people` best people of a picture are drawn. Returns how many pictures failed.
    """
    if file is not None:
        check_outputs([file, file.with_suffix(".json")], pictures)
    elif folder.exists() and not folder.is_dir():
        raise ImageError(f"{folder} is a file; pictures go to a folder")
    drawing.udp, drawing.margin = pipeline.codec.udp, pipeline.pose_model.spec.margin
    taken = {_place(Path(name)) for name in pictures}  # so no input is replaced
    failed = 0
    for name in pictures:
        path = Path(without_secrets(name))
        ending = path.suffix if path.suffix.lower() in WRITABLE else ".png"
        target = file or free_name(folder, f"{path.stem}_poses", ending, taken)
        try:
            _draw(pipeline, name, target, drawing, write_json, max_people)
        except (HrkitError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
                raise
            click.echo(f"error: {one_line(error)}", err=True)
            failed += 1
    return failed


def _draw(
    pipeline: Pipeline, name: str, target: Path, drawing: Drawing, write_json: bool, max_people: int | None
) -> None:
    frame = read_image(name)
    name = without_secrets(name)
    poses = best(pipeline.predict(frame, return_heatmaps=drawing.heatmaps), max_people)
    click.echo(f"{click.format_filename(name)}: {counted(len(poses), 'person', 'people')}")
    for line in _lines(poses):
        click.echo(f"  {line}")
    write_image(target, drawing(frame, poses))
    click.echo(f"  drawn:     {click.format_filename(target)}")
    if write_json:
        height, width = frame.shape[:2]
        content = {"image": name, "width": width, "height": height, "people": poses.to_dict()}
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


def free_name(output: Path, stem: str, ending: str, taken: set[str]) -> Path:
    """The path of `STEM` with its ending in the folder, numbered if it is in `taken`, to which it is added."""
    target = output / f"{stem}{ending}"
    number = 1
    while _place(target) in taken:
        number += 1
        target = output / f"{stem}{number}{ending}"
    taken.add(_place(target))
    return target
