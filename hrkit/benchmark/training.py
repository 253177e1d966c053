"""The speed of training: loader, and the parts of a step."""

from __future__ import annotations

import time

import cv2
import numpy as np
import torch
from attrs import frozen

from hrkit.benchmark.inference import PHOTO
from hrkit.datasets.base import KeypointDataset
from hrkit.evaluation.pck import pck_heatmaps
from hrkit.ops.tensors import of_each
from hrkit.pose_model import create_pose_model
from hrkit.skeletons import coco17
from hrkit.training.config import TrainConfig
from hrkit.training.objective import objective_for, samples_for
from hrkit.training.optimization import build_optimizer, training_mode


@frozen
class TrainRates:
    """Samples per second, and seconds per step of `batch_size` samples.

    `loader_rate` is decoding, warping and augmenting on one thread. A step prepares (normalises, makes targets), runs
    the network (forward, backward, optimizer) and, once per log interval, computes metrics (PCK).
    """

    loader_rate: float
    step_rate: float
    prepare_seconds: float
    network_seconds: float
    metrics_seconds: float
    batch_size: int

    @property
    def network_share(self) -> float:
        """The fraction of a step that forward, backward and optimizer take."""
        return self.network_seconds * self.step_rate / self.batch_size


def measure_training(config: TrainConfig, people: KeypointDataset, steps: int = 5) -> TrainRates:
    """Measures the loader and `steps` steps of a run with this configuration on the CPU; nothing is saved."""
    model = create_pose_model(
        config.backbone, head=config.head, input_size=config.input_size, backbone_options=config.backbone_options
    ).to(memory_format=torch.channels_last)
    objective, optimizer = objective_for(model, config), build_optimizer(config, model)
    training_mode(config, model)
    crops = samples_for(model, people, config.augmentation, config.seed)
    count = steps * config.batch_size
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    crops[0, 0, 0]  # warms up
    started = time.perf_counter()
    samples = [crops[0, place, place % len(crops)] for place in range(count)]
    loader_rate = count / (time.perf_counter() - started)
    cv2.setNumThreads(threads[0])
    torch.set_num_threads(threads[1])
    seconds = np.zeros(3)
    for step in range(-1, steps):  # step -1 warms up
        batch = crops.collate(samples[max(0, step) * config.batch_size :][: config.batch_size])
        times = [time.perf_counter()]
        images, targets = objective.prepare(batch)
        times.append(time.perf_counter())
        outputs = objective.network(images.contiguous(memory_format=torch.channels_last))
        objective.loss(outputs, targets).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter())
        pck_heatmaps(*objective.heatmaps(of_each(torch.Tensor.detach, outputs), targets))
        times.append(time.perf_counter())
        if step >= 0:
            seconds += np.diff(times) / steps
    prepare, network, metrics = (seconds / [1, 1, config.log_every]).tolist()
    step_rate = config.batch_size / (prepare + network + metrics)
    return TrainRates(loader_rate, step_rate, prepare, network, metrics, config.batch_size)


def people_of_a_photo(count: int = 64) -> KeypointDataset:
    """A dataset whose people all are in the bundled 640x480 photo, with random joints."""
    box = np.array([36.0, 79, 176, 476])
    return KeypointDataset(
        name="photo",
        skeleton=coco17,
        image_paths=[PHOTO] * count,
        image_ids=np.arange(count),
        image_index=np.arange(count),
        boxes=np.tile(box, (count, 1)),
        keypoints=np.random.default_rng(0).uniform(box[:2], box[2:], (count, 17, 2)),
        visible=np.ones((count, 17)),
        areas=np.full(count, 50000.0),
        scores=np.ones(count),
        ids=np.arange(count),
    )
