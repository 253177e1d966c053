"""The figures of a run go where the config says, and to callables; a resumed run goes on there."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from hrkit.errors import HrkitError
from hrkit.training.loggers import check_loggers, open_loggers
from hrkit.training.run import train
from hrkit.training.run_folder import RunLog, RunState
from tiny_runs import tiny_config


def library(monkeypatch: pytest.MonkeyPatch, name: str, **functions: Any) -> None:
    """Installs a library that only has these functions."""
    module = ModuleType(name)
    module.__dict__.update(functions, __spec__=ModuleSpec(name, None))
    monkeypatch.setitem(sys.modules, name, module)


def write(folder: Path, name: str, step: int) -> None:
    """A line of the log of a run that goes on from `step`."""
    with RunLog(folder, RunState(step=step), open_loggers([name], folder, {"epochs": 2}, step)) as log:
        log.write("train", loss=0.5)


def test_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = MagicMock(id="abc")
    init = MagicMock(return_value=run)
    library(monkeypatch, "wandb", init=init)
    write(tmp_path, "wandb", 3)
    init.assert_called_once_with(dir=str(tmp_path), name=tmp_path.name, config={"epochs": 2})
    run.log.assert_called_once_with({"train/loss": 0.5}, step=3)
    run.finish.assert_called_once_with()
    write(tmp_path, "wandb", 4)
    assert {name: init.call_args.kwargs[name] for name in ("id", "resume")} == {"id": "abc", "resume": "allow"}


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = MagicMock()
    calls.start_run.return_value = SimpleNamespace(info=SimpleNamespace(run_id="abc"))
    names = ("start_run", "log_params", "log_metrics", "end_run")
    library(monkeypatch, "mlflow", **{name: getattr(calls, name) for name in names})
    write(tmp_path, "mlflow", 3)
    calls.log_params.assert_called_once_with({"epochs": "2"})
    calls.log_metrics.assert_called_once_with({"train/loss": 0.5}, step=3)
    calls.end_run.assert_called_once_with()
    write(tmp_path, "mlflow", 4)
    assert calls.start_run.call_args.kwargs == {"run_id": "abc"}
    calls.log_params.assert_called_once()


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = MagicMock()
    library(monkeypatch, "torch.utils.tensorboard", SummaryWriter=writer)
    write(tmp_path, "tensorboard", 3)
    writer.assert_called_once_with(tmp_path / "tensorboard", purge_step=3)
    writer.return_value.add_scalar.assert_called_once_with("train/loss", 0.5, 3)
    writer.return_value.close.assert_called_once_with()


def test_loggers_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HrkitError, match=r"pip install 'hrkit-pose\[wandb\]'"):
        train(tiny_config(tmp_path, tmp_path / "run", loggers=("wandb",)))
    with pytest.raises(HrkitError, match="unknown logger 'wandbb'; did you mean wandb"):
        check_loggers(["wandbb"])


def test_callables_hear_every_line(painted_coco: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, list[str]]] = []
    config = tiny_config(painted_coco, tmp_path / "run", max_steps=1)
    train(config, callbacks=[lambda group, step, values: heard.append((group, step, sorted(values)))])
    assert heard == [("train", 1, ["learning_rate", "loss", "pck", "samples_per_second"])]
