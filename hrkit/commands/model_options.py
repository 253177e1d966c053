"""Options that several commands share: which networks run, and how people are followed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import click

from hrkit import registry
from hrkit.commands.numbers import SIZE, number_option
from hrkit.errors import UnknownNameError
from hrkit.pipeline import Pipeline
from hrkit.settings import SIDE, Range

Command = Callable[..., Any]  # whatever options it takes
Decorator = Callable[[Command], Command]
Options = dict[str, Any]  # values of options by name

head_option: Decorator = click.option("--head", help="Head of a pose network.  [default: that of the weights]")
input_size_option: Decorator = click.option(
    "--input-size", type=SIZE, metavar="HEIGHT WIDTH", help="[default: that of the weights]"
)

NETWORKS: dict[str, Decorator] = {
    "backbone": click.option("--backbone", default="lite", help="Pose network of `hrkit models`, or a run's folder."),
    "detector": click.option(
        "--detector",
        help='Person detector; with "none" the whole picture is one person.  [default: lite_person if one is needed]',
    ),
    "weights": click.option("--weights", default="auto", help="auto, an entry, a file, hf-hub:owner/name, none."),
    "skeleton": click.option(
        "--skeleton", metavar="NAME|FILE.toml", help="Joints of weights that do not name theirs, such as crowdpose."
    ),
    "detector_weights": click.option("--detector-weights", default="auto", help="The same for the detector."),
    "detector_cfg": click.option("--detector-cfg", help="Cfg of a Darknet network of your own, in place of yolov3's."),
    "detector_names": click.option("--detector-names", help="File with the names of its classes, one per line."),
    "detector_size": number_option("--detector-size", int, SIDE, "Side of the detector's input in px."),
    "classes": click.option("--classes", metavar="A,B,...", help="Classes that the detector finds.  [default: person]"),
    "decoder": click.option("--decoder", help="msra, dark or udp.  [default: that of the weights]"),
    "threshold": number_option(
        "--threshold", float, Range(0, 1), "Lowest score of a detector's box.  [default: the detector's own]"
    ),
    "min_score": number_option(
        "--min-score", float, Range(0, 1), "Lowest score of a person, as drawn and written.", default=0.0
    ),
    "flip_test": click.option(
        "--flip-test", is_flag=True, help="Average with the mirrored picture: more accurate, twice the time."
    ),
    "device": click.option("--device", default="auto", help="Where networks run: cpu, cpu,cpu, cuda:0, cuda:0,1, mps."),
    "precision": click.option(
        "--precision", default="auto", help="Precision of the networks: float32, bfloat16, float16, int8."
    ),
    "runtime": click.option(
        "--runtime", default="auto", help="auto (the fastest here), fused, eager (as built), onnx or openvino."
    ),
}
"""The options of the detector and the pose network, by the names of their values."""

_FOLLOWING: dict[str, Decorator] = {
    "detect_every": number_option(
        "--detect-every", int, Range(1), "Run the detector on every Nth frame.", default=1
    ),
    "track": click.option("--track/--no-track", default=True, help="Give people ids that stay from frame to frame."),
    "smooth": click.option("--smooth", is_flag=True, help="Reduce jitter."),
    "smoothing": number_option(
        "--smoothing", float, Range(0), "Strength: below 1 there is less lag, above 1 less jitter."
    ),
    "max_people": number_option("--max-people", int, Range(1), "Keep only the best boxes of a frame."),
}


def model_options(command: Command) -> Command:
    """Adds the options of the networks. The command gets them as `model`, for `create_pipeline`."""
    return _with_options(command, NETWORKS, "model", lambda model: model)


def following_options(command: Command) -> Command:
    """Adds the options of videos. The command gets the arguments of a `Follower` as `following`."""

    def arguments(options: Options) -> Options:
        smooth, strength = options.pop("smooth"), options.pop("smoothing")
        return {**options, "smoothing": strength if strength is not None else float(smooth)}

    return _with_options(command, _FOLLOWING, "following", arguments)


def need_video(following: Options) -> bool:
    """Whether options of videos are given that mean nothing for a photo."""
    return bool(following["smoothing"]) or following["detect_every"] > 1


def _with_options(
    command: Command,
    options: dict[str, Decorator],
    name: str,
    convert: Callable[[Options], Options],
) -> Command:
    @functools.wraps(command)
    def with_options(**given: Any) -> Any:
        chosen = {option: given.pop(option) for option in options}
        return command(**given, **{name: convert(chosen)})

    extended: Command = with_options
    for option in reversed(options.values()):
        extended = option(extended)
    return extended


def pipeline_arguments(model: Mapping[str, Any]) -> Options:
    """The arguments of `Pipeline.from_names` for the options of the networks."""
    names = {"threshold": "detection_threshold", "min_score": "person_threshold"}
    renamed = {names.get(name, name): value for name, value in model.items()}
    no_weights = {name: None for name in ("weights", "detector_weights") if model[name] == "none"}
    detector = None if model["detector"] == "none" else model["detector"] or "auto"
    classes = model["classes"].split(",") if model["classes"] else None
    return {**renamed, **no_weights, "detector": detector, "classes": classes}


def create_pipeline(model: Mapping[str, Any]) -> Pipeline:
    """The detector and the pose network that the options ask for."""
    return Pipeline.from_names(**pipeline_arguments(model))


def is_detector(name: str) -> bool:
    """Whether `name` is a registered detector, not a backbone. Raises `UnknownNameError` if it is neither."""
    if name in registry.backbones:
        return False
    if name in registry.detectors:
        return True
    choices = [*registry.backbones.entries(), *registry.detectors.entries()]
    raise UnknownNameError("backbone or detector", name, choices, hint=registry.where_else(name))
