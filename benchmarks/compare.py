"""Compares hrkit with a naive pipeline, with other programs, and with the limits of this machine.

    python benchmarks/compare.py [--photos photos/] [--plot cost.png]

Prints a Markdown table of ratios. ONNX Runtime is left out if the extra `onnx` is not installed.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
import cv2
import numpy as np
import PIL.Image
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms import v2

from hrkit import ops
from hrkit.benchmark.inference import (
    STANDARD,
    Figure,
    Pair,
    Scene,
    Work,
    blank_input,
    built,
    crowd,
    in_words,
    interleaved,
    machine,
    randomise_weights,
    standing,
    timed_detector,
    whole,
)
from hrkit.detectors.base import Detector
from hrkit.detectors.darknet import load_darknet_weights
from hrkit.detectors.yolov3 import Yolov3
from hrkit.drawing.annotators import Drawing
from hrkit.drawing.plots import Curve, plot
from hrkit.errors import HrkitError
from hrkit.evaluation.report import markdown_table
from hrkit.images import find_images, read_image, write_image
from hrkit.ops import reference
from hrkit.pipeline import Pipeline, create_detector
from hrkit.pose_model import PoseModel
from hrkit.profiling import network_seconds
from hrkit.runtimes.allocator import keep_freed_memory
from hrkit.runtimes.complexity import layer_groups
from hrkit.runtimes.conversion import to_onnx
from hrkit.runtimes.exported import OnnxNetwork
from hrkit.runtimes.prepare import placement
from hrkit.skeletons import coco17
from hrkit.structures import Detections, Frame

CROWDS = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of people in a frame at which the time per person is measured."""

LIMIT_BATCH = 8
"""Crops per batch when the network is compared with the machine's matrix product."""

LIMIT_SIDE = 4096
"""Rows and columns of that product."""


class NaiveBaseline:
    """How many programs find poses, simple-HRNet among them, to compare with.

    Float32 networks in NCHW with their batch norms; one frame at a time, its people in one batch; PIL cuts and resizes
    each crop; loops find the peak of each heatmap. Only the NMS of its detector is hrkit's.
    """

    def __init__(self, pose_model: PoseModel, detector: Detector | None = None) -> None:
        self.pose_model, self.detector = pose_model, detector
        self._normalise = v2.Normalize(pose_model.spec.mean, pose_model.spec.std)

    @torch.inference_mode()
    def __call__(self, frame: Frame, people: Detections) -> NDArray[np.float64]:
        """(N,K,3) x, y (frame px) and score of the people in a (H,W,3) BGR frame, after running the detector too."""
        if self.detector is not None:
            self.detector.detect([frame])
        keypoints = np.zeros((len(people), len(self.pose_model.skeleton), 3))
        if len(people):
            heatmaps = self.pose_model(self.crops(frame, people)).numpy()
            for row, (maps, box) in enumerate(zip(heatmaps, people.xyxy, strict=True)):
                for joint, heatmap in enumerate(maps):
                    y, x = np.unravel_index(np.argmax(heatmap), heatmap.shape)
                    at_x = box[0] + x / heatmap.shape[1] * (box[2] - box[0])
                    at_y = box[1] + y / heatmap.shape[0] * (box[3] - box[1])
                    keypoints[row, joint] = at_x, at_y, heatmap[y, x]
        return keypoints

    def whole(self, scene: Scene) -> None:
        """Finds the poses of a scene, frame by frame."""
        for frame, people in scene:
            self(frame, people)

    def crops(self, frame: Frame, people: Detections) -> Tensor:
        """(N,3,H,W), normalised."""
        height, width = self.pose_model.input_size
        colors = frame if self.pose_model.spec.channel_order == "bgr" else frame[:, :, ::-1]
        picture = PIL.Image.fromarray(np.ascontiguousarray(colors))
        crops = []
        for box in people.xyxy.tolist():
            crop = picture.crop(tuple(box)).resize((width, height), PIL.Image.Resampling.BICUBIC)
            crops.append(self._normalise(v2.functional.pil_to_tensor(crop).float() / 255))
        return torch.stack(crops)


def naive_detector(pair: Pair, detector: Detector | None) -> Detector | None:
    """A Darknet detector as its files describe it: float32, NCHW, with batch norms; any other detector as it is."""
    if pair.detector not in ("yolov3", "yolov3_tiny"):
        return detector
    naive = create_detector(pair.detector, weights=None)
    assert isinstance(naive, Yolov3)
    if pair.detector_weights is None:
        randomise_weights(naive.network)
    else:
        load_darknet_weights(naive.network, pair.detector_weights)
    return naive


def compare(pair: Pair, photos: Sequence[Frame], rounds: int) -> tuple[list[Figure], dict[int, float]]:
    """The figures of a pair, and its seconds per person by number of people in a frame.

    A network that finds people by itself has no naive baseline.
    """
    pair, model, detector, scenes = built(pair, photos)
    pipeline = Pipeline(model, detector)
    seconds = sum(outside_networks(pipeline, 10 * rounds))
    figures = [Figure(str(pair), "outside both networks, 4 people in 1280x720", 1e3 * seconds, "ms per frame")]
    naive = NaiveBaseline(model, naive_detector(pair, detector))
    for scene in scenes if not pipeline.bottom_up else ():
        ours, theirs = functools.partial(whole, pipeline, scene), functools.partial(naive.whole, scene)
        figures.append(over_naive(pair, scene, ours, theirs, rounds))
    return [*figures, over_limit(pair, pipeline, model, rounds)], per_person(pipeline)


def over_naive(pair: Pair, scene: Scene, ours: Work, theirs: Work, rounds: int) -> Figure:
    """How many times as fast hrkit's work on a scene is as the naive one."""
    timings = interleaved({"hrkit": ours, "naive": theirs}, rounds)
    ratio = timings["naive"].median / timings["hrkit"].median
    return Figure(str(pair), f"end to end over the naive way, {in_words(scene)}", ratio, "times as fast")


def outside_networks(pipeline: Pipeline, rounds: int) -> tuple[float, float]:
    """Median seconds per frame spent outside the two networks without drawing, and for drawing, frame after frame."""
    scene = crowd(4)
    both = (pipeline.pose_model, getattr(pipeline.detector, "network", None))
    networks = [network for network in both if isinstance(network, nn.Module)]
    frame, people = scene[0]
    poses, drawing = standing(people, pipeline.skeleton), Drawing()
    seconds: list[tuple[float, float]] = []
    with network_seconds(*networks) as inside:
        for _ in range(rounds):
            inside.clear()
            started = time.perf_counter()
            whole(pipeline, scene)
            found = time.perf_counter()
            drawing(frame, poses)
            seconds.append((found - started - sum(inside), time.perf_counter() - found))
    around, drawn = np.median(seconds, axis=0)
    return float(around), float(drawn)


def network_operations(model: PoseModel) -> int:
    """Floating-point operations per crop, two per multiply-add."""
    return 2 * sum(group.multiply_adds for group in layer_groups(model, torch.zeros(1, 3, *model.input_size)))


def over_limit(pair: Pair, pipeline: Pipeline, model: PoseModel, rounds: int, batch: int = LIMIT_BATCH) -> Figure:
    """The time of the network over that of a matrix product with as many operations."""
    fast, size = pipeline.pose_model, LIMIT_SIDE
    images = blank_input(fast, fast.input_size, batch)
    matrix = torch.rand(size, size).to(placement(fast)[1])
    timings = interleaved({"network": lambda: fast(images), "product": lambda: matrix @ matrix}, 2 * rounds)
    ideal = batch * network_operations(model) / (2 * size**3) * timings["product"].low
    kind = str(fast.dtype).removeprefix("torch.")
    what = f"network over the {kind} matrix product, batch {batch}"
    return Figure(str(pair), what, timings["network"].low / ideal, "times the limit")


def per_person(pipeline: Pipeline) -> dict[int, float]:
    """Seconds per person for crops, network and decoding, by number of people in a frame."""

    def work(count: int) -> Callable[[], object]:
        ((frame, people),) = crowd(count)
        return lambda: pipeline.predict_batch([frame], None if pipeline.bottom_up else [people])

    timings = interleaved({str(count): work(count) for count in CROWDS}, 1)
    return {count: timings[str(count)].median / count for count in CROWDS}


def operators(rounds: int) -> Iterator[Figure]:
    """Suppression against torchvision's and against plain Python."""
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


def detectors(rounds: int) -> Iterator[Figure]:
    """Darknet's networks against OpenCV and ONNX Runtime, which run an ONNX file with the same weights."""
    for name in ("yolov3_tiny", "yolov3"):
        detector, _ = timed_detector(name)
        assert isinstance(detector, Yolov3)
        network = detector.prepared(torch.device("cpu")).network
        image = blank_input(detector.network, (detector.input_size,) * 2)
        try:
            model = to_onnx(detector.network, image).SerializeToString()
            runtime = OnnxNetwork(model)
        except HrkitError as error:
            click.echo(f"other programs are left out: {error}", err=True)
            return
        opencv = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
        blob = image.contiguous().numpy()

        def run_opencv(net: Any = opencv, blob: Any = blob) -> None:  # Any: OpenCV has no types
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


def curves(per_person: dict[str, dict[int, float]]) -> Frame:
    """(H,W,3) BGR: the time per person, relative to that of one person alone, over the number of people in a frame."""
    lines = [
        Curve(of, np.log2(list(cost)), np.array(list(cost.values())) / cost[CROWDS[0]], dots=True)
        for of, cost in per_person.items()
    ]
    label = "people in a frame, power of 2"
    return plot("time per person, 1 alone = 1", label, lines, x_range=(0, 6), y_range=(0, 1.5), x_ticks=7)


@click.command()
@click.option("--backbone", help="Pose network.  [default: hrnet_w32, hrnet_w48 and lite]")
@click.option("--detector", default="yolov3_tiny", show_default=True, help="Its person detector.")
@click.option("--detector-weights", help="File of weights for Darknet detectors.  [default: random]")
@click.option("--input-size", type=(int, int), help="Height and width.  [default: the network's own]")
@click.option("--photos", help="Folder of pictures for end to end.  [default: a bundled one]")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="How often each part is timed.")
@click.option("--plot", "plot_path", type=click.Path(path_type=Path), help="Draw the time per person to this picture.")
@click.option("--skip-others", is_flag=True, help="Leave out operators and detectors of other programs.")
def main(
    backbone: str | None,
    detector: str,
    detector_weights: str | None,
    input_size: tuple[int, int] | None,
    photos: str | None,
    rounds: int,
    plot_path: Path | None,
    skip_others: bool,
) -> None:
    """Compares hrkit with a naive pipeline, with other programs, and with the limits of this machine."""
    keep_freed_memory()
    pairs = STANDARD if backbone is None else (Pair(backbone, input_size, detector),)
    pictures = [read_image(path) for path in find_images(photos)[:8]] if photos else []
    figures: list[Figure] = []
    cost: dict[str, dict[int, float]] = {}
    for pair in pairs:
        click.echo(str(pair), err=True)
        weights = detector_weights if (pair.detector or "").startswith("yolov3") else None
        found, cost[str(pair)] = compare(attrs.evolve(pair, detector_weights=weights), pictures, rounds)
        figures += found
    if not skip_others:
        click.echo("operators and detectors", err=True)
        figures += [*operators(rounds), *detectors(rounds)]
    if plot_path is not None:
        write_image(plot_path, curves(cost))
    rows = [[figure.of, figure.what, f"{figure.value:.2f}", figure.unit] for figure in figures]
    click.echo(f"On {machine()}.\n\n{markdown_table(['of', 'what', '', ''], rows)}")


if __name__ == "__main__":
    main()
