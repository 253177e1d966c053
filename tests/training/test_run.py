"""Training: it learns, it resumes to the bit, two processes are one, and mistakes are found before hours are spent."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from attrs import evolve
from torch.nn import functional

from hrkit import Pipeline, create_pose_model
from hrkit.datasets.coco import coco
from hrkit.errors import DatasetError, HrkitError
from hrkit.pose_model import PoseModel
from hrkit.skeletons import unnamed_skeleton
from hrkit.training.config import Augmentation, TrainConfig
from hrkit.training.objective import share_with_teacher, teach
from hrkit.training.optimization import build_optimizer, learning_rate_factor, update_average
from hrkit.training.run import NonFiniteLossError, build_model, train
from made_coco import make_coco, write_json
from tiny_runs import last_state, last_weights, read_log, same_weights, script_of, tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_a_run_and_what_it_leaves(painted_coco: Path, tmp_path: Path) -> None:
    result = train(tiny_config(painted_coco, tmp_path / "run", validation=f"coco:{painted_coco}", ema=0.9))
    assert (result.steps, result.epochs) == (6, 2)
    assert result.best is not None
    lines = read_log(tmp_path / "run")
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "pck", "learning_rate", "samples_per_second"} <= set(lines[0])
    assert [line["epoch"] for line in lines if "AP" in line] == [1, 2]
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        *("config.json", "log.jsonl", "last.pt", "previous.pt", "best.pt", "best.safetensors")
    }
    pipeline = Pipeline.from_names("timm/test_resnet", weights=tmp_path / "run" / "best.safetensors")
    assert pipeline.pose_model.input_size == (64, 64)
    assert pipeline.skeleton.name == "coco17"


@pytest.mark.slow
def test_it_learns(painted_coco: Path, tmp_path: Path) -> None:
    still = Augmentation(scale=0.0, rotation=0.0, flip=0.0, half_body=0.0)
    train(
        tiny_config(painted_coco, tmp_path / "run", epochs=20, learning_rate=3e-3, augmentation=still, milestones=(15,))
    )
    losses = [line["loss"] for line in read_log(tmp_path / "run")]
    assert sum(losses[-6:]) < 0.7 * sum(losses[:6])


@pytest.mark.slow
def test_it_says_when_it_begins_from_chance(
    painted_coco: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chance = "training of hrnet_w2 starts from random weights"
    people = coco(painted_coco)
    for weights, told in (("auto", [chance]), (None, [])):
        caplog.clear()
        build_model(tiny_config(painted_coco, tmp_path, backbone="hrnet_w2", backbone_weights=weights), people)
        assert caplog.messages == told


EQUAL: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "precision": "float64",
    "freeze_batch_norm": True,
    "epochs": 3,
    "max_steps": 8,
    "schedule": "cosine",
    "evaluate_every": 3,
}
LEARNS: dict[str, Any] = {"epochs": 20, "learning_rate": 5e-3, "milestones": (15,)}


@pytest.fixture(scope="module")
def by_two(painted_coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs `equal` and `learns` of two processes, started once."""
    folder = tmp_path_factory.mktemp("by_two")
    equal = tiny_config(painted_coco, folder / "equal", batch_size=2, validation=f"coco:{painted_coco}", **EQUAL)
    learns = tiny_config(painted_coco, folder / "learns", batch_size=2, **LEARNS)
    script = folder / "both.py"
    script.write_text(script_of(equal, learns))
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(run, capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr
    return folder


@pytest.mark.slow
def test_two_processes_are_one(painted_coco: Path, by_two: Path, tmp_path: Path) -> None:
    train(tiny_config(painted_coco, tmp_path / "one", batch_size=4, validation=f"coco:{painted_coco}", **EQUAL))
    one, two = last_weights(tmp_path / "one"), last_weights(by_two / "equal")
    assert max((one[name] - two[name]).abs().max().item() for name in one if one[name].is_floating_point()) <= 1e-6
    moved = create_pose_model("timm/test_resnet", input_size=(64, 64)).double().state_dict()
    assert any(not torch.allclose(one[name], moved[name]) for name in one)
    folders = tmp_path / "one", by_two / "equal"
    metrics = [line["AP"] for folder in folders for line in read_log(folder) if "AP" in line]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-6)


@pytest.mark.slow
def test_two_processes_learn_as_well_with_batch_norm(painted_coco: Path, by_two: Path, tmp_path: Path) -> None:
    """Each normalises by its own half of the batch, so the weights differ; what they come to does not."""
    train(tiny_config(painted_coco, tmp_path / "one", batch_size=4, **LEARNS))
    one, two = ([line["loss"] for line in read_log(folder)] for folder in (tmp_path / "one", by_two / "learns"))
    assert len(one) == len(two) == 60
    assert sum(two[-6:]) < 0.75 * sum(two[:6])
    assert sum(two[-6:]) == pytest.approx(sum(one[-6:]), rel=0.1)


def test_a_loss_that_is_no_number_names_the_people(painted_coco: Path, tmp_path: Path) -> None:
    says = r"the loss is nan at step \d+; lower learning_rate .*; annotations of the batch: \[\d+"
    with pytest.raises(NonFiniteLossError, match=says):
        train(tiny_config(painted_coco, tmp_path / "run", learning_rate=1e30, optimizer="sgd", epochs=9))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frozen": ("backbon.",)}, "starts with 'backbon.'"),
        ({"frozen": ("backbone.", "head.")}, "every parameter is frozen"),
        ({"loss": "bce"}, "needs a head with logits"),
        ({"loss": "mean"}, "unknown loss 'mean'"),
        ({"joint_weights": (1.0, 2.0)}, "joint_weights has 2 values for 17 joints"),
        ({"batch_size": 64}, "12 people do not fill a step of 64"),
        ({"datasets": ("coco:nowhere",)}, "no COCO json there"),
        ({"backbone": "hrnt_w32"}, "did you mean hrnet_w32"),
    ],
)
def test_mistakes_are_found_first(painted_coco: Path, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(HrkitError, match=says):
        train(tiny_config(painted_coco, tmp_path / "runs" / "run", **changes))
    assert not (tmp_path / "runs").exists()  # the corrected command may use it


def _half_size(model: PoseModel) -> None:
    model.head = torch.nn.Sequential(model.head, torch.nn.MaxPool2d(2))


def _crashing(model: PoseModel) -> None:
    model.backbone.register_forward_pre_hook(lambda *_: torch.zeros(2) @ torch.zeros(3))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_half_size, "timm/test_resnet with 17 joints gives maps of 17x8x8, not 17x16x16; take another backbone"),
        (_crashing, "timm/test_resnet with 17 joints cannot be trained: RuntimeError: inconsistent tensor size"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused_by_name(
    painted_coco: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[PoseModel], None],
    says: str,
) -> None:
    def build(*given: Any) -> PoseModel:
        model = build_model(*given)
        change(model)
        return model

    monkeypatch.setattr("hrkit.training.run.build_model", build)
    with pytest.raises(HrkitError, match=says) as error:
        train(tiny_config(painted_coco, tmp_path / "run"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_trial_leaves_no_trace(painted_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(painted_coco, tmp_path / "run", ema=0.9, validation=f"coco:{painted_coco}")
    train(config)
    for name in ("check_training", "check_evaluation"):
        monkeypatch.setattr(f"hrkit.training.run.{name}", lambda *given: None)
    train(evolve(config, output=str(tmp_path / "untried")))
    assert same_weights(last_weights(tmp_path / "run"), last_weights(tmp_path / "untried"))


def _nobody(content: dict[str, Any]) -> None:
    content["categories"][0]["keypoints"] = [f"k{number}" for number in range(17)]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content: content["annotations"][0].update(bbox=None), "id 1, bbox: is missing"),
        (lambda content: content["annotations"][0].update(area="big"), "id 1, area: 'big' is no number"),
        (lambda content: content["annotations"].clear(), "nobody in it has a box"),
        (lambda content: content["images"][0].update(file_name="gone.png"), "first gone.png"),
        (_nobody, "have no joint name in common"),
    ],
)
def test_validation_data_is_checked_before_the_first_step(
    painted_coco: Path, tmp_path: Path, damage: Callable[[dict[str, Any]], object], says: str
) -> None:
    path = make_coco(tmp_path / "val", pictures=1)
    content = json.loads(path.read_text())
    damage(content)
    write_json(path, content)
    with pytest.raises(HrkitError, match=says):
        train(tiny_config(painted_coco, tmp_path / "run", validation=f"coco:{path}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_no_figure_is_never_the_best(painted_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter([-1.0, 0.25, -1.0])
    outcome = lambda *given, **options: SimpleNamespace(metrics={"AP": next(figures)})  # noqa: E731
    monkeypatch.setattr("hrkit.training.run.evaluate", outcome)
    result = train(tiny_config(painted_coco, tmp_path / "run", validation=f"coco:{painted_coco}", epochs=3))
    assert result.best == 0.25
    assert last_state(tmp_path / "run")["best"] == 0.25


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_stops_with_its_name(tmp_path: Path, workers: int) -> None:
    make_coco(tmp_path)
    (tmp_path / "images/003.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"003\.png: is no picture") as error:
        train(tiny_config(tmp_path, tmp_path / "run", workers=workers))
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


@pytest.mark.slow
def test_frozen_parts_do_not_move_and_the_head_has_its_own_rate(painted_coco: Path, tmp_path: Path) -> None:
    config = tiny_config(painted_coco, tmp_path / "run", frozen=("backbone.",), head_learning_rate=0.01, max_steps=2)
    torch.manual_seed(config.seed)
    before = create_pose_model("timm/test_resnet", input_size=(64, 64)).state_dict()
    train(config)
    after = last_weights(tmp_path / "run")
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    model = create_pose_model("timm/test_resnet", input_size=(64, 64))
    groups = build_optimizer(tiny_config(painted_coco, tmp_path, head_learning_rate=0.01), model).param_groups
    assert sorted(group["base_lr"] for group in groups) == [0.001, 0.01]


def test_the_average_follows_the_weights() -> None:
    model, average = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    distance = (average.weight - model.weight).norm().item()
    for step in range(1, 200):
        update_average(average, model, 0.9, step)
    assert (average.weight - model.weight).norm().item() < 1e-6 < distance
    assert math.isfinite(distance)


@pytest.mark.slow
def test_a_teacher_labels_too(painted_coco: Path, tmp_path: Path) -> None:
    teacher = create_pose_model("timm/test_resnet", input_size=(64, 64))
    teacher.save(tmp_path / "teacher.safetensors")
    taught: dict[str, Any] = {"teacher": "timm/test_resnet", "teacher_weights": str(tmp_path / "teacher.safetensors")}
    for name, changes in (("alone", {}), ("none", {**taught, "teacher_share": 0.0}), ("half", taught)):
        train(tiny_config(painted_coco, tmp_path / name, max_steps=3, **changes))
    losses = {name: [line["loss"] for line in read_log(tmp_path / name)] for name in ("alone", "none", "half")}
    assert losses["alone"] == losses["none"]
    assert losses["alone"] != losses["half"]
    with pytest.raises(HrkitError, match=r"another input size: \(64, 64\), not \(96, 64\)"):
        train(tiny_config(painted_coco, tmp_path / "odd", input_size=(96, 64), **taught))


def test_a_teacher_with_flip_test_says_the_same_of_mirrored_crops() -> None:
    teacher = create_pose_model("timm/test_resnet", input_size=(64, 64), codec="udp").eval()
    crops = torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8)
    swapped = teach(teacher, crops.flip(2), flip_test=True).flip(3)[:, teacher.skeleton.flip_indices]
    torch.testing.assert_close(teach(teacher, crops, flip_test=True), swapped, rtol=0, atol=1e-5)
    assert not torch.allclose(teach(teacher, crops), swapped, rtol=0, atol=1e-5)


def test_a_teacher_that_sees_another_size_says_where_things_are_all_the_same() -> None:
    """Its heatmap of a crop with a blob has its peak at the blob, whatever the size that it saw."""

    class Copy(PoseModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return functional.avg_pool2d(images[:, :1], 4)

    model = create_pose_model("timm/test_resnet", input_size=(64, 64))
    teacher = Copy(model.backbone, model.head, model.spec)
    rows = torch.arange(64).float()
    blob = torch.exp(-((rows[:, None] - 20) ** 2 + (rows - 40) ** 2) / 60)
    crops = (255 * blob)[None, :, :, None].expand(16, 64, 64, 3).byte()
    plain, sized = teach(teacher, crops), teach(teacher, crops, scale=0.3)
    assert not torch.allclose(plain, sized, rtol=0, atol=0.01)
    peaks = sized.flatten(1).argmax(1)
    assert ((peaks // 16 - 20 // 4).abs() <= 1).all()
    assert ((peaks % 16 - 40 // 4).abs() <= 1).all()


@pytest.mark.parametrize("how", ["augmentation", "validation", "teacher"])
def test_mirrored_crops_need_names_of_joints_before_anything_is_built(
    painted_coco: Path, tmp_path: Path, how: str
) -> None:
    people = coco(painted_coco, skeleton=unnamed_skeleton(17))
    changes: dict[str, dict[str, Any]] = {
        "augmentation": {"augmentation": Augmentation(flip=0.5)},
        "validation": {"flip_test": True, "validation": f"coco:{painted_coco}"},
        "teacher": {"teacher": "timm/test_resnet", "teacher_flip_test": True},
    }
    plain: dict[str, Any] = {"augmentation": Augmentation(flip=0.0), "flip_test": False, "validation": None}
    build_model(tiny_config(painted_coco, tmp_path, **plain), people)
    with pytest.raises(HrkitError, match="nothing names the 17 joints"):
        build_model(tiny_config(painted_coco, tmp_path, **{**plain, **changes[how]}), people)


def test_what_a_teacher_says_of_joints() -> None:
    targets, taught = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    weights = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    mixed, mixed_weights = share_with_teacher(targets, weights, taught, 0.25)
    torch.testing.assert_close(mixed[0, 0], 0.75 * targets[0, 0] + 0.25 * taught[0, 0])
    torch.testing.assert_close(mixed[0, 1], taught[0, 1])
    assert mixed_weights.tolist() == [[1, 0.25, 1], [0.25, 1, 0.25]]
