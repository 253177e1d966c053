"""`hrkit demo`: people drawn on pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hrkit.pipeline import Pipeline
    from hrkit.structures import Poses


@click.command("demo", epilog="Example: hrkit demo --image photos/ --output drawn --json")
@click.option("--image", "images", multiple=True, required=True, help="A picture, a glob or a folder; may be repeated.")
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("demo-output"), show_default=True
)
@click.option("--json", "write_json", is_flag=True, help="Also write the keypoints beside each picture.")
@click.option("--backbone", default="lite", show_default=True, help="Pose network, as in `hrkit models`.")
@click.option("--detector", help='Person detector; "none": the whole picture is one person.  [default: lite_person]')
@click.option("--weights", default="auto", show_default=True, help="Of the pose network: auto, an entry, a file, none.")
@click.option("--detector-weights", default="auto", show_default=True, help='The same; "none": as initialised.')
@click.option("--decoder", help="msra, dark or udp.  [default: the weights' own]")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Of the detector.  [default: its own]")
@click.option("--flip-test", is_flag=True, help="Average with the mirrored picture: better, twice the time.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda:0, cuda:0,1, mps.")
def command(
    images: tuple[str, ...], output: Path, write_json: bool, detector: str | None, threshold: float | None, **names: Any
) -> None:
    """Finds people in pictures and draws their skeletons."""
    from hrkit.errors import ImageError
    from hrkit.images import find_images
    from hrkit.pipeline import Pipeline

    paths = [path for pattern in images for path in find_images(pattern)]
    chosen = None if detector == "none" else detector or "lite_person"
    names |= {name: None for name in ("weights", "detector_weights") if names[name] == "none"}
    pipeline = Pipeline.from_names(names.pop("backbone"), chosen, detection_threshold=threshold, **names)
    taken = {_place(path) for path in paths}  # no input is ever written over
    failed = 0
    for path in paths:
        target = _free_name(output, path, taken)
        try:
            _draw(pipeline, path, target, write_json)
        except ImageError as error:
            click.echo(f"error: {error}", err=True)
            failed += 1
    if failed:
        click.echo(f"{failed} of {len(paths)} pictures failed", err=True)
        raise SystemExit(1 if len(paths) > 1 else 2)


def _draw(pipeline: Pipeline, path: Path, target: Path, write_json: bool) -> None:
    from hrkit.annotators import BoxAnnotator, SkeletonAnnotator
    from hrkit.files import atomic_path
    from hrkit.images import read_image, write_image

    frame = read_image(path)
    poses = pipeline.predict(frame)
    click.echo(f"{click.format_filename(path)}: {len(poses)} {'person' if len(poses) == 1 else 'people'}")
    for line in _lines(poses):
        click.echo(f"  {line}")
    write_image(target, BoxAnnotator()(SkeletonAnnotator()(frame, poses), poses))
    click.echo(f"  drawn:     {click.format_filename(target)}")
    if write_json:
        with atomic_path(target.with_suffix(".json")) as temporary:
            height, width = frame.shape[:2]
            content = {"image": str(path), "width": width, "height": height, "people": poses.to_dict()}
            temporary.write_text(json.dumps(content, indent=1))
        click.echo(f"  keypoints: {click.format_filename(target.with_suffix('.json'))}")


def _lines(poses: Poses) -> list[str]:
    seen = (poses.keypoint_scores >= 0.2).sum(1)
    return [
        f"person {i + 1}: score {poses.scores[i]:.2f}, box {x1:.0f},{y1:.0f} to {x2:.0f},{y2:.0f} "
        f"(score {poses.detections.scores[i]:.2f}), {seen[i]} of {len(poses.skeleton)} joints seen"
        for i, (x1, y1, x2, y2) in enumerate(poses.detections.xyxy)
    ]


def _place(path: Path) -> str:
    """Where a file is, without its ending: one for names that differ in case only, which some file systems mix up."""
    return str(path.resolve().with_suffix("")).casefold()


def _free_name(output: Path, path: Path, taken: set[str]) -> Path:
    """`<stem>_poses` with the picture's ending; numbered where `taken` has it, with any ending, as jsons would clash.

    What is given is added to `taken`.
    """
    from hrkit.images import WRITABLE

    ending = path.suffix if path.suffix.lower() in WRITABLE else ".png"
    names = (f"{path.stem}_poses{number}" for number in ("", *range(2, len(taken) + 3)))
    target = next(output / (name + ending) for name in names if _place(output / (name + ending)) not in taken)
    taken.add(_place(target))
    return target
