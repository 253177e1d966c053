"""What a pose network says of the people of a dataset."""

from __future__ import annotations

import time

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from tqdm import tqdm

from hrkit import geometry
from hrkit.datasets.augmentation import MARGIN, PersonCrops
from hrkit.datasets.base import KeypointDataset, read_frame
from hrkit.datasets.loading import batches_in_order, load_batches
from hrkit.pose_model import PoseModel
from hrkit.profiling import network_seconds
from hrkit.runtimes.distributed import current_world, gather_lists
from hrkit.structures import Poses


@frozen(eq=False)
class Predictions:
    """Keypoints of N people of a dataset, in the order of its rows."""

    keypoints: NDArray[np.float64]
    """(N,K,3) x, y in frame px and score."""
    network_seconds: float
    """Spent in the network, on the rank that spent most."""
    total_seconds: float


@torch.inference_mode()
def predict_dataset(
    model: PoseModel,
    dataset: KeypointDataset,
    *,
    decoder: str | None = None,
    flip_test: bool = True,
    batch_size: int = 32,
    workers: int = 2,
    progress: bool = True,
) -> Predictions:
    """Runs `model` on the crop of every box; under torchrun each rank takes its part, and all get everything.

    `decoder` None is the model's own codec. The model is left in the mode it was in.
    """
    world = current_world()
    codec = model.create_codec(decoder)
    was_training = model.training
    model.eval()
    batches = batches_in_order(len(dataset), batch_size, world.rank, world.size)
    crops = PersonCrops(dataset, model.input_size, codec.udp)
    found: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    started, in_network = time.perf_counter(), 0.0
    bar = tqdm(total=len(dataset), unit="people", disable=not (progress and world.is_first), dynamic_ncols=True)
    with bar:
        for batch in load_batches(crops, batches, workers, pin=model.device.type == "cuda"):
            images = model.normalise(batch["crops"])
            before = time.perf_counter()
            outputs = model.outputs(images, codec, flip_test=flip_test)
            if model.device.type == "cuda":
                torch.cuda.synchronize(model.device)
            in_network += time.perf_counter() - before
            points, scores = (result.cpu().numpy() for result in codec.decode(outputs))
            to_frame = geometry.invert_affine(batch["to_crop"].numpy())
            to_frame[:, :, :2] *= codec.decoded_scale
            keypoints = geometry.apply_affine(to_frame, points)
            found.append((batch["rows"].numpy(), np.concatenate([keypoints, scores[..., None]], axis=2)))
            bar.update(min(len(images) * world.size, len(dataset) - bar.n))
    model.train(was_training)
    parts = gather_lists(found)
    keypoints = np.zeros((len(dataset), len(model.skeleton), 3))
    for rows, points in parts:
        keypoints[rows] = points
    seconds = max(gather_lists([in_network]))
    return Predictions(keypoints, seconds, time.perf_counter() - started)


@torch.inference_mode()
def find_in_dataset(
    model: PoseModel,
    dataset: KeypointDataset,
    *,
    flip_test: bool = True,
    batch_size: int = 8,
    progress: bool = True,
) -> tuple[KeypointDataset, Predictions]:
    """The pictures of a dataset, those without people too, with the boxes around whom `model` finds; and its keypoints.

    Under torchrun each rank takes its part of the pictures, and all get everything. The model is left in the mode it
    was in.
    """
    world, count = current_world(), len(dataset.image_paths)
    was_training = model.training
    model.eval()
    parts: list[tuple[int, list[Poses]]] = []

    def clock() -> float:
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        return time.perf_counter()

    started = time.perf_counter()
    bar = tqdm(total=count, unit="pictures", disable=not (progress and world.is_first), dynamic_ncols=True)
    with bar, network_seconds(model, clock=clock) as in_network:
        for start in range(world.rank * batch_size, count, world.size * batch_size):
            frames = [read_frame(path) for path in dataset.image_paths[start : start + batch_size]]
            parts.append((start, model.poses(frames, flip_test=flip_test)))
            bar.update(min(len(frames) * world.size, count - bar.n))
    model.train(was_training)
    found = [one for _, here in sorted(gather_lists(parts), key=lambda part: part[0]) for one in here]
    boxes = np.concatenate([np.zeros((0, 4)), *(one.detections.xyxy for one in found)])
    scores = np.concatenate([np.zeros(0), *(one.detections.scores for one in found)])
    ids = np.repeat(dataset.image_ids, [len(one) for one in found])
    triples = (np.concatenate([one.keypoints, one.keypoint_scores[..., None]], axis=2) for one in found)
    keypoints = np.concatenate([np.zeros((0, len(model.skeleton), 3)), *triples])
    seconds = max(gather_lists([sum(in_network)]))
    return dataset.with_boxes(ids, boxes, scores), Predictions(keypoints, seconds, time.perf_counter() - started)


def crop_areas(dataset: KeypointDataset, input_size: tuple[int, int]) -> NDArray[np.float64]:
    """(N,) areas of the boxes as cropped, margin and aspect included, frame px squared: what OKS-NMS scales with."""
    height, width = input_size
    xywh = geometry.xyxy_to_xywh(dataset.boxes)
    grown = np.maximum(xywh[:, 2], xywh[:, 3] * width / height) * MARGIN
    return grown * grown * height / width
