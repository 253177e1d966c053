"""`hrkit bench`: how fast it is here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command(
    "bench",
    epilog="\b\nExamples:\n  hrkit bench\n  hrkit bench --compare --limit --photos photos/\n"
    "  hrkit bench --backbone lite --detector lite_person --people 1,2,4 --json\n"
    "  hrkit bench --train --backbone hrnet_w32",
)
@click.option("--train", "of_training", is_flag=True, help="Loader and training step instead.")
@click.option("--backbone", help="Pose network.  [default: hrnet_w32, hrnet_w48 and lite; with --train: hrnet_w32]")
@click.option("--detector", help="Its detector, where it needs one.  [default: yolov3_tiny]")
@click.option("--detector-weights", help="A file; without one that is at hand the detector is random.")
@click.option("--input-size", type=(int, int), help="Height and width.  [default: what the network is for]")
@click.option("--people", default="1,4,16", show_default=True, help="In a frame, one column each.")
@click.option("--photos", help="A folder of pictures for end to end.  [default: a bundled one]")
@click.option("--compare", is_flag=True, help="Against the plain way, other operators and other programs.")
@click.option("--limit", is_flag=True, help="Against the matrix products of this machine.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--precision", default="auto", show_default=True, help="float32, bfloat16, float16.")
@click.option("--runtime", default="auto", show_default=True, help="As of `hrkit demo`.")
@click.option("--plot", type=click.Path(path_type=Path), help="Also draw the cost a person to this picture.")
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Of training.")
@click.option("--steps", type=click.IntRange(1), default=5, show_default=True, help="Of training.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    of_training: bool,
    backbone: str | None,
    detector: str | None,
    detector_weights: str | None,
    input_size: tuple[int, int] | None,
    people: str,
    photos: str | None,
    compare: bool,
    limit: bool,
    rounds: int,
    precision: str,
    runtime: str,
    plot: Path | None,
    batch_size: int,
    steps: int,
    as_json: bool,
) -> None:
    """Measures detector, crops, pose network, decoding, drawing and all together on this machine, as a page."""
    if of_training:
        _training(backbone or "hrnet_w32", input_size, batch_size, steps, as_json)
        return
    import attrs

    from hrkit.benchmark.report import STANDARD, Pair, as_dict, curves, measure, page
    from hrkit.benchmark.speed import read_photos
    from hrkit.images import write_image

    pairs: tuple[Pair, ...] = STANDARD if backbone is None else (Pair(backbone, input_size, detector or "yolov3_tiny"),)
    if detector_weights is not None:
        pairs = tuple(
            attrs.evolve(pair, detector_weights=detector_weights) if pair.detector != "lite_person" else pair
            for pair in pairs
        )
    speed = measure(
        pairs,
        people=_numbers(people),
        photos=read_photos(photos) if photos else (),
        rounds=rounds,
        compare=compare,
        limit=limit,
        say=lambda line: click.echo(line, err=True),
        precision=precision,
        runtime=runtime,
    )
    if plot is not None:
        write_image(plot, curves(speed))
    said = " ".join(["hrkit", *sys.argv[1:]])
    click.echo(json.dumps(as_dict(speed)) if as_json else page(speed, said))


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r} is no list of numbers, as 1,4,16", param_hint="--people")
    return [int(part) for part in parts]


def _training(backbone: str, input_size: tuple[int, int] | None, batch_size: int, steps: int, as_json: bool) -> None:
    import attrs

    from hrkit.benchmark.training_speed import made_people, measure_training
    from hrkit.training.config import TrainConfig

    config = TrainConfig(output="", backbone=backbone, input_size=input_size, batch_size=batch_size)
    with made_people() as people:
        rates = measure_training(config, people, steps)
    if as_json:
        click.echo(json.dumps({**attrs.asdict(rates), "network_share": rates.network_share}))
        return
    step = rates.network_seconds + rates.prepare_seconds + rates.metrics_seconds
    click.echo(f"loader   {rates.loader_rate:8.1f} samples/s a core, from 640x480 JPEGs")
    click.echo(f"step     {rates.step_rate:8.1f} samples/s, batches of {batch_size}")
    for name, seconds in (
        ("forward, backward, optimizer", rates.network_seconds),
        ("normalise, targets", rates.prepare_seconds),
        ("metrics", rates.metrics_seconds),
    ):
        click.echo(f"  {name:30} {seconds * 1e3:9.2f} ms  {seconds / step:6.1%}")
