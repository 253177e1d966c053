"""MLflow: one run there per training run, resumed or not. MLFLOW_TRACKING_URI says where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hrkit.files import write_text

ID = "mlflow-id.txt"
"""The file with MLflow's id of the run."""
LONGEST = 500
"""Letters of a value that every version of MLflow takes."""


class Logger:
    """Sends settings and figures to a run of MLflow."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], step: int) -> None:
        import mlflow

        self._mlflow: Any = mlflow
        if (folder / ID).is_file():
            mlflow.start_run(run_id=(folder / ID).read_text(encoding="utf-8"))
        else:
            run = mlflow.start_run(run_name=folder.name)
            write_text(folder / ID, run.info.run_id)
            mlflow.log_params({name: str(value)[:LONGEST] for name, value in settings.items()})

    def __call__(self, group: str, step: int, values: Mapping[str, float]) -> None:
        self._mlflow.log_metrics({f"{group}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """Ends MLflow's run."""
        self._mlflow.end_run()
