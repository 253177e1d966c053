"""The options that say which networks a command runs and how people are followed, and what they ask for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hrkit.pipeline import Pipeline

Command = Callable[..., Any]

_MODEL = {
    "backbone": click.option(
        "--backbone", default="lite", show_default=True, help="Pose network, as in `hrkit models`."
    ),
    "detector": click.option(
        "--detector",
        help='Person detector; "none": the whole picture is one person.  [default: lite_person, where one is needed]',
    ),
    "weights": click.option(
        "--weights",
        default="auto",
        show_default=True,
        help="Of the pose network: auto, an entry, a file, hf-hub:owner/name, none.",
    ),
    "detector_weights": click.option(
        "--detector-weights", default="auto", show_default=True, help='The same; "none": as initialised.'
    ),
    "decoder": click.option("--decoder", help="msra, dark or udp.  [default: the weights' own]"),
    "threshold": click.option("--threshold", type=click.FloatRange(0, 1), help="Of the detector.  [default: its own]"),
    "flip_test": click.option(
        "--flip-test", is_flag=True, help="Average with the mirrored picture: better, twice the time."
    ),
    "device": click.option("--device", default="auto", show_default=True, help="cpu, cpu,cpu, cuda:0, cuda:0,1, mps."),
    "precision": click.option(
        "--precision", default="auto", show_default=True, help="Of the networks: float32, bfloat16, float16."
    ),
    "runtime": click.option(
        "--runtime", default="auto", show_default=True, help="auto: made fast; eager: as it is; onnx; openvino."
    ),
}
_FOLLOWING = {
    "detect_every": click.option(
        "--detect-every", type=click.IntRange(1), default=1, show_default=True, help="Frames from one detection on."
    ),
    "track": click.option("--track/--no-track", default=True, show_default=True, help="Ids that stay with people."),
    "smooth": click.option("--smooth", is_flag=True, help="Less jitter."),
    "smoothing": click.option(
        "--smoothing", type=click.FloatRange(0), help="How much less: under 1 there is less lag, over 1 less jitter."
    ),
    "max_people": click.option("--max-people", type=click.IntRange(1), help="Take only the best boxes of a frame."),
}


def model_options(command: Command) -> Command:
    """Adds the options of the networks; the command gets `make_pipeline`, which builds what they ask for."""

    @functools.wraps(command)
    def with_pipeline(*args: Any, **options: Any) -> Any:
        chosen = {name: options.pop(name) for name in _MODEL}
        return command(*args, make_pipeline=functools.partial(_build_pipeline, **chosen), **options)

    return _add(with_pipeline, _MODEL)


def following_options(command: Command) -> Command:
    """Adds the options of videos; the command gets `following`, the settings of a `Follower`."""

    @functools.wraps(command)
    def with_following(*args: Any, **options: Any) -> Any:
        chosen = {name: options.pop(name) for name in _FOLLOWING}
        smooth, strength = chosen.pop("smooth"), chosen.pop("smoothing")
        chosen["smoothing"] = strength if strength is not None else float(smooth)
        return command(*args, following=chosen, **options)

    return _add(with_following, _FOLLOWING)


def _add(command: Command, options: Mapping[str, Callable[[Command], Command]]) -> Command:
    for option in reversed(list(options.values())):
        command = option(command)
    return command


def pipeline_settings(
    *, backbone: str, detector: str | None, weights: str, detector_weights: str, threshold: float | None, **others: Any
) -> dict[str, Any]:
    """The keyword arguments of `Pipeline.from_names` that the options ask for."""
    return {
        "backbone": backbone,
        "detector": None if detector == "none" else detector or "auto",
        "weights": None if weights == "none" else weights,
        "detector_weights": None if detector_weights == "none" else detector_weights,
        "detection_threshold": threshold,
        **others,
    }


def _build_pipeline(**options: Any) -> Pipeline:
    from hrkit.pipeline import Pipeline

    return Pipeline.from_names(**pipeline_settings(**options))
