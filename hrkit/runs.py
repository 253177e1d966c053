"""The folder of a training run: config, checkpoints, log. Nothing in it is ever half-written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import evolve

from hrkit.config import TrainConfig, build_config, config_to_dict, load_config, save_config
from hrkit.errors import HrkitError, WeightsError
from hrkit.files import atomic_path

CONFIG, LAST, BEST, EXPORT, LOG = "config.json", "last.pt", "best.pt", "best.safetensors", "log.jsonl"

CHANGEABLE = {
    *("output", "resume", "epochs", "max_steps", "workers", "device", "evaluate_every", "save_every", "log_every"),
    "tensorboard",
}
"""What a resumed run may set anew; the rest makes its numbers."""


def open_run(config: TrainConfig) -> TrainConfig:
    """Makes the folder of a new run, or checks that a resumed one goes on as it began; saves the config.

    Raises `HrkitError` for a folder that exists without `resume`, and for a config that differs from the saved one.
    """
    folder = Path(config.output)
    if not config.resume:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise HrkitError(f"{folder} exists; pass --resume to go on with it, or another --output")
        folder.mkdir(parents=True, exist_ok=True)
    elif (folder / CONFIG).is_file():
        saved = load_config(folder / CONFIG, TrainConfig)
        differing = [
            name
            for name, value in config_to_dict(config).items()
            if name not in CHANGEABLE and value != config_to_dict(saved)[name]
        ]
        if differing:
            raise HrkitError(f"{folder} was begun with another {differing[0]}; resume it as it was, or begin anew")
        for stale in folder.glob(".*-*"):  # left by a process that was killed while it saved
            stale.unlink()
    else:
        folder.mkdir(parents=True, exist_ok=True)
    save_config(evolve(config, resume=False), folder / CONFIG)
    return config


def saved_config(output: str | Path, **changes: Any) -> TrainConfig:
    """The config of a run that exists, to resume it. Raises `HrkitError` if there is none."""
    path = Path(output) / CONFIG
    if not path.is_file():
        raise HrkitError(f"{output}: no run to resume there (no {CONFIG})")
    saved = config_to_dict(load_config(path, TrainConfig))
    return build_config(TrainConfig, {**saved, **changes, "output": str(output), "resume": True}, str(path))


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors and plain values, whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save(dict(state), temporary)


def load_state(path: Path) -> dict[str, Any] | None:
    """What `save_state` wrote; None if there is nothing. Raises `WeightsError` if it is damaged."""
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the damage leads to
        raise WeightsError(f"{path}: damaged ({str(error).splitlines()[0]}); begin the run anew") from None


class RunLog:
    """`log.jsonl`: a JSON object a line, each with its step; lines beyond where a resumed run begins are cut."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / LOG
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        kept = [line for line in lines if _step(line) <= step]
        with atomic_path(self._path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def write(self, values: Mapping[str, Any]) -> None:
        """Appends a line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(values)) + "\n")


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")  # a line cut short by a kill
