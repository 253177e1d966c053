"""The folder of a training run: config, checkpoints and log. A file is written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs
import torch
from attrs import define, evolve

from hrkit.errors import HrkitError, WeightsError, one_line
from hrkit.files import atomic_path
from hrkit.training.config import TrainConfig, build_config, config_to_dict, load_config, save_config

CONFIG, LAST, BEST, EXPORT, LOG = "config.json", "last.pt", "best.pt", "best.safetensors", "log.jsonl"

CHANGEABLE = {
    *("output", "resume", "epochs", "max_steps", "workers", "device", "evaluate_every", "save_every", "log_every"),
    "tensorboard",
}
"""Settings that a resumed run may change. All others determine its numbers."""


def open_run(config: TrainConfig) -> None:
    """Makes the folder of a new run, or checks that a resumed run has the recipe it began with; saves the config.

    Raises `HrkitError` if the folder of a new run holds anything, or if the recipe of a resumed run has changed.
    """
    folder = Path(config.output)
    if not config.resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HrkitError(f"{folder} exists; pass --resume to go on with it, or another --output")
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CONFIG).is_file():
        wanted, saved = config_to_dict(config), config_to_dict(load_config(folder / CONFIG, TrainConfig))
        changed = [name for name in wanted if name not in CHANGEABLE and wanted[name] != saved[name]]
        if changed:
            raise HrkitError(f"{folder} was begun with another {changed[0]}; resume it unchanged, or begin a new run")
        for stale in folder.glob(".*-*"):  # left by a process that was killed while saving
            stale.unlink()
    save_config(evolve(config, resume=False), folder / CONFIG)


def saved_config(output: str | Path, **changes: Any) -> TrainConfig:
    """The config of an existing run, to resume it with `changes`. Raises `HrkitError` if there is no such run."""
    path = Path(output) / CONFIG
    if not path.is_file():
        raise HrkitError(f"{output}: no run to resume there (no {CONFIG})")
    saved = config_to_dict(load_config(path, TrainConfig))
    return build_config(TrainConfig, {**saved, **changes, "output": str(output), "resume": True}, str(path))


@define
class RunState:
    """The position of a run, saved in every checkpoint."""

    epoch: int = 0
    """Completed epochs."""
    batch_of_epoch: int = 0
    """Batches that each process has seen of the current epoch."""
    step: int = 0
    """Completed optimizer steps."""
    best: float | None = None
    """Best AP so far."""
    log_lines: int = 0
    """Lines written to the log."""
    finished: bool = False
    """Whether the run has ended, last evaluation included."""


class Stateful(Protocol):
    """A model, an optimizer or a gradient scaler."""

    def state_dict(self) -> dict[str, Any]: ...  # torch's own signatures

    def load_state_dict(self, state_dict: Any) -> Any: ...


def save_checkpoint(path: Path, state: RunState, parts: Mapping[str, Stateful]) -> None:
    """Writes the position and the `state_dict` of each part. Raises `OSError` if the file cannot be written."""
    content = {**{name: part.state_dict() for name, part in parts.items()}, **attrs.asdict(state)}
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # torch's own writer does not say that a disk is full
            raise OSError(f"{path}: cannot be written; is the disk full? ({one_line(error)})") from None


def load_checkpoint(path: Path, parts: Mapping[str, Stateful]) -> RunState:
    """Restores the parts that `save_checkpoint` wrote. Without a file the state is that of a new run.

    Raises `WeightsError` if the file is damaged.
    """
    if not path.is_file():
        return RunState()
    content = read_checkpoint(path)
    for name, part in parts.items():
        part.load_state_dict(content[name])
    return RunState(**{name: content[name] for name in attrs.fields_dict(RunState)})


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The tensors and plain values of a checkpoint. Raises `WeightsError` if the file is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the damage leads to
        raise WeightsError(f"{path}: damaged ({str(error).splitlines()[0]}); begin a new run") from None


class RunLog:
    """`log.jsonl`, one JSON object per line, and TensorBoard files if wanted and installed. A context manager.

    `state` is the position of the run: its first `log_lines` lines of an existing log are kept, later ones, which a
    resumed run will write again, are dropped.
    """

    def __init__(self, folder: Path, state: RunState, tensorboard: bool = False) -> None:
        self._path = folder / LOG
        self._state = state
        kept = self._path.read_bytes().splitlines(keepends=True)[: state.log_lines] if self._path.is_file() else []
        with atomic_path(self._path) as temporary:
            temporary.write_bytes(b"".join(kept))
        state.log_lines = len(kept)
        self._board = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self._board = SummaryWriter(folder / "tensorboard", purge_step=state.step)
            except ImportError:
                pass

    def write(self, group: str, **values: float) -> None:
        """Appends a line. `group`, "train" or "validation", is the values' section in TensorBoard."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": self._state.step, "epoch": self._state.epoch, **values}) + "\n")
        self._state.log_lines += 1
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{group}/{name}", value, self._state.step)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *error: object) -> None:
        if self._board is not None:
            self._board.close()
