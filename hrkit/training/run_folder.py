"""The folder of a training run: config, checkpoints and log. A file is written whole or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
import torch
from attrs import define, field

from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.loading import DatasetSpec
from hrkit.errors import HrkitError, WeightsError, one_line
from hrkit.files import FilePath, atomic_path, json_text, reserved
from hrkit.training.config import TrainConfig, config_to_dict, load_config
from hrkit.training.loggers import Callback
from hrkit.weights.checkpoints import check_finite

logger: logging.Logger = logging.getLogger("hrkit")

CONFIG, LAST, PREVIOUS, BEST = "config.json", "last.pt", "previous.pt", "best.pt"
EXPORT, LOG, LOCK, DAMAGED = "best.safetensors", "log.jsonl", ".lock", "damaged.pt"

CHANGEABLE = {
    *("output", "resume", "epochs", "max_steps", "workers", "device", "evaluate_every", "save_every", "log_every"),
    *("tensorboard", "loggers", "images"),
}
"""Settings that a resumed run may change, apart from the paths of its data. All others determine its numbers."""


@contextlib.contextmanager
def opened_run(config: TrainConfig) -> Iterator[None]:
    """Keeps the folder of a run for this process, and checks that a resumed run has the recipe it began with.

    `last.pt` of a resumed run is then the newest checkpoint that is whole. If the block ends without a checkpoint, the
    folder is as it was before.

    Raises `HrkitError` if the folder of a new run holds anything, if another process trains in it, if the recipe of a
    resumed run has changed, or if it has results but no checkpoint that is whole.
    """
    folder = Path(config.output)
    empty = not folder.exists() or (folder.is_dir() and not _content(folder))
    if not config.resume and not empty:
        raise HrkitError(f"{folder} exists; pass --resume to go on with it, or another --output")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    taken = "another process trains there; wait for it, or name another --output"
    with contextlib.ExitStack() as at_end, reserved(folder, folder / LOCK, taken):
        at_end.callback(_leave, folder, made, empty)  # once the lock is gone
        if config.resume:
            _check_recipe(config, folder)
            _restore_newest(folder)
        yield


def _leave(folder: Path, made: Sequence[Path], empty: bool) -> None:
    """Removes what a run without a checkpoint wrote to an `empty` folder, and the folders that were made for it."""
    if not (folder / LAST).exists():
        for name in (CONFIG, LOG) if empty else ():
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody else's files are in it
            for place in made:
                place.rmdir()


def _content(folder: Path) -> list[Path]:
    """What a folder holds, without the traces of a process that was killed before it saved anything."""
    return [path for path in folder.iterdir() if path.name != LOCK and not _is_stale(path)]


def _is_stale(path: Path) -> bool:
    """Whether it was left by a process that was killed while saving."""
    return path.name.startswith((".last-", ".best-", ".config-", ".log-"))


def _check_recipe(config: TrainConfig, folder: Path) -> None:
    if not (folder / CONFIG).is_file():
        return
    wanted, saved = (_recipe(one) for one in (config, load_config(folder / CONFIG, TrainConfig)))
    changed = [f"{name} ({saved[name]!r}, not {wanted[name]!r})" for name in wanted if wanted[name] != saved[name]]
    if changed:
        may = ", ".join(sorted(CHANGEABLE - {"output", "resume"}))
        raise HrkitError(
            f"{folder} was begun with another {', '.join(changed)}; resume it unchanged, or begin a new run; "
            f"{may} and the paths of the data may change"
        )


def _recipe(config: TrainConfig) -> dict[str, Any]:
    """The settings that must not change; for datasets, their names and weights."""
    recipe = {name: value for name, value in config_to_dict(config).items() if name not in CHANGEABLE}
    for name in ("datasets", "validation"):
        texts = [recipe[name]] if isinstance(recipe[name], str) else recipe[name] or ()
        recipe[name] = [(spec.name, spec.weight) for spec in map(DatasetSpec.parse, texts)]
    return recipe


def _restore_newest(folder: Path) -> None:
    """Makes the newest checkpoint that is whole `last.pt`. A damaged one is kept under another name."""
    for stale in filter(_is_stale, folder.iterdir()):
        stale.unlink()
    damage = []
    for name in (LAST, PREVIOUS, BEST):
        if not (folder / name).exists():
            continue
        try:
            step = read_checkpoint(folder / name)["step"]
        except WeightsError as error:
            damage.append(str(error))
            continue
        if name != LAST:
            told = "; ".join(damage) or f"{folder / LAST} is missing"
            logger.warning("%s; going on from %s, step %d", told, name, step)
            if (folder / LAST).exists():
                os.replace(folder / LAST, folder / DAMAGED)
            shutil.copyfile(folder / name, folder / LAST)
        return
    if damage or any((folder / name).exists() for name in (EXPORT, LOG)):
        told = "; ".join(damage) or f"{folder / LAST} is missing, though the folder has results"
        raise WeightsError(f"{told}; there is no checkpoint to resume from, begin a new run in another folder")


def saved_config(output: FilePath, **changes: Any) -> TrainConfig:
    """The config of an existing run, to resume it with `changes`. Raises `HrkitError` if there is no such run."""
    path = Path(output) / CONFIG
    if not path.is_file():
        raise HrkitError(f"{output}: no run to resume there (no {CONFIG})")
    return load_config(path, TrainConfig, **{**changes, "output": str(output), "resume": True})


def dataset_names(config: TrainConfig) -> list[str]:
    """The names of the datasets without their paths, which are private and may change."""
    return [DatasetSpec.parse(text).name for text in config.datasets]


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
    people: dict[str, str] = field(factory=dict)
    """The digests of the people that it sees, by setting."""

    def see(self, people: Mapping[str, KeypointDataset | None]) -> None:
        """Records the people of each setting. Raises `HrkitError` if they are others than before."""
        digests = {name: data.digest() for name, data in people.items() if data is not None}
        changed = [name for name, digest in digests.items() if self.people.get(name, digest) != digest]
        if changed:
            raise HrkitError(f"{changed[0]}: these are not the people that the run began with; begin a new run")
        self.people = digests


class Stateful(Protocol):
    """A model, an optimizer or a gradient scaler."""

    def state_dict(self) -> dict[str, Any]: ...  # torch's own signatures

    def load_state_dict(self, state_dict: Any) -> Any: ...


def save_checkpoint(
    path: Path,
    state: RunState,
    parts: Mapping[str, Stateful],
    metadata: Mapping[str, Any],  # plain values
) -> None:
    """Writes the position, the `state_dict` of each part and the `metadata` of the network.

    `last.pt` becomes `previous.pt` before it is replaced. Raises `OSError` if the file cannot be written, and
    `WeightsError` for NaN and infinity before anything is written.
    """
    content = {"hrkit": dict(metadata)} | {name: part.state_dict() for name, part in parts.items()}
    for name in parts:
        check_finite({key: value for key, value in content[name].items() if torch.is_tensor(value)}, f"{path}: {name}")
    content |= attrs.asdict(state)
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # torch's own writer does not say that a disk is full
            raise OSError(f"{path}: cannot be written; is the disk full? ({one_line(error)})") from None
        if path.name == LAST and path.exists():
            os.replace(path, path.with_name(PREVIOUS))


def load_checkpoint(path: Path, parts: Mapping[str, Stateful]) -> RunState:
    """Restores the parts that `save_checkpoint` wrote. Without a file the state is that of a new run.

    Raises `WeightsError` if the file is damaged or does not fit the parts.
    """
    if not path.is_file():
        return RunState()
    content = read_checkpoint(path)
    for name, part in parts.items():
        try:
            part.load_state_dict(content[name])
        except (KeyError, RuntimeError, ValueError) as error:  # what torch raises for other tensors
            raise WeightsError(f"{path}: its {name} does not fit this run ({one_line(error)[:300]})") from None
    return RunState(**{name: content[name] for name in attrs.fields_dict(RunState) if name in content})


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The tensors and plain values of a checkpoint. Raises `WeightsError` if the file is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums of the parts
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"wrong checksum of {damaged}")
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        RunState(**{name: content[name] for name in ("epoch", "batch_of_epoch", "step", "best", "log_lines")})
        return content
    except Exception as error:  # torch.load raises whatever the damage leads to
        raise WeightsError(f"{path}: damaged ({one_line(error)[:200]})") from None


class RunLog:
    """The log of a run: `log.jsonl`, one JSON object per line. `callbacks` get the same figures. A context manager.

    Of an existing log the first `state.log_lines` lines are kept; a resumed run writes the later ones again.
    """

    def __init__(self, folder: Path, state: RunState, callbacks: Sequence[Callback] = ()) -> None:
        self._path = folder / LOG
        self._state = state
        self._callbacks = callbacks
        kept = self._path.read_bytes().splitlines(keepends=True)[: state.log_lines] if self._path.is_file() else []
        with atomic_path(self._path) as temporary:
            temporary.write_bytes(b"".join(kept))
        state.log_lines = len(kept)

    def write(self, group: str, **values: float) -> None:
        """Appends a line, and tells the callbacks. `group` is "train" or "validation"."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json_text({"step": self._state.step, "epoch": self._state.epoch, **values}) + "\n")
        self._state.log_lines += 1
        for callback in self._callbacks:
            callback(group, self._state.step, values)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *error: object) -> None:
        for callback in self._callbacks:
            getattr(callback, "close", lambda: None)()
