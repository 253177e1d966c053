"""The folder of a training run: config, checkpoints, log. Nothing in it is ever half-written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import evolve

from hrkit.errors import HrkitError, WeightsError, one_line
from hrkit.files import atomic_path
from hrkit.training.config import TrainConfig, build_config, config_to_dict, load_config, save_config

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
    """Writes tensors and plain values, whole or not at all. Raises `OSError` if they cannot be written."""
    with atomic_path(path) as temporary:
        try:
            torch.save(dict(state), temporary)
        except RuntimeError as error:  # torch's own writer does not say what a full disk is
            raise OSError(f"{path}: cannot be written; is the disk full? ({one_line(error)})") from None


def load_state(path: Path) -> dict[str, Any] | None:
    """What `save_state` wrote; None if there is nothing. Raises `WeightsError` if it is damaged."""
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the damage leads to
        raise WeightsError(f"{path}: damaged ({str(error).splitlines()[0]}); begin the run anew") from None


class RunLog:
    """`log.jsonl`, a JSON object a line, and TensorBoard's files where that is wanted and installed.

    Of a log that is there the first `lines` are kept: what a resumed run wrote until it was saved, at `step`. A
    context manager.
    """

    def __init__(self, folder: Path, lines: int, step: int, tensorboard: bool = False) -> None:
        self._path = folder / LOG
        kept = self._path.read_bytes().splitlines(keepends=True)[:lines] if self._path.is_file() else []
        with atomic_path(self._path) as temporary:
            temporary.write_bytes(b"".join(kept))
        self.lines = len(kept)
        """How many there are."""
        self._board = _tensorboard(folder, step) if tensorboard else None

    def write(self, group: str, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Appends a line; `group`, "train" or "validation", is where TensorBoard shows the values."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "epoch": epoch, **values}) + "\n")
        self.lines += 1
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{group}/{name}", value, step)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *error: object) -> None:
        if self._board is not None:
            self._board.close()


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard", purge_step=step)
