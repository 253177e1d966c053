"""Training as for any network: a tiny one learns painted people, and resumes to the same numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hrkit import create_pose_model
from hrkit.datasets.coco import coco
from hrkit.errors import HrkitError
from hrkit.training.config import TrainConfig
from hrkit.training.run import train
from tiny_runs import last_weights, read_log, same_weights, tiny_config

pytestmark = pytest.mark.usefixtures("shallow")


def config(data: Path, output: Path, **changes):
    settings = {"backbone": "higher_hrnet_w2", "input_size": (64, 128), "batch_size": 2, "flip_test": False}
    return tiny_config(data, output, **{**settings, **changes})


@pytest.mark.slow
def test_it_learns_and_resumes_to_the_bit(painted_coco: Path, tmp_path: Path) -> None:
    whole = train(config(painted_coco, tmp_path / "whole", epochs=2, validation=f"coco:{painted_coco}"))
    assert whole.steps == 6
    log = read_log(tmp_path / "whole")
    losses = [line["loss"] for line in log if "loss" in line]
    assert losses[-1] < losses[0]
    assert any("AP" in line for line in log)
    train(config(painted_coco, tmp_path / "parts", epochs=2, max_steps=4))
    train(config(painted_coco, tmp_path / "parts", epochs=2, resume=True))
    assert same_weights(last_weights(tmp_path / "whole"), last_weights(tmp_path / "parts"))
    exported = create_pose_model("higher_hrnet_w2", weights=tmp_path / "whole" / "best.safetensors", input_size=None)
    assert exported.input_size == (64, 128)
    assert type(exported).__name__ == "HigherModel"


@pytest.mark.slow
def test_the_whole_network_learns(painted_coco: Path) -> None:
    model = create_pose_model("higher_hrnet_w2", input_size=(64, 64)).train()
    objective = model.objective(TrainConfig(output=""))
    samples = model.samples(coco(painted_coco))
    images, targets = objective.prepare(samples.collate([samples[0, 0, 0], samples[0, 1, 1]]))
    objective.loss(objective.network(images), targets).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    heatmaps, wanted = objective.heatmaps(model(images), targets)
    assert heatmaps.shape == wanted.shape == (2, 17, 32, 32)
    assert torch.isfinite(heatmaps).all()


@pytest.mark.parametrize(
    "setting",
    [{"loss": "ohkm"}, {"codec": "dark"}, {"joint_weights": (1.0,) * 17}, {"sigma": 3.0}],
    ids=["loss", "codec", "joint_weights", "sigma"],
)
def test_settings_for_people_one_by_one_are_refused(painted_coco: Path, tmp_path: Path, setting: dict) -> None:
    with pytest.raises(HrkitError, match=f"{next(iter(setting))} is for networks that see people one by one"):
        train(config(painted_coco, tmp_path / "run", **setting))
