"""Configs: round trips, types, and mistakes that say what is known."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest

from hrkit.errors import HrkitError
from hrkit.settings import Range
from hrkit.training.config import (
    Augmentation,
    TrainConfig,
    build_config,
    config_to_dict,
    load_config,
    save_config,
    settings_of,
)


def test_round_trip(tmp_path: Path) -> None:
    config = TrainConfig(
        output="run",
        datasets=("coco:a", "coco:b*0.5"),
        input_size=(384, 288),
        clip_norm=5.0,
        frozen=("backbone.",),
        backbone_options={"width": 1.75},
        augmentation=Augmentation(rotation=30.0),
    )
    save_config(config, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json", TrainConfig) == config


def test_toml_and_overrides(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('output = "x"\nlearning_rate = 1\ninput_size = [64, 64]\n[augmentation]\nflip = 0\n')
    config = load_config(file, TrainConfig, output="y")
    assert (config.output, config.learning_rate, config.input_size) == ("y", 1.0, (64, 64))
    assert config.augmentation == Augmentation(flip=0.0)
    assert isinstance(config.learning_rate, float)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"output": "x", "learning_rat": 1}, "unknown key 'learning_rat'; did you mean 'learning_rate'"),
        ({}, "'output' is missing"),
        ({"output": "x", "epochs": "many"}, "epochs must be a whole number, not 'many'"),
        ({"output": "x", "epochs": True}, "epochs must be a whole number, not True"),
        ({"output": "x", "optimizer": "adagrad"}, "optimizer is 'adagrad'; choices: 'adam', 'adamw', 'sgd'"),
        ({"output": "x", "input_size": [256]}, "input_size must have 2 values, not 1"),
        ({"output": "x", "milestones": 5}, "milestones must be a list"),
        ({"output": "x", "augmentation": {"flop": 1}}, "augmentation: unknown key 'flop'; did you mean 'flip'"),
        ({"output": "x", "augmentation": 5}, "augmentation must be"),
    ],
)
def test_mistakes(values: dict[str, object], says: str) -> None:
    with pytest.raises(HrkitError, match=says):
        build_config(TrainConfig, values)


def test_yaml(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("output: x\nlearning_rate: 1e-3\ninput_size: [64, 64]\nmax_steps: null\naugmentation: {flip: 0}\n")
    config = load_config(file, TrainConfig)
    assert (config.output, config.learning_rate, config.input_size) == ("x", 0.001, (64, 64))
    assert (config.max_steps, config.augmentation) == (None, Augmentation(flip=0.0))
    file.write_text("output: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(HrkitError, match=r"recipe\.yaml: is no YAML"):
        load_config(file, TrainConfig)


@pytest.mark.parametrize("content", ["{", "[1]", "= 3"])
def test_files_that_are_no_config(tmp_path: Path, content: str) -> None:
    for ending in (".json", ".toml", ".yml"):
        (tmp_path / f"config{ending}").write_text(content)
        with pytest.raises(HrkitError, match=r"config\."):
            load_config(tmp_path / f"config{ending}", TrainConfig)
    with pytest.raises(HrkitError, match="cannot be read"):
        load_config(tmp_path / "none.toml", TrainConfig)


def test_every_setting_has_help_and_survives_as_plain_values() -> None:
    import attrs

    for kind in (TrainConfig, Augmentation):
        for attribute in attrs.fields(kind):
            assert attribute.metadata["help"], attribute.name
    assert config_to_dict(TrainConfig(output="x"))["augmentation"]["scale"] == 0.35


WRONG = {
    **dict.fromkeys(
        ("batch_size", "accumulate", "evaluate_every", "save_every", "log_every", "epochs", "max_steps"), 0
    ),
    **dict.fromkeys(("workers", "seed", "warmup_steps"), -1),
    **dict.fromkeys(("clip_norm", "weight_decay", "head_learning_rate"), -1.0),
    **dict.fromkeys(("sigma", "learning_rate"), 0.0),
    **dict.fromkeys(("ema", "momentum"), 1.0),
    "teacher_share": 1.5,
    "teacher_scale": -0.1,
    "milestones": (4, -1),
    "input_size": (0, 64),
    "joint_weights": (1.0, -1.0),
}
WRONG_AUGMENTATION = {
    **dict.fromkeys(("rotation_probability", "flip", "half_body", "dropout", "brightness", "scale"), 1.5),
    **dict.fromkeys(("rotation", "box_jitter", "contrast", "saturation"), -1.0),
    "half_body_joints": -1,
}


def test_every_number_has_a_range() -> None:
    for kind, wrong in ((TrainConfig, WRONG), (Augmentation, WRONG_AUGMENTATION)):
        ranged = {name for name, setting in settings_of(kind).items() if setting.within is not None}
        assert ranged == set(wrong)
        for name, setting in settings_of(kind).items():
            numeric = setting.kind in (int, float) or {int, float} & set(typing.get_args(setting.kind))
            assert (name in ranged) == bool(numeric), name


@pytest.mark.parametrize(("kind", "wrong"), [(TrainConfig, WRONG), (Augmentation, WRONG_AUGMENTATION)])
def test_a_number_out_of_range_is_named_with_its_value(kind: type, wrong: dict[str, object]) -> None:
    needed = {"output": "x"} if kind is TrainConfig else {}
    for name, value in wrong.items():
        with pytest.raises(HrkitError, match=rf"recipe\.toml: {name} is {re.escape(repr(value))}; it must be "):
            build_config(kind, {**needed, name: value}, "recipe.toml")
        with pytest.raises(HrkitError, match=f"^{name} is "):
            kind(**needed, **{name: float("nan")})


def test_ranges_in_words() -> None:
    assert str(Range(0)) == "from 0"
    assert str(Range(0, above=True)) == "above 0"
    assert str(Range(0, 1, below=True)) == "from 0 to below 1"
    assert 1 in Range(0, 1)
    assert 1 not in Range(0, 1, below=True)
    assert float("inf") not in Range(0)
    with pytest.raises(HrkitError, match="datasets is empty"):
        TrainConfig(output="x", datasets=())
    with pytest.raises(HrkitError, match="nesterov needs it above 0"):
        TrainConfig(output="x", momentum=0.0, nesterov=True)


def test_none_and_numbers_that_are_too_large(tmp_path: Path) -> None:
    lines = ("output = 'run'", "clip_norm = 'none'", "validation = 'none'", "joint_weights = 'none'")
    (tmp_path / "a.toml").write_text("\n".join(lines))
    config = load_config(tmp_path / "a.toml", TrainConfig)
    assert (config.clip_norm, config.validation, config.joint_weights) == (None, None, None)
    for name in ("learning_rate", "epochs"):
        with pytest.raises(HrkitError, match=name):
            build_config(TrainConfig, {"output": "run", name: 10**400})
    with pytest.raises(HrkitError, match="output is empty"):
        build_config(TrainConfig, {"output": ""})
    with pytest.raises(HrkitError, match="epochs must be a whole number, not 'none'"):
        build_config(TrainConfig, {"output": "run", "epochs": "none"})
