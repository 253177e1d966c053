"""The figures of `hrkit bench`, measured and written as a page."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import cv2
import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray

from hrkit import ops
from hrkit.benchmark.plain_way import PlainWay
from hrkit.benchmark.speed import (
    Scene,
    Work,
    blank_input,
    crowd,
    found_by,
    interleaved,
    lively,
    matrix_product,
    network_operations,
    outside_networks,
    part_work,
    timed_detector,
    timed_pose_model,
    whole,
)
from hrkit.benchmark.training_speed import PHOTO
from hrkit.detectors.base import Detector
from hrkit.detectors.darknet import load_darknet_weights
from hrkit.detectors.yolov3 import Yolov3
from hrkit.drawing.plots import Curve, plot
from hrkit.errors import HrkitError
from hrkit.images import read_image
from hrkit.ops import reference
from hrkit.pipeline import Pipeline, create_detector
from hrkit.runtimes.conversion import to_onnx
from hrkit.runtimes.onnx_runtime import OnnxNetwork
from hrkit.runtimes.prepare import placement
from hrkit.skeletons import coco17
from hrkit.structures import Size

CROWDS = (1, 2, 4, 8, 16, 32, 64)
"""People in a frame for the cost a person."""

LIMIT_BATCH = 8
"""Crops in a batch where the network is held against the machine's matrix products."""


@frozen
class Pair:
    """A pose network and a detector to measure."""

    backbone: str
    input_size: Size | None
    """None is the network's own."""
    detector: str | None
    """None for a network that finds people by itself."""
    detector_weights: str | None = None

    def __str__(self) -> str:
        size = "" if self.input_size is None else " {}x{}".format(*self.input_size)
        return f"{self.backbone}{size}" + ("" if self.detector is None else f" + {self.detector}")


STANDARD = (
    Pair("hrnet_w32", (256, 192), "yolov3_tiny"),
    Pair("hrnet_w48", (384, 288), "yolov3_tiny"),
    Pair("lite", (256, 192), "lite_person"),
)
"""What is measured where nobody says what."""


@frozen
class Figure:
    """One line of the page."""

    of: str
    what: str
    value: float
    unit: str


@frozen
class Parts:
    """Of one pair, at one number of people in a frame of 1280x720: seconds by part (median, low, high)."""

    of: str
    people: int
    seconds: dict[str, tuple[float, float, float]]


@frozen
class Speed:
    """All that was measured."""

    machine: str
    parts: list[Parts]
    figures: list[Figure]
    per_person: dict[str, dict[int, float]]
    """Seconds a person of crops, network and decoding, by pair and people in a frame."""


def measure(
    pairs: Sequence[Pair],
    *,
    people: Sequence[int] = (1, 4, 16),
    photos: Sequence[NDArray[np.uint8]] = (),
    rounds: int = 5,
    compare: bool = False,
    limit: bool = False,
    operators: bool = True,
    say: Callable[[str], None] = print,
    **settings: Any,
) -> Speed:
    """Times pairs of networks; `settings` are those of `Pipeline`. `say` hears what is being measured.

    `compare` holds them against the plain way and, with `operators`, hrkit's operators against others', its detectors
    against other programs; `limit` holds the networks against the machine's matrix products. End to end is on `photos`,
    with the people that the detector sees if it is trained, and on a bundled one.
    """
    parts: list[Parts] = []
    figures: list[Figure] = []
    per_person: dict[str, dict[int, float]] = {}
    photo = read_image(PHOTO)
    for pair in pairs:
        say(str(pair))
        model = timed_pose_model(pair.backbone, pair.input_size)
        detector, trained = None, False
        if not model.needs_boxes:
            pair = attrs.evolve(pair, detector=None)
        elif pair.detector is not None:
            detector, trained = timed_detector(pair.detector, pair.detector_weights)
        pair = attrs.evolve(pair, input_size=model.input_size)
        pipeline = Pipeline(model, detector, **settings)
        for count in people:
            timings = interleaved(part_work(pipeline, crowd(photo, count)), rounds)
            parts.append(Parts(str(pair), count, {n: (t.median, t.low, t.high) for n, t in timings.items()}))
        outside = 1e3 * outside_networks(pipeline, crowd(photo, 4), 10 * rounds).median
        figures.append(Figure(str(pair), "outside both networks, 4 people in 1280x720", outside, "ms a frame"))
        scenes = [crowd(photo, 2, (480, 640))]
        if photos and detector is not None and trained:
            scenes.append(found_by(detector, photos))
        per_person[str(pair)] = _per_person(pipeline, photo)
        plain = PlainWay(model, _plain_detector(pair, detector)) if compare and not pipeline.bottom_up else None
        for scene in scenes:
            figures += _end_to_end(pair, pipeline, plain, scene, rounds)
        if limit:
            figures.append(_over_limit(pair, pipeline, network_operations(model), rounds))
    if compare and operators:
        say("operators and detectors")
        figures += [*_operators(rounds), *_detectors(rounds)]
    return Speed(machine(), parts, figures, per_person)


def _end_to_end(pair: Pair, pipeline: Pipeline, plain: PlainWay | None, scene: Scene, rounds: int) -> Iterator[Figure]:
    work: dict[str, Work] = {"hrkit": lambda: whole(pipeline, scene)}
    if plain is not None:
        work["plain"] = lambda: [plain(*one) for one in zip(scene.frames, scene.found, strict=True)]
    timings = interleaved(work, rounds)
    height, width = scene.frames[0].shape[:2]
    photos = f"{len(scene.frames)} photos" if len(scene.frames) > 1 else f"a photo of {width}x{height}"
    where = f"{photos}, {scene.people} people"
    yield Figure(str(pair), f"end to end, {where}", len(scene.frames) / timings["hrkit"].median, "photos/s")
    if plain is not None:
        ratio = timings["plain"].median / timings["hrkit"].median
        yield Figure(str(pair), f"end to end over the plain way, {where}", ratio, "times as fast")


def machine() -> str:
    """What it was measured on, in words."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    name = known.get("cpu_name") or platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}{', bfloat16' if known.get('avx512_bf16') else ''}{gpu}; "
        f"torch {torch.__version__}, OpenCV {cv2.__version__}, Python {platform.python_version()}"
    )


def _plain_detector(pair: Pair, detector: Detector | None) -> Detector | None:
    """As it comes out of its file: float32, NCHW, batch norms as they are."""
    if pair.detector not in ("yolov3", "yolov3_tiny"):
        return detector
    plain = create_detector(pair.detector, weights=None)
    assert isinstance(plain, Yolov3)
    if pair.detector_weights is None:
        lively(plain.network)
    else:
        load_darknet_weights(plain.network, pair.detector_weights)
    return plain


def _per_person(pipeline: Pipeline, photo: NDArray[np.uint8]) -> dict[int, float]:
    scenes = {count: crowd(photo, count) for count in CROWDS}

    def poses_of(scene: Scene) -> Callable[[], Any]:
        return lambda: pipeline.predict_batch(scene.frames, None if pipeline.bottom_up else scene.found)

    timings = interleaved({str(count): poses_of(scene) for count, scene in scenes.items()}, 1)
    return {count: timings[str(count)].median / count for count in CROWDS}


def _over_limit(pair: Pair, pipeline: Pipeline, operations: int, rounds: int) -> Figure:
    model = pipeline.pose_model
    images = blank_input(model, model.input_size, LIMIT_BATCH)
    product, size = matrix_product(placement(model)[1])
    timings = interleaved({"network": lambda: model(images), "product": product}, 2 * rounds)
    ideal = LIMIT_BATCH * operations / size * timings["product"].low
    kind = str(model.dtype).removeprefix("torch.")
    what = f"network over the {kind} matrix product, batch {LIMIT_BATCH}"
    return Figure(str(pair), what, timings["network"].low / ideal, "times the limit")


def _operators(rounds: int) -> Iterator[Figure]:
    import torchvision

    random = np.random.default_rng(0)
    corners = random.uniform(0, 1000, (10_000, 2))
    boxes = torch.tensor(np.concatenate([corners, corners + random.uniform(10, 80, (10_000, 2))], 1)).float()
    scores = torch.tensor(random.uniform(size=10_000)).float()
    timings = interleaved(
        {"ours": lambda: ops.nms(boxes, scores, 0.5), "theirs": lambda: torchvision.ops.nms(boxes, scores, 0.5)}, rounds
    )
    ratio = timings["theirs"].median / timings["ours"].median
    yield Figure("ops", "nms of 10,000 boxes over torchvision's", ratio, "times as fast")
    poses = random.uniform(0, 300, (1000, 1, 2)) + random.normal(0, 20, (1000, 17, 2))
    marks, areas = random.uniform(size=1000), random.uniform(2000, 20000, 1000)
    timings = interleaved({"ours": lambda: ops.oks_nms(poses, marks, areas, 0.5, coco17.sigmas)}, rounds)
    plain = interleaved({"plain": lambda: reference.oks_nms(poses, marks, areas, 0.5, coco17.sigmas)}, 1)
    ratio = plain["plain"].median / timings["ours"].median
    yield Figure("ops", "oks_nms of 1,000 poses over plain Python", ratio, "times as fast")


def _detectors(rounds: int) -> Iterator[Figure]:
    """Darknet's networks against OpenCV and ONNX Runtime, which read the same weights from an exported file."""
    for name in ("yolov3_tiny", "yolov3"):
        detector, _ = timed_detector(name)
        assert isinstance(detector, Yolov3)
        network = detector.prepared(torch.device("cpu")).network
        image = blank_input(detector.network, (detector.input_size,) * 2)
        try:
            model = to_onnx(detector.network, image).SerializeToString()
            runtime = OnnxNetwork(model)
        except HrkitError:
            return  # without the packages there is nothing to compare with
        opencv = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
        blob = image.contiguous().numpy()

        def run_opencv(net: Any = opencv, blob: Any = blob) -> None:
            net.setInput(blob)
            net.forward()

        work: dict[str, Work] = {
            "hrkit": functools.partial(network, image),
            "OpenCV's DNN module": run_opencv,
            "ONNX Runtime": functools.partial(runtime, image),
        }
        timings = interleaved(work, 5 * rounds if name == "yolov3_tiny" else rounds)
        for other in list(work)[1:]:
            ratio = timings[other].median / timings["hrkit"].median
            yield Figure(name, f"network at {detector.input_size} over {other}", ratio, "times as fast")


def page(speed: Speed, command: str) -> str:
    """The figures as Markdown."""
    lines = ["# Speed\n", f"`{command}` on {speed.machine}.\n"]
    names = list(dict.fromkeys(name for part in speed.parts for name in part.seconds))
    for of in dict.fromkeys(part.of for part in speed.parts):
        rows = [part for part in speed.parts if part.of == of]
        lines += [f"## {of}\n", "Milliseconds a frame of 1280x720, median (lowest to highest), by people in it.\n"]
        lines += _table(
            ["", *(f"{part.people} people" if part.people > 1 else "1 person" for part in rows)],
            [[name, *(_spread(part.seconds[name]) for part in rows)] for name in names if name in rows[0].seconds],
        )
        cost = speed.per_person[of]
        lines += ["Milliseconds a person, detector and drawing left out, by people in a frame.\n"]
        lines += _table([str(count) for count in cost], [[f"{1e3 * seconds:.1f}" for seconds in cost.values()]])
    lines.append("## Figures\n")
    lines += _table(["of", "what", "", ""], [[f.of, f.what, f"{f.value:.2f}", f.unit] for f in speed.figures])
    return "\n".join(lines)


def curves(speed: Speed) -> NDArray[np.uint8]:
    """(H,W,3) BGR: the cost a person over people in a frame, against that of one alone."""
    lines = [
        Curve(of, np.log2(list(cost)), np.array(list(cost.values())) / cost[CROWDS[0]], dots=True)
        for of, cost in speed.per_person.items()
    ]
    label = "people in a frame, power of 2"
    return plot("cost a person, 1 alone = 1", label, lines, x_range=(0, 6), y_range=(0, 1.5), x_ticks=7)


def as_dict(speed: Speed) -> dict[str, Any]:
    """Plain values, for json."""
    return attrs.asdict(speed)


def _spread(seconds: tuple[float, float, float]) -> str:
    median, low, high = (1e3 * value for value in seconds)
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]
