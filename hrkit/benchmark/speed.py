"""How fast people are found on this machine: parts of a pipeline, the whole of it, and against other ways."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from attrs import frozen
from torch import nn

from hrkit.detectors.base import Detector
from hrkit.drawing.overlay import Drawing
from hrkit.images import read_image
from hrkit.pipeline import FRAMES_AT_ONCE, Pipeline, create_detector
from hrkit.pose_model import PoseModel, create_pose_model
from hrkit.profiling import network_seconds
from hrkit.runtimes.complexity import layer_groups
from hrkit.runtimes.prepare import placement
from hrkit.structures import Detections, Frame, Poses, Skeleton
from hrkit.weights import catalogue

REST = 0.1
"""Seconds between two pieces of work."""

Work = Callable[[], Any]


@frozen
class Timing:
    """What one piece of work took in each round, seconds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def low(self) -> float:
        """Seconds."""
        return min(self.seconds)

    @property
    def high(self) -> float:
        """Seconds."""
        return max(self.seconds)


@torch.inference_mode()
def interleaved(work: Mapping[str, Work], rounds: int) -> dict[str, Timing]:
    """Times each piece of work `rounds` times, in turns, so that a slow moment of the machine meets all alike.

    One more round before them warms up and does not count. Each piece starts when the threads of the one before have
    come to rest, which in some programs spin on for a while.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, piece in work.items():
            time.sleep(REST)
            started = time.perf_counter()
            piece()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


@frozen
class Scene:
    """Frames and the people in them, so that all ways have the same work."""

    frames: tuple[Frame, ...]
    found: tuple[Detections, ...]

    @property
    def people(self) -> int:
        """In all frames."""
        return sum(map(len, self.found))


def crowd(photo: Frame, people: int, size: tuple[int, int] = (720, 1280)) -> Scene:
    """The photo at (height, width) with `people` boxes of a person's shape side by side, in rows."""
    height, width = size
    columns = max(1, int(np.ceil(np.sqrt(people * width / height * 2))))
    rows = -(-people // columns)
    places = np.array([[row, column] for row in range(rows) for column in range(columns)][:people], np.float64)
    step = np.array([height / rows, width / columns])
    tall = min(step[0], 2 * step[1]) * 0.9
    middle = (places + 0.5) * step
    half = np.array([tall / 2, tall / 4])
    boxes = np.concatenate([(middle - half)[:, ::-1], (middle + half)[:, ::-1]], axis=1)
    frame = cv2.resize(photo, (width, height)).astype(np.uint8, copy=False)
    return Scene((frame,), (Detections.from_boxes(boxes),))


def found_by(detector: Detector, photos: Sequence[Frame], at_least: int = 1) -> Scene:
    """Photos with the people that a trained detector sees in them; those with fewer than `at_least` are left out."""
    pairs = [(photo, detector.detect([photo])[0]) for photo in photos]
    kept = [(photo, found) for photo, found in pairs if len(found) >= at_least]
    return Scene(tuple(photo for photo, _ in kept), tuple(found for _, found in kept))


def part_work(pipeline: Pipeline, scene: Scene) -> dict[str, Work]:
    """The steps of one frame: detector, crops, pose network, decoding, drawing, and all but drawing together.

    Of a network that finds people by itself, the network at its own input size, drawing, and all but drawing.
    """
    frame, found = scene.frames[0], scene.found[0]
    model, codec, drawing = pipeline.pose_model, pipeline.codec, Drawing()
    poses = standing(found, pipeline.skeleton)
    if pipeline.bottom_up:
        images = blank_input(model, model.input_size)
        return {
            "pose network": lambda: model(images),
            "drawing": lambda: drawing(frame, poses),
            "end to end": lambda: whole(pipeline, scene),
        }
    with torch.inference_mode():
        crops = model.crops([(frame, found.xyxy)], codec)
        heatmaps = model.outputs(crops.images)
    work: dict[str, Work] = {}
    if pipeline.detector is not None:
        work["detector"] = lambda: pipeline.detect([frame])
    work["crops"] = lambda: model.crops([(frame, found.xyxy)], codec)
    work["pose network"] = lambda: model.outputs(crops.images)
    work["decoding"] = lambda: codec.decode(heatmaps)
    work["drawing"] = lambda: drawing(frame, poses)
    work["end to end"] = lambda: whole(pipeline, scene)
    return work


def standing(found: Detections, skeleton: Skeleton) -> Poses:
    """People of about the right shape in their boxes, for drawing: an untrained network would scatter joints."""
    levels = np.linspace(0.05, 0.95, len(skeleton))
    sides = 0.5 + 0.2 * np.where(np.arange(len(skeleton)) % 2, -1, 1)
    corner, size = found.xyxy[:, None, :2], (found.xyxy[:, 2:] - found.xyxy[:, :2])[:, None]
    keypoints = corner + np.stack([sides, levels], axis=1) * size
    return Poses(keypoints, np.ones(keypoints.shape[:2]), found, skeleton)


def whole(pipeline: Pipeline, scene: Scene) -> None:
    """The detector on every frame, then the poses of the scene's people; or of whom the network finds by itself."""
    for start in range(0, len(scene.frames), FRAMES_AT_ONCE):
        chunk = slice(start, start + FRAMES_AT_ONCE)
        if pipeline.bottom_up:
            pipeline.predict_batch(scene.frames[chunk])
            continue
        pipeline.detect(scene.frames[chunk])
        pipeline.predict_batch(scene.frames[chunk], scene.found[chunk])


def outside_networks(pipeline: Pipeline, scene: Scene, rounds: int) -> Timing:
    """Seconds a frame of all that is neither of the two networks, drawing among it, in one frame after the other."""
    both = (pipeline.pose_model, getattr(pipeline.detector, "network", None))
    networks = [network for network in both if isinstance(network, nn.Module)]
    poses, drawing, seconds = standing(scene.found[0], pipeline.skeleton), Drawing(), []
    with network_seconds(*networks) as inside:
        for _ in range(rounds):
            inside.clear()
            started = time.perf_counter()
            whole(pipeline, scene)
            drawing(scene.frames[0], poses)
            seconds.append(time.perf_counter() - started - sum(inside))
    return Timing(tuple(seconds))


def blank_input(network: nn.Module, size: tuple[int, int], count: int = 1) -> torch.Tensor:
    """(count,3,H,W) of grey noise, where and in what the network takes it."""
    device, dtype = placement(network)
    images = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))
    return images.to(device, dtype, memory_format=torch.channels_last)


def matrix_product(dtype: torch.dtype, size: int = 4096) -> tuple[Work, int]:
    """A square matrix product, and how many floating-point operations it has."""
    matrix = torch.rand(size, size).to(dtype)
    return lambda: matrix @ matrix, 2 * size**3


def network_operations(model: PoseModel) -> int:
    """Floating-point operations of one crop: two for each multiply-add."""
    groups = layer_groups(model, torch.zeros(1, 3, *model.input_size))
    return 2 * sum(group.multiply_adds for group in groups)


def timed_pose_model(backbone: str, input_size: tuple[int, int] | None) -> PoseModel:
    """With its default weights where they are at hand, else with random ones, which take the same time."""
    for entry in catalogue.entries(backbone, "pose"):
        if entry.default and catalogue.is_cached(entry) and input_size in (None, entry.input_size):
            return create_pose_model(backbone, weights=entry.name, input_size=input_size, num_joints=None)
    return lively(create_pose_model(backbone, input_size=input_size))


def timed_detector(name: str, weights: str | None = None) -> tuple[Detector, bool]:
    """The detector, and whether it is trained: by a file, or by its weights where they are at hand."""
    if weights is not None or any(e.default and catalogue.is_cached(e) for e in catalogue.entries(name, "detector")):
        return create_detector(name, weights=weights or "auto"), True
    detector = create_detector(name, weights=None)
    if isinstance(detector, nn.Module):
        lively(detector)
    return detector, False


Network = Any


def lively(network: Network) -> Network:
    """Random weights that keep values in a usual range: numbers near nothing would be slow for no reason."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(part.weight, generator=random)
            elif isinstance(part, nn.BatchNorm2d) and part.running_var is not None:
                part.running_var.uniform_(1, 2, generator=random)
    return network.eval()


def read_photos(folder: Any, count: int = 8) -> list[Frame]:
    """The first `count` pictures of a folder or glob."""
    from hrkit.images import find_images

    return [read_image(path) for path in find_images(folder)[:count]]
