"""The predictions of a pose network on a dataset."""

from __future__ import annotations

import functools
import time

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from tqdm import tqdm

from hrkit import geometry
from hrkit.datasets.augmentation import PersonCrops
from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.loading import batches_in_order, load_batches
from hrkit.evaluation.detected_boxes import map_pictures, with_detections
from hrkit.pose_model import PoseModel
from hrkit.profiling import network_seconds
from hrkit.runtimes.distributed import current_world, gather_lists


@frozen(eq=False)
class Predictions:
    """Keypoints of N people, in the order of the dataset's rows."""

    keypoints: NDArray[np.float64]
    """(N,K,3) x, y in frame px and score."""
    network_seconds: float
    """Time in the network, on the slowest rank."""
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
    """Runs `model` on the crop of every box, with its own codec or the one that `decoder` names.

    Under torchrun each rank takes a part of the boxes and gets all results. The model stays in its mode.
    """
    world = current_world()
    codec = model.create_codec(decoder)
    was_training = model.training
    model.eval()
    batches = batches_in_order(len(dataset), batch_size, world.rank, world.size)
    crops = PersonCrops(dataset, model.input_size, codec.udp, margin=model.spec.margin)
    found: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    started, in_network = time.perf_counter(), 0.0
    bar = tqdm(total=len(dataset), unit="people", disable=not (progress and world.is_first), dynamic_ncols=True)
    with bar:
        for batch in load_batches(crops, batches, workers, pin=model.device.type == "cuda"):
            images = model.normalise(batch["crops"])
            before = time.perf_counter()
            outputs = model.outputs(images, codec, flip_test=flip_test)
            in_network += _time_when_done(model) - before
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
    model: PoseModel, dataset: KeypointDataset, *, flip_test: bool, batch_size: int, progress: bool
) -> tuple[KeypointDataset, Predictions]:
    """Runs a network that finds people by itself on all pictures, also those without people.

    Returns the pictures with the boxes of the people found, and their keypoints. Under torchrun each rank takes a part
    of the pictures and gets all results. The model stays in its mode.
    """
    was_training = model.training
    model.eval()
    find_people = functools.partial(model.poses, flip_test=flip_test)
    started = time.perf_counter()
    with network_seconds(model, clock=functools.partial(_time_when_done, model)) as in_network:
        found = map_pictures(find_people, dataset, batch_size, progress)
    model.train(was_training)
    triples = (np.concatenate([one.keypoints, one.keypoint_scores[..., None]], axis=2) for one in found)
    keypoints = np.concatenate([np.zeros((0, len(model.skeleton), 3)), *triples])
    seconds = max(gather_lists([sum(in_network)]))
    boxed = with_detections(dataset, [one.detections for one in found])
    return boxed, Predictions(keypoints, seconds, time.perf_counter() - started)


def _time_when_done(model: PoseModel) -> float:
    """The time in seconds, once the device has done what it was given."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()


def crop_areas(dataset: KeypointDataset, input_size: tuple[int, int], margin: float) -> NDArray[np.float64]:
    """(N,) areas of the crops, margin and aspect included, in frame px squared; OKS-NMS scales with them."""
    height, width = input_size
    xywh = geometry.xyxy_to_xywh(dataset.boxes)
    grown = np.maximum(xywh[:, 2], xywh[:, 3] * width / height) * margin
    return grown * grown * height / width
