"""Configs: round trips, types, and mistakes that say what is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from hrkit.errors import HrkitError
from hrkit.training.config import Augmentation, TrainConfig, build_config, config_to_dict, load_config, save_config


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
        ({"output": "x", "epochs": "many"}, "epochs must be int, not 'many'"),
        ({"output": "x", "epochs": True}, "epochs must be int, not True"),
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


@pytest.mark.parametrize("content", ["{", "[1]", "= 3"])
def test_files_that_are_no_config(tmp_path: Path, content: str) -> None:
    for ending in (".json", ".toml"):
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
