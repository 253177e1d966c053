"""Training: it learns, it resumes to the bit, two processes are one, and mistakes are found before hours are spent."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hrkit import Pipeline, create_pose_model
from hrkit.config import Augmentation, TrainConfig, save_config
from hrkit.errors import DatasetError, HrkitError
from hrkit.runs import load_state
from hrkit.training import NonFiniteLossError, build_optimizer, learning_rate_factor, train, update_average
from made_coco import make_coco


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_coco(folder, pictures=6)
    return folder


def _config(data: Path, output: Path, **changes: Any) -> TrainConfig:
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


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    state = load_state(folder / "last.pt")
    assert state is not None
    return state["model"]


def _equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_and_what_it_leaves(data: Path, tmp_path: Path) -> None:
    result = train(_config(data, tmp_path / "run", validation=f"coco:{data}", ema=0.9))
    assert (result.steps, result.epochs) == (6, 2)
    assert result.best is not None
    lines = _log(tmp_path / "run")
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "pck", "learning_rate", "samples_per_second"} <= set(lines[0])
    assert [line["epoch"] for line in lines if "AP" in line] == [1, 2]
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        *("config.json", "log.jsonl", "last.pt", "best.pt", "best.safetensors")
    }
    pipeline = Pipeline.from_names("timm/test_resnet", weights=tmp_path / "run" / "best.safetensors")
    assert pipeline.pose_model.input_size == (64, 64)
    assert pipeline.skeleton.name == "coco17"


def test_it_learns(data: Path, tmp_path: Path) -> None:
    still = Augmentation(scale=0.0, rotation=0.0, flip=0.0, half_body=0.0)
    train(_config(data, tmp_path / "run", epochs=40, learning_rate=3e-3, augmentation=still, milestones=(30,)))
    losses = [line["loss"] for line in _log(tmp_path / "run")]
    assert sum(losses[-6:]) < 0.7 * sum(losses[:6])


def test_a_folder_that_exists_is_kept(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("x")
    with pytest.raises(HrkitError, match="exists; pass --resume"):
        train(_config(data, tmp_path / "run"))
    assert (tmp_path / "run" / "precious.txt").read_text() == "x"


def test_resuming_with_another_recipe_is_refused(data: Path, tmp_path: Path) -> None:
    train(_config(data, tmp_path / "run", max_steps=1))
    with pytest.raises(HrkitError, match="begun with another learning_rate"):
        train(_config(data, tmp_path / "run", learning_rate=0.5, resume=True))


RECIPES: list[dict[str, Any]] = [
    {"ema": 0.9, "optimizer": "adamw", "warmup_steps": 3, "clip_norm": 1.0},
    {"optimizer": "sgd", "schedule": "cosine", "accumulate": 2, "batch_size": 2},
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_stopped_anywhere_it_goes_on_to_the_same_weights(data: Path, tmp_path: Path, recipe: dict[str, Any]) -> None:
    whole = _config(data, tmp_path / "whole", epochs=3, validation=f"coco:{data}", **recipe)
    train(whole)
    expected = _weights(tmp_path / "whole")
    for stop in (1, 2, 3, 5, 8):
        folder = tmp_path / f"stopped{stop}"
        settings = {**recipe, "epochs": 3, "validation": f"coco:{data}", "save_every": 1}
        part = _interrupted(_config(data, folder, **settings), stop)
        assert part == stop
        train(_config(data, folder, resume=True, **settings))
        assert _equal(_weights(folder), expected), stop
        losses = [(line["step"], line["loss"]) for line in _log(folder) if "loss" in line]
        assert losses == [(line["step"], line["loss"]) for line in _log(tmp_path / "whole") if "loss" in line]


def _interrupted(config: TrainConfig, stop: int) -> int:
    """Trains until a signal after `stop` steps, and gives the step of the checkpoint."""
    count = 0
    real = torch.optim.Optimizer.zero_grad

    def counted(self: torch.optim.Optimizer, set_to_none: bool = True) -> None:
        nonlocal count
        count += 1
        if count == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        real(self, set_to_none)

    with pytest.MonkeyPatch.context() as patch:
        for kind in (torch.optim.AdamW, torch.optim.SGD, torch.optim.Adam):
            patch.setattr(kind, "zero_grad", counted)
        with pytest.raises(KeyboardInterrupt, match="go on with --resume"):
            train(config)
    state = load_state(Path(config.output) / "last.pt")
    assert state is not None
    return state["step"]


@pytest.mark.parametrize("moment", [0.2, 0.5, 0.8])
def test_killed_without_warning(data: Path, tmp_path: Path, moment: float) -> None:
    """`kill -9` in the middle of a save: the file before it is whole, and nothing else counts."""
    train(_config(data, tmp_path / "whole"))
    folder = tmp_path / "run"
    code = f"""
import os, signal, torch
from hrkit.config import TrainConfig, load_config
from hrkit.training import train
real, saves = torch.save, []
def save(content, path):
    saves.append(path)
    real(content, path)
    if len(saves) == 4:  # what was written so far is cut short, and the process is gone
        with open(path, "r+b") as file:
            file.truncate(int(os.path.getsize(path) * {moment}))
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = save
train(TrainConfig(**{_as_arguments(_config(data, folder, save_every=1))}))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert any(path.name.startswith(".last-") for path in folder.iterdir())
    train(_config(data, folder, resume=True, save_every=1))
    assert _equal(_weights(folder), _weights(tmp_path / "whole"))
    assert not any(path.name.startswith(".") for path in folder.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to signal")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_whole_group_saves_and_says_so(
    data: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    save_config(_config(data, tmp_path / "run", epochs=500, workers=1, device="cpu"), tmp_path / "config.json")
    command = [sys.executable, "-m", "hrkit", "train", "--config", str(tmp_path / "config.json")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    seen = ""
    while "loss=" not in seen:  # the bar shows that steps are made
        seen += process.stderr.read(1)
    os.killpg(process.pid, number)
    rest = process.stderr.read()
    assert process.wait() == code, rest
    assert "go on with --resume" in rest
    assert "Traceback" not in rest
    state = load_state(tmp_path / "run" / "last.pt")
    assert state is not None
    assert state["step"] > 0


def _as_arguments(config: TrainConfig) -> dict[str, Any]:
    import attrs

    return {a.name: getattr(config, a.name) for a in attrs.fields(TrainConfig) if a.name != "augmentation"}


def _torchrun(data: Path, output: Path, processes: int, **changes: Any) -> None:
    config = _config(data, output, **changes)
    script = output.with_suffix(".py")
    imports = "from hrkit.config import TrainConfig\nfrom hrkit.training import train\n"
    script.write_text(f"{imports}train(TrainConfig(**{_as_arguments(config)}))\n")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(run, capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr


def test_two_processes_are_one(data: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "precision": "float64",
        "freeze_batch_norm": True,
        "epochs": 7,
        "max_steps": 20,
        "schedule": "cosine",
        "validation": f"coco:{data}",
        "evaluate_every": 7,
    }
    _torchrun(data, tmp_path / "two", 2, batch_size=2, **common)
    train(_config(data, tmp_path / "one", batch_size=4, **common))
    one, two = _weights(tmp_path / "one"), _weights(tmp_path / "two")
    assert max((one[name] - two[name]).abs().max().item() for name in one if one[name].is_floating_point()) <= 1e-6
    moved = create_pose_model("timm/test_resnet", input_size=(64, 64)).double().state_dict()
    assert any(not torch.allclose(one[name], moved[name]) for name in one)
    metrics = [line["AP"] for folder in ("one", "two") for line in _log(tmp_path / folder) if "AP" in line]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-6)


def test_a_loss_that_is_no_number_names_the_people(data: Path, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan at step \d+; annotations of the batch: \[\d+"):
        train(_config(data, tmp_path / "run", learning_rate=1e30, optimizer="sgd", epochs=9))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frozen": ("backbon.",)}, "begins with 'backbon.'"),
        ({"frozen": ("backbone.", "head.")}, "everything is frozen"),
        ({"loss": "bce"}, "needs a head with logits"),
        ({"loss": "mean"}, "unknown loss 'mean'"),
        ({"joint_weights": (1.0, 2.0)}, "joint_weights has 2 values for 17 joints"),
        ({"batch_size": 64}, "12 people fill no step of 64"),
        ({"datasets": ("coco:nowhere",)}, "no COCO json there"),
        ({"backbone": "hrnt_w32"}, "did you mean hrnet_w32"),
    ],
)
def test_mistakes_are_found_first(data: Path, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(HrkitError, match=says):
        train(_config(data, tmp_path / "run", **changes))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_stops_with_its_name(tmp_path: Path, workers: int) -> None:
    make_coco(tmp_path)
    (tmp_path / "images/003.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"003\.png: is no picture") as error:
        train(_config(tmp_path, tmp_path / "run", workers=workers))
    assert "\n" not in str(error.value)


def test_schedules() -> None:
    step = TrainConfig(output="x", warmup_steps=10)
    assert learning_rate_factor(step, 0, 10, 2100) == pytest.approx(0.1)
    assert learning_rate_factor(step, 1699, 10, 2100) == 1
    assert learning_rate_factor(step, 1700, 10, 2100) == pytest.approx(0.1)
    assert learning_rate_factor(step, 2000, 10, 2100) == pytest.approx(0.01)
    cosine = TrainConfig(output="x", schedule="cosine")
    assert learning_rate_factor(cosine, 1050, 10, 2100) == pytest.approx(0.5)
    assert learning_rate_factor(cosine, 2100, 10, 2100) == pytest.approx(0)


def test_frozen_parts_do_not_move_and_the_head_has_its_own_rate(data: Path, tmp_path: Path) -> None:
    config = _config(data, tmp_path / "run", frozen=("backbone.",), head_learning_rate=0.01, max_steps=2)
    torch.manual_seed(config.seed)
    before = create_pose_model("timm/test_resnet", input_size=(64, 64)).state_dict()
    train(config)
    after = _weights(tmp_path / "run")
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    model = create_pose_model("timm/test_resnet", input_size=(64, 64))
    groups = build_optimizer(_config(data, tmp_path, head_learning_rate=0.01), model).param_groups
    assert sorted(group["base_lr"] for group in groups) == [0.001, 0.01]


def test_the_average_follows_the_weights() -> None:
    model, average = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    distance = (average.weight - model.weight).norm().item()
    for step in range(1, 200):
        update_average(average, model, 0.9, step)
    assert (average.weight - model.weight).norm().item() < 1e-6 < distance
    assert math.isfinite(distance)
