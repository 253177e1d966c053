"""The speed of inference: each part of a frame, and all parts together."""

from __future__ import annotations

import functools
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import attrs
import cv2
import numpy as np
import torch
from attrs import frozen
from torch import Tensor, nn

from hrkit.detectors.base import Detector
from hrkit.drawing.annotators import Drawing
from hrkit.evaluation.report import markdown_table
from hrkit.images import read_image
from hrkit.pipeline import Pipeline, create_detector
from hrkit.pose_model import PoseModel, create_pose_model
from hrkit.runtimes.prepare import placement
from hrkit.structures import Detections, Frame, Poses, Size, Skeleton
from hrkit.weights import catalogue

PHOTO = Path(__file__).parents[1] / "assets" / "basketball.jpg"

PAUSE = 0.1
"""Seconds between two pieces of work."""

Work = Callable[[], object]
Scene = list[tuple[Frame, Detections]]
"""Frames with the people in them, given so that everything measured does the same work."""
Network = TypeVar("Network", bound=nn.Module)

PER_PERSON = ("crops", "pose network", "decoding")
"""The parts whose time grows with the number of people."""


class Timing(NamedTuple):
    """Seconds that a piece of work took over several rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{1e3 * self.median:.2f} ({1e3 * self.low:.2f} to {1e3 * self.high:.2f})"


@frozen
class Pair:
    """A pose network, at its own input size if that is None, and a detector if the network needs one."""

    backbone: str
    input_size: Size | None
    detector: str | None
    detector_weights: str | None = None

    def __str__(self) -> str:
        size = "" if self.input_size is None else " {}x{}".format(*self.input_size)
        return f"{self.backbone}{size}" + ("" if self.detector is None else f" + {self.detector}")


STANDARD = (
    Pair("hrnet_w32", (256, 192), "yolov3_tiny"),
    Pair("hrnet_w48", (384, 288), "yolov3_tiny"),
    Pair("lite", (192, 160), "lite_person"),
)
"""The pairs that are measured by default."""


@frozen
class Figure:
    """A line of the table of figures."""

    of: str
    what: str
    value: float
    unit: str


@frozen
class Parts:
    """The time per part of a 1280x720 frame, for one pair and number of people."""

    of: str
    people: int
    seconds: dict[str, Timing]


@frozen
class Speed:
    """All results of a run."""

    machine: str
    parts: list[Parts]
    figures: list[Figure]
    per_person: dict[str, dict[int, float]]
    """Seconds per person for `PER_PERSON`, by pair and number of people in a frame."""


def measure(
    pairs: Sequence[Pair],
    *,
    people: Sequence[int] = (1, 4, 16),
    photos: Sequence[Frame] = (),
    rounds: int = 5,
    say: Callable[[str], None] = print,
    **settings: Any,  # Any: arguments of Pipeline
) -> Speed:
    """Measures each pair; `settings` are those of `Pipeline`. `say` is told which pair is being measured.

    End to end is measured on a bundled photo and, if the detector is trained, on the `photos` in which it finds people.
    """
    speed = Speed(machine(), [], [], {})
    for wanted in pairs:
        say(str(wanted))
        pair, model, detector, scenes = built(wanted, photos)
        pipeline = Pipeline(model, detector, **settings)
        for count in people:
            seconds = interleaved(part_work(pipeline, crowd(count)), rounds)
            speed.parts.append(Parts(str(pair), count, seconds))
            alone = sum(seconds[part].median for part in PER_PERSON if part in seconds) / count
            speed.per_person.setdefault(str(pair), {})[count] = alone
        for scene in scenes:
            (timing,) = interleaved({"whole": functools.partial(whole, pipeline, scene)}, rounds).values()
            rate = len(scene) / timing.median
            speed.figures.append(Figure(str(pair), f"end to end, {in_words(scene)}", rate, "photos/s"))
    return speed


def built(pair: Pair, photos: Sequence[Frame]) -> tuple[Pair, PoseModel, Detector | None, list[Scene]]:
    """The pair with its defaults filled in, its networks, and the scenes to measure it on end to end."""
    model = timed_pose_model(pair.backbone, pair.input_size)
    scenes = [crowd(2, (480, 640))]
    detector = None
    if not model.needs_boxes:
        pair = attrs.evolve(pair, detector=None)
    elif pair.detector is not None:
        detector, trained = timed_detector(pair.detector, pair.detector_weights)
        if photos and trained:
            scenes.append([(photo, found) for photo in photos if len(found := detector.detect([photo])[0])])
    return attrs.evolve(pair, input_size=model.input_size), model, detector, scenes


def in_words(scene: Scene) -> str:
    """Such as "a photo of 640x480, 2 people"."""
    height, width = scene[0][0].shape[:2]
    photos = f"{len(scene)} photos" if len(scene) > 1 else f"a photo of {width}x{height}"
    return f"{photos}, {sum(len(found) for _, found in scene)} people"


def machine() -> str:
    """Processor, threads, GPU and versions, in words."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # Any: values of many types
    name = known.get("cpu_name") or platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}{', bfloat16' if known.get('avx512_bf16') else ''}{gpu}; "
        f"torch {torch.__version__}, OpenCV {cv2.__version__}, Python {platform.python_version()}"
    )


def page(speed: Speed, command: str) -> str:
    """The results as Markdown."""
    parts = ["# Speed", f"`{command}` on {speed.machine}."]
    for of, cost in speed.per_person.items():
        measured = [part.seconds for part in speed.parts if part.of == of]
        rows = [[name, *(seconds[name] for seconds in measured)] for name in measured[0]]
        rows.append(["pose per person", *(f"{1e3 * seconds:.2f}" for seconds in cost.values())])
        parts += [f"## {of}", "Milliseconds per frame of 1280x720, median (lowest to highest), by people in it."]
        parts.append(markdown_table(["", *(f"{count} people" if count > 1 else "1 person" for count in cost)], rows))
    figures = [[figure.of, figure.what, f"{figure.value:.2f}", figure.unit] for figure in speed.figures]
    return "\n\n".join([*parts, "## Figures", markdown_table(["of", "what", "", ""], figures)]) + "\n"


@torch.inference_mode()
def interleaved(work: Mapping[str, Work], rounds: int) -> dict[str, Timing]:
    """Times each piece of work `rounds` times. The pieces take turns, so a slow moment affects all of them.

    A first round warms up and does not count. The pause before each piece lets the threads of the previous one stop,
    which in some programs keep spinning for a while.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, piece in work.items():
            time.sleep(PAUSE)
            started = time.perf_counter()
            piece()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: Timing(statistics.median(took), min(took), max(took)) for name, took in seconds.items()}


def crowd(people: int, size: Size = (720, 1280)) -> Scene:
    """The bundled photo resized to (height, width), with `people` boxes of a person's shape in rows."""
    height, width = size
    columns = max(1, int(np.ceil(np.sqrt(people * width / height * 2))))
    rows = -(-people // columns)
    places = np.array([[row, column] for row in range(rows) for column in range(columns)][:people], np.float64)
    step = np.array([height / rows, width / columns])
    tall = min(step[0], 2 * step[1]) * 0.9
    middle = (places + 0.5) * step
    half = np.array([tall / 2, tall / 4])
    boxes = np.concatenate([(middle - half)[:, ::-1], (middle + half)[:, ::-1]], axis=1)
    frame = cv2.resize(read_image(PHOTO), (width, height)).astype(np.uint8, copy=False)
    return [(frame, Detections.from_boxes(boxes))]


def part_work(pipeline: Pipeline, scene: Scene) -> dict[str, Work]:
    """The steps of the scene's first frame by name, and "end to end", which is all of them without drawing.

    A network that finds people by itself has no detector, crops and decoding.
    """
    frame, found = scene[0]
    model, codec, drawing = pipeline.pose_model, pipeline.codec, Drawing()
    poses = standing(found, pipeline.skeleton)
    work: dict[str, Work] = {}
    if pipeline.bottom_up:
        images = blank_input(model, model.input_size)
        work["pose network"] = lambda: model(images)
    else:
        with torch.inference_mode():
            crops = model.crops([(frame, found.xyxy)], codec)
            outputs = model.outputs(crops.images)
        if pipeline.detector is not None:
            work["detector"] = lambda: pipeline.detect([frame])
        work["crops"] = lambda: model.crops([(frame, found.xyxy)], codec)
        work["pose network"] = lambda: model.outputs(crops.images)
        work["decoding"] = lambda: codec.decode(outputs)
    work["drawing"] = lambda: drawing(frame, poses)
    work["end to end"] = lambda: whole(pipeline, scene)
    return work


def standing(found: Detections, skeleton: Skeleton) -> Poses:
    """Poses of plausible shape in the boxes, to draw: an untrained network would scatter the joints."""
    levels = np.linspace(0.05, 0.95, len(skeleton))
    sides = 0.5 + 0.2 * np.where(np.arange(len(skeleton)) % 2, -1, 1)
    corner, size = found.xyxy[:, None, :2], (found.xyxy[:, 2:] - found.xyxy[:, :2])[:, None]
    keypoints = corner + np.stack([sides, levels], axis=1) * size
    return Poses(keypoints, np.ones(keypoints.shape[:2]), found, skeleton)


def whole(pipeline: Pipeline, scene: Scene) -> None:
    """Runs the detector on the frames, then finds the poses of the scene's people."""
    frames, found = [frame for frame, _ in scene], [people for _, people in scene]
    if pipeline.bottom_up:
        pipeline.predict_batch(frames)
    else:
        pipeline.detect(frames)
        pipeline.predict_batch(frames, found)


def blank_input(network: nn.Module, size: Size, count: int = 1) -> Tensor:
    """(count,3,H,W) of noise, on the network's device and in its dtype."""
    device, dtype = placement(network)
    images = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))
    return images.to(device, dtype, memory_format=torch.channels_last)


def timed_pose_model(backbone: str, input_size: Size | None) -> PoseModel:
    """The network with its default weights if they are on this machine, else with random ones, which are as fast."""
    for entry in catalogue.entries(backbone, "pose"):
        if entry.default and catalogue.is_cached(entry) and input_size in (None, entry.input_size):
            return create_pose_model(backbone, weights=entry.name, input_size=input_size, num_joints=None)
    return randomise_weights(create_pose_model(backbone, input_size=input_size))


def timed_detector(name: str, weights: str | None = None) -> tuple[Detector, bool]:
    """The detector, and whether it is trained: from a file, or with its default weights if they are on this machine."""
    if weights is not None or any(e.default and catalogue.is_cached(e) for e in catalogue.entries(name, "detector")):
        return create_detector(name, weights=weights or "auto"), True
    detector = create_detector(name, weights=None)
    if isinstance(detector, nn.Module):
        randomise_weights(detector)
    return detector, False


def randomise_weights(network: Network) -> Network:
    """Sets random weights that keep activations in a usual range; calculations with values near 0 can be slow."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(part.weight, generator=random)
            elif isinstance(part, nn.BatchNorm2d) and part.running_var is not None:
                part.running_var.uniform_(1, 2, generator=random)
    return network.eval()
