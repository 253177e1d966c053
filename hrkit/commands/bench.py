"""`hrkit bench`: the speed of inference and training on this machine."""

from __future__ import annotations

import functools
import json
import sys

import attrs
import click
from click.core import ParameterSource

from hrkit.commands.numbers import SIZE, number_option
from hrkit.settings import Range

_OF_BOTH, _OF_TRAINING = {"of_training", "backbone", "input_size", "as_json"}, {"batch_size", "steps"}
"""Parameters that do not depend on --train, and those that are only for it."""


@click.command(
    "bench",
    epilog="\b\nExamples:\n  hrkit bench\n  hrkit bench --photos photos/\n"
    "  hrkit bench --backbone lite --detector lite_person --people 1,2,4 --json\n"
    "  hrkit bench --train --backbone hrnet_w32",
)
@click.option("--train", "of_training", is_flag=True, help="Measure data loading and training steps instead.")
@click.option("--backbone", help="Pose network.  [default: hrnet_w32, hrnet_w48 and lite; with --train: hrnet_w32]")
@click.option("--detector", help="Person detector of --backbone, if it needs one.  [default: yolov3_tiny]")
@click.option("--detector-weights", help="File of detector weights.  [default: those on this machine, else random]")
@click.option("--input-size", type=SIZE, help="Height and width.  [default: the network's own]")
@click.option("--people", default="1,4,16", help="Numbers of people in a frame, one column each.")
@click.option("--photos", help="Folder of pictures for end to end.  [default: a bundled one]")
@number_option("--rounds", int, Range(1), "How often each part is timed.", default=5)
@click.option("--precision", default="auto", help="float32, bfloat16, float16 or int8.")
@click.option("--runtime", default="auto", help="As for `hrkit demo`.")
@number_option("--batch-size", int, Range(1), "Samples per training step.", default=8)
@number_option("--steps", int, Range(1), "Training steps to time.", default=5)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    of_training: bool,
    backbone: str | None,
    detector: str | None,
    detector_weights: str | None,
    input_size: tuple[int, int] | None,
    people: str,
    photos: str | None,
    rounds: int,
    precision: str,
    runtime: str,
    batch_size: int,
    steps: int,
    as_json: bool,
) -> None:
    """Measures detector, crops, pose network, decoding, drawing and all of them together, and prints a page."""
    _check_kind(of_training)
    if of_training:
        _training(backbone or "hrnet_w32", input_size, batch_size, steps, as_json)
        return
    if backbone is None and (detector is not None or input_size is not None):
        raise click.UsageError("--detector and --input-size are for a pair of networks; name its --backbone")
    from hrkit.benchmark.inference import STANDARD, Pair, measure, page
    from hrkit.images import find_images, read_image

    pairs = [
        attrs.evolve(pair, detector_weights=detector_weights) if pair.detector == "yolov3_tiny" else pair
        for pair in STANDARD
    ]
    if backbone is not None:
        pairs = [Pair(backbone, input_size, detector or "yolov3_tiny", detector_weights)]
    speed = measure(
        pairs,
        people=_numbers(people),
        photos=[read_image(path) for path in find_images(photos)[:8]] if photos else (),
        rounds=rounds,
        say=lambda line: click.echo(line, err=True),
        precision=precision,
        runtime=runtime,
    )
    if as_json:
        click.echo(json.dumps(speed, default=functools.partial(attrs.asdict, recurse=False)))
    else:
        click.echo(page(speed, " ".join(["hrkit", *sys.argv[1:]])))


def _check_kind(of_training: bool) -> None:
    """Raises `UsageError` for an option that would be ignored."""
    context = click.get_current_context()
    for option in context.command.params:
        given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        if given and option.name not in _OF_BOTH and (option.name in _OF_TRAINING) != of_training:
            raise click.UsageError(f"{option.opts[0]} is {'not ' if of_training else ''}for --train")


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r} is no list of numbers, as 1,4,16", param_hint="--people")
    return [int(part) for part in parts]


def _training(backbone: str, input_size: tuple[int, int] | None, batch_size: int, steps: int, as_json: bool) -> None:
    from hrkit.benchmark.training import measure_training, people_of_a_photo
    from hrkit.training.config import TrainConfig

    config = TrainConfig(output="", backbone=backbone, input_size=input_size, batch_size=batch_size)
    rates = measure_training(config, people_of_a_photo(), steps)
    if as_json:
        click.echo(json.dumps({**attrs.asdict(rates), "network_share": rates.network_share}))
        return
    step = batch_size / rates.step_rate
    click.echo(f"loader   {rates.loader_rate:8.1f} samples/s per core, from 640x480 JPEGs")
    click.echo(f"step     {rates.step_rate:8.1f} samples/s, batches of {batch_size}")
    for name, seconds in (
        ("forward, backward, optimizer", rates.network_seconds),
        ("normalise, targets", rates.prepare_seconds),
        ("metrics", rates.metrics_seconds),
    ):
        click.echo(f"  {name:30} {seconds * 1e3:9.2f} ms  {seconds / step:6.1%}")
