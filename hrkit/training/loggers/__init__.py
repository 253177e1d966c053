"""Where the figures of a run go beside `log.jsonl`: TensorBoard, Weights & Biases, MLflow, and callables."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hrkit.errors import HrkitError, UnknownNameError

NAMES = ("mlflow", "tensorboard", "wandb")
"""The loggers that a config can name; each is a module here, with a class `Logger`."""


class Callback(Protocol):
    """What hears the figures of a run. If it has a method `close()`, that is called at the end."""

    def __call__(self, group: str, step: int, values: Mapping[str, float], /) -> object:
        """`group` is "train" or "validation", `step` the number of optimizer steps so far."""


def check_loggers(names: Iterable[str]) -> None:
    """Raises `UnknownNameError` for an unknown name, and `HrkitError` if a library is not installed."""
    for name in names:
        if name not in NAMES:
            raise UnknownNameError("logger", name, NAMES)
        if importlib.util.find_spec(name) is None:
            raise HrkitError(f"the logger {name!r} needs its library: pip install 'hrkit-pose[{name}]'")


def open_loggers(names: Sequence[str], folder: Path, settings: Mapping[str, Any], step: int) -> list[Callback]:
    """The loggers of a run in `folder` that goes on from `step`; `check_loggers` has checked their names.

    `settings` are plain values.
    """
    modules = [importlib.import_module(f"{__name__}.{name}") for name in dict.fromkeys(names)]
    return [module.Logger(folder, settings, step) for module in modules]
