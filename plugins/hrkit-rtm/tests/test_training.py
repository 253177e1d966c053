"""Training as for any network, on distributions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hrkit import create_pose_model
from hrkit.datasets.coco import coco
from hrkit.errors import HrkitError
from hrkit.training.config import TrainConfig
from hrkit.training.objective import objective_for, samples_for
from hrkit.training.run import train
from tiny_runs import last_weights, read_log, same_weights, tiny_config


def config(data: Path, output: Path, **changes):
    settings = {"backbone": "rtmpose_t", "input_size": (64, 64), "batch_size": 4, "flip_test": False}
    return tiny_config(data, output, **{**settings, **changes})


@pytest.mark.slow
def test_it_learns_and_resumes_to_the_bit(painted_coco: Path, tmp_path: Path) -> None:
    whole = train(config(painted_coco, tmp_path / "whole", epochs=3, validation=f"coco:{painted_coco}"))
    assert whole.steps == 9
    losses = [line["loss"] for line in read_log(tmp_path / "whole") if "loss" in line]
    assert losses[-1] < losses[0]
    train(config(painted_coco, tmp_path / "parts", epochs=3, max_steps=4))
    train(config(painted_coco, tmp_path / "parts", epochs=3, resume=True))
    assert same_weights(last_weights(tmp_path / "whole"), last_weights(tmp_path / "parts"))
    exported = create_pose_model("rtmpose_t", weights=tmp_path / "whole" / "best.safetensors", input_size=None)
    assert (exported.spec.codec, exported.spec.sigma, exported.input_size) == ("simcc", (2.83, 2.83), (64, 64))


@pytest.mark.slow
def test_the_whole_network_learns_what_the_codec_draws(painted_coco: Path) -> None:
    model = create_pose_model("rtmpose_t", weights=None, input_size=(64, 64)).train()
    objective = objective_for(model, TrainConfig(output=""))
    samples = samples_for(model, coco(painted_coco))
    images, targets = objective.prepare(samples.collate([samples[0, 0, 0], samples[0, 1, 1]]))
    objective.loss(objective.network(images), targets).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    (labels, weights) = targets
    best = objective.loss(labels, targets)
    assert best < objective.loss(tuple(torch.zeros_like(one) for one in labels), targets)
    predicted, wanted = objective.heatmaps(labels, targets)
    assert predicted.shape == wanted.shape == (2, 17, 16, 16)
    seen = weights > 0
    assert seen.any()
    assert torch.equal(predicted.flatten(2).argmax(2)[seen], wanted.flatten(2).argmax(2)[seen])


@pytest.mark.parametrize("setting", [{"loss": "ohkm"}, {"teacher": "rtmpose_t", "teacher_weights": "none.pth"}])
def test_settings_for_heatmaps_are_refused(setting: dict) -> None:
    model = create_pose_model("rtmpose_t", weights=None, input_size=(64, 64))
    with pytest.raises(HrkitError, match=f"{next(iter(setting))} is for networks that give heatmaps; rtmpose_t"):
        objective_for(model, TrainConfig(output="", **setting), model if "teacher" in setting else None)
