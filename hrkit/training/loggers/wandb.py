"""Weights & Biases: one run there per training run, resumed or not, with the name of the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hrkit.files import write_text

ID = "wandb-id.txt"
"""The file with W&B's id of the run."""


class Logger:
    """Sends figures to a run of W&B."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], step: int) -> None:
        import wandb

        known = (folder / ID).read_text(encoding="utf-8") if (folder / ID).is_file() else None
        options = {} if known is None else {"id": known, "resume": "allow"}
        self._run: Any = wandb.init(dir=str(folder), name=folder.name, config=dict(settings), **options)
        write_text(folder / ID, self._run.id)

    def __call__(self, group: str, step: int, values: Mapping[str, float]) -> None:
        self._run.log({f"{group}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """Ends W&B's run."""
        self._run.finish()
