"""Runs of training that take seconds, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import torch

from hrkit.config import TrainConfig
from hrkit.runs import load_state


def tiny_config(data: Path, output: Path, **changes: Any) -> TrainConfig:
    """A run of a small network on a dataset of `made_coco`."""
    settings: dict[str, Any] = {
        "output": str(output),
        "datasets": (f"coco:{data}",),
        "backbone": "timm/test_resnet",
        "input_size": (64, 64),
        "batch_size": 4,
        "epochs": 2,
        "workers": 0,
        "device": "cpu",
        "log_every": 1,
        "tensorboard": False,
        "backbone_weights": None,
    }
    return TrainConfig(**{**settings, **changes})


def script_of(config: TrainConfig) -> str:
    """Python that trains so, with nothing of pytest in the process."""
    values = {a.name: getattr(config, a.name) for a in attrs.fields(TrainConfig) if a.name != "augmentation"}
    return f"from hrkit.config import TrainConfig\nfrom hrkit.training import train\ntrain(TrainConfig(**{values}))\n"


def last_state(folder: Path) -> dict[str, Any]:
    """The checkpoint of a run."""
    state = load_state(folder / "last.pt")
    assert state is not None
    return state


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The network of the checkpoint of a run."""
    return last_state(folder)["model"]


def same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether they are equal to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of `log.jsonl`."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
