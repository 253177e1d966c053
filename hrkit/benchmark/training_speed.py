"""How fast this machine trains, and where the time goes."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from attrs import frozen

from hrkit.datasets.base import KeypointDataset
from hrkit.evaluation.pck import pck_heatmaps
from hrkit.images import read_image
from hrkit.pose_model import create_pose_model
from hrkit.skeletons import coco17
from hrkit.training.config import TrainConfig
from hrkit.training.objective import objective_for, samples_for
from hrkit.training.optimization import build_optimizer, training_mode

PHOTO = Path(__file__).parents[1] / "assets" / "basketball.jpg"


@frozen
class TrainRates:
    """What `measure_training` found; seconds are of one step on `batch_size` people."""

    loader_rate: float
    """Samples a second and core: decoding, warping, augmenting, on one thread."""
    step_rate: float
    """Samples a second of whole steps, with samples at hand."""
    prepare_seconds: float
    """Normalising, making targets."""
    network_seconds: float
    """Forward, backward and optimizer."""
    metrics_seconds: float
    """PCK, at the interval of the log, a step."""
    batch_size: int

    @property
    def network_share(self) -> float:
        """Of a step's time, what forward, backward and optimizer take."""
        return self.network_seconds / (self.network_seconds + self.prepare_seconds + self.metrics_seconds)


def measure_training(config: TrainConfig, people: KeypointDataset, steps: int = 5) -> TrainRates:
    """Times loader and step of a run as `config` describes, on the people of a dataset; trains nothing that is kept."""
    model = create_pose_model(
        config.backbone, head=config.head, input_size=config.input_size, backbone_options=config.backbone_options
    )
    model = model.to(memory_format=torch.channels_last)
    objective = objective_for(model, config)
    optimizer = build_optimizer(config, model)
    training_mode(config, model)
    crops = samples_for(model, people, config.augmentation, config.seed)
    rows = np.arange(steps * config.batch_size) % len(crops)
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    crops[0, 0, 0]
    samples, seconds = _timed(lambda: [crops[0, place, int(row)] for place, row in enumerate(rows)])
    cv2.setNumThreads(threads[0])
    torch.set_num_threads(threads[1])

    def step_on(images: torch.Tensor, targets: Any) -> torch.Tensor:
        outputs = objective.network(images.contiguous(memory_format=torch.channels_last))
        loss = objective.loss(outputs, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits for the device
        return outputs.detach()

    spent = dict.fromkeys(("prepare", "network", "metrics"), 0.0)
    for step in range(-1, steps):  # the first is to warm up
        part = samples[max(0, step) * config.batch_size :][: config.batch_size]
        batch = crops.collate(part)
        (images, targets), preparing = _timed(functools.partial(objective.prepare, batch))
        outputs, stepping = _timed(functools.partial(step_on, images, targets))
        _, measuring = _timed(functools.partial(pck_heatmaps, *objective.heatmaps(outputs, targets)))
        if step >= 0:
            for name, value in (("prepare", preparing), ("network", stepping), ("metrics", measuring)):
                spent[name] += value / steps
    metrics = spent["metrics"] / config.log_every
    return TrainRates(
        len(rows) / seconds,
        config.batch_size / (spent["prepare"] + spent["network"] + metrics),
        spent["prepare"],
        spent["network"],
        metrics,
        config.batch_size,
    )


@contextlib.contextmanager
def made_people(count: int = 64) -> Iterator[KeypointDataset]:
    """A dataset of `count` 640x480 JPEGs of the bundled photo, one person a picture, while the block lasts."""
    frame = read_image(PHOTO)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.jpg" for index in range(count)]
        for index, path in enumerate(paths):
            cv2.imwrite(str(path), np.roll(frame, index, axis=1))
        box = np.array([36.0, 79, 176, 476])
        random = np.random.default_rng(0)
        yield KeypointDataset(
            name="made",
            skeleton=coco17,
            image_paths=paths,
            image_ids=np.arange(count),
            image_index=np.arange(count),
            boxes=np.tile(box, (count, 1)),
            keypoints=random.uniform(box[:2], box[2:], (count, 17, 2)),
            visible=np.ones((count, 17)),
            areas=np.full(count, 50000.0),
            scores=np.ones(count),
            ids=np.arange(count),
        )


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started
