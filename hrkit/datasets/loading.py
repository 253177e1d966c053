"""From datasets to batches: which rows an epoch shows, in which order, on which rank."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from hrkit import registry
from hrkit.datasets.base import KeypointDataset
from hrkit.errors import DatasetError, HrkitError, PluginError

Key = tuple[int, int, int]
"""Epoch, place in the epoch, row of the dataset."""

Batch = dict[str, torch.Tensor]

_SPEC = re.compile(r"(?P<name>[^:*]+)(?::(?P<path>.+?))?(?:\*(?P<weight>\d+(?:\.\d+)?))?")


class Samples(Protocol):
    """The samples of an epoch. `samples[epoch, place, row]` is the same in every process and at any time."""

    unit: str
    """The plural of what a row is, such as "people"."""

    def __len__(self) -> int:
        """The number of rows."""
        ...

    def __getitem__(self, key: Key) -> Any: ...  # whatever `collate` takes

    def collate(self, samples: list[Any]) -> Batch:
        """Stacks samples. One of the tensors is `rows` (N,)."""
        ...

    def describe(self, rows: list[int]) -> str:
        """Names the rows in an error message."""
        ...


@frozen
class DatasetSpec:
    """The parts of `NAME[:PATH][*WEIGHT]`."""

    name: str
    path: str | None
    weight: float

    @classmethod
    def parse(cls, text: str) -> DatasetSpec:
        """Raises `DatasetError` for a text of another form."""
        found = _SPEC.fullmatch(text)
        if found is None:
            raise DatasetError(f"{text!r} is no NAME[:PATH][*WEIGHT]")
        return cls(found["name"], found["path"], float(found["weight"] or 1))

    def load(self, split: str, **options: Any) -> KeypointDataset:
        """Builds the registered dataset. `split` is "train" or "val".

        `options`, such as `images`, `category` and `skip_bad`, go to its builder; those that are not given (None, false
        or empty) do not. Raises as `Registry.build`, and `DatasetError` for the name of a file and for a missing path.
        """
        if self.name not in registry.datasets and (os.path.isfile(self.name) or self.name.endswith((".toml", ".json"))):
            kind = "coco" if self.name.endswith(".json") else "custom"
            raise DatasetError(f"{self.name} is a file; data are named as NAME:PATH, here {kind}:{self.name}")
        place = [] if self.path is None else [Path(self.path)]
        given = {name: value for name, value in options.items() if value}
        try:
            return registry.datasets.build(self.name, *place, split=split, **given)
        except PluginError as error:
            if self.path is None and "required positional argument: 'path'" in str(error):
                what = "a TOML file, as custom:mine.toml" if self.name == "custom" else f"as {self.name}:PATH"
                raise DatasetError(f"the dataset {self.name!r} needs a path, {what}") from None
            raise


def epoch_rows(sizes: Sequence[int], weights: Sequence[float], seed: int, epoch: int) -> NDArray[np.int64]:
    """The shuffled rows of an epoch. Each dataset appears as often as its weight says; fractions are drawn at random.

    `sizes` are the lengths of the datasets in the order of the table.
    """
    random = np.random.default_rng([seed, epoch])
    rows = []
    for size, weight, start in zip(sizes, weights, np.cumsum([0, *sizes[:-1]]), strict=True):
        whole, part = divmod(round(weight * size), max(size, 1))
        rows += [start + np.arange(size)] * whole + [start + random.permutation(size)[:part]]
    return random.permutation(np.concatenate(rows))


def epoch_batches(rows: NDArray[np.int64], epoch: int, batch_size: int, rank: int, world: int) -> list[list[Key]]:
    """The batches of one rank. Together the ranks see the rows in order; rows that fill no batch are left out."""
    keys = [(epoch, place, int(row)) for place, row in enumerate(rows)]
    together = batch_size * world
    starts = range(rank * batch_size, len(keys) // together * together, together)
    return [keys[start : start + batch_size] for start in starts]


def batches_in_order(count: int, batch_size: int, rank: int, world: int) -> list[list[Key]]:
    """Every row once, for evaluation. Each rank takes every `world`-th batch."""
    keys = [(0, row, row) for row in range(count)]
    return [keys[start : start + batch_size] for start in range(0, count, batch_size)][rank::world]


def load_batches(samples: Samples, batches: list[list[Key]], workers: int, pin: bool) -> Iterator[Batch]:
    """The batches in order, read ahead by `workers` processes."""
    loader: DataLoader[Any] = DataLoader(
        samples,  # type: ignore[arg-type]  # torch's own base class adds nothing
        batch_sampler=batches,
        num_workers=min(workers, len(batches)),
        collate_fn=samples.collate,
        pin_memory=pin,
        worker_init_fn=_start_worker,
        # without one the loader draws from the global generator, at another step in a resumed run
        generator=torch.Generator(),
    )
    try:
        yield from loader
    except HrkitError as error:  # from a worker it comes wrapped in that worker's traceback
        raise type(error)(str(error).strip().rpartition(f"{type(error).__name__}: ")[2]) from None


def _start_worker(worker: int) -> None:
    # workers run side by side, so more threads would only wait for each other
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    # Ctrl-C and a scheduler's SIGTERM go to the whole process group, but the main process still needs its batches
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
