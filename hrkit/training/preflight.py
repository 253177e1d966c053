"""What is tried before the first step of a run: training on a batch, evaluating a picture. Nothing of it is kept."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.loading import Key, Samples
from hrkit.errors import HrkitError, one_line
from hrkit.evaluation.coco import check_labelled, coco_annotations, coco_measures, evaluate
from hrkit.evaluation.pck import pck_heatmaps
from hrkit.ops.tensors import of_each
from hrkit.pose_model import PoseModel
from hrkit.training.config import TrainConfig
from hrkit.training.objective import Objective
from hrkit.training.optimization import forward, training_mode


def check_training(
    config: TrainConfig, model: PoseModel, objective: Objective, samples: Samples, keys: list[Key]
) -> None:
    """Trains on a few samples and takes it back. Raises `HrkitError` if this fails, or for maps of another size."""
    batch = samples.collate([samples[key] for key in keys])
    before = copy.deepcopy(model.state_dict())
    with _failing_as(f"{model.describe()} cannot be trained"):
        try:
            training_mode(config, model)
            images, targets = objective.prepare(batch)
            outputs = forward(config, objective.network, images)
            maps, wanted = objective.heatmaps(of_each(lambda one: one.detach().float(), outputs), targets)
            if maps.shape != wanted.shape:
                given, needed = ("x".join(map(str, one.shape[1:])) for one in (maps, wanted))
                raise HrkitError(f"{model.describe()} gives maps of {given}, not {needed}; take another backbone")
            pck_heatmaps(maps, wanted)
            objective.loss(outputs, targets).backward()
        finally:
            model.load_state_dict(before)
            model.zero_grad(set_to_none=True)


def check_evaluation(config: TrainConfig, model: PoseModel, validation: KeypointDataset) -> None:
    """Tries the evaluation: with no results on the whole set, and with the network on one picture.

    Raises `HrkitError` if this fails.
    """
    check_labelled(validation)
    with _failing_as(f"{model.describe()} cannot be evaluated"):
        coco_measures(coco_annotations(validation), [], sigmas=validation.skeleton.sigmas)
        one = validation.picture_of(int(validation.visible.any(1).argmax()))
        evaluate(model, one, flip_test=config.flip_test, batch_size=config.batch_size, workers=0, progress=False)


@contextlib.contextmanager
def _failing_as(what: str) -> Iterator[None]:
    try:
        yield
    except HrkitError:
        raise
    except Exception as error:  # a network of others may raise anything
        raise HrkitError(f"{what}: {type(error).__name__}: {one_line(error)[:300]}") from error
