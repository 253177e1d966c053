"""`hrkit train`: a training run, described by options, a config file or the folder of a run to resume."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import click

from hrkit.commands.numbers import PATH, SIZE, Number
from hrkit.commands.short_help import ShortHelp
from hrkit.settings import Range
from hrkit.training.config import (
    Augmentation,
    Setting,
    TrainConfig,
    build_config,
    config_to_dict,
    read_config,
    settings_of,
)

COMMON = (
    *("config_file", "output", "datasets", "validation", "images", "resume", "backbone", "weights"),
    *("input_size", "epochs", "max_steps", "batch_size", "learning_rate", "workers", "device", "precision"),
    *("seed", "help", "help_all"),
)
"""Options that `--help` shows; `--help-all` shows all."""


def _option(setting: Setting) -> click.Option:
    """The option of a setting. Options that are not given stay None."""
    name, default, text = setting.name.replace("_", "-"), setting.default, setting.help
    if default not in (attrs.NOTHING, None, ()):
        text += f"  [default: {','.join(map(str, default)) if isinstance(default, tuple) else default}]"
    if setting.within is not None:
        text += f"  [{setting.within}]"
    declaration, form = f"--{name}", {"type": setting.kind}
    origin, arguments = typing.get_origin(setting.kind), typing.get_args(setting.kind)
    if setting.name in ("datasets", "category"):
        declaration, form = f"--{name.removesuffix('s')}", {"multiple": True}
    elif setting.kind is bool:
        declaration, form = "--resume" if name == "resume" else f"--{name}/--no-{name}", {"is_flag": True}
    elif setting.name == "input_size":
        form = {"type": SIZE, "metavar": "HEIGHT WIDTH"}
    elif origin is tuple:
        form = {"type": _comma_separated(arguments[0], setting.optional), "metavar": "A,B,..."}
    elif origin is Literal:
        form = {"type": click.Choice(arguments)}
    elif setting.kind in (int, float):
        form = {"type": Number(setting.kind, setting.within or Range(), optional=setting.optional)}
    short = ["-o"] if setting.name == "output" else []
    return click.Option([*short, declaration, setting.name], default=None, help=text, **form)


def _comma_separated(kind: type, optional: bool) -> Callable[[str], str | list[Any]]:
    def split(text: str) -> str | list[Any]:
        try:
            return text if text == "none" and optional else [kind(part.strip()) for part in text.split(",")]
        except ValueError:
            raise click.BadParameter(f"{text!r} must be {kind.__name__} values, separated by commas") from None

    return split


def _options(config: type, left_out: Sequence[str] = ()) -> list[click.Parameter]:
    return [_option(setting) for name, setting in settings_of(config).items() if name not in left_out]


def _given(values: Mapping[str, Any], config: type) -> dict[str, Any]:
    """The settings of a config that the command line names."""
    return {name: values[name] for name in settings_of(config) if values.get(name) not in (None, ())}


def _run(recipe: Path | None, config_file: Path | None, data_root: str | None, **values: Any) -> None:
    from hrkit.training.run import train
    from hrkit.training.run_folder import saved_config

    if recipe is not None and config_file is not None:
        raise click.UsageError(f"{recipe} and --config {config_file}: name one config")
    config_file = recipe or config_file
    given = _given(values, TrainConfig)
    if given.get("resume"):
        if "output" not in given:
            raise click.UsageError("--resume needs --output, the folder of the run")
        base = config_to_dict(saved_config(given["output"]))
    else:
        base = {} if config_file is None else read_config(config_file)
    varied = _given(values, Augmentation)
    if varied and isinstance(base.get("augmentation", {}), dict):
        given["augmentation"] = {**base.get("augmentation", {}), **varied}
    merged = {**base, **given}
    merged.setdefault("output", f"runs/{str(merged.get('backbone', 'hrnet_w32')).replace('/', '-')}")
    config = build_config(TrainConfig, merged, str(config_file or "command line"))
    if data_root is not None:
        config = attrs.evolve(
            config,
            datasets=tuple(_with_root(spec, data_root) for spec in config.datasets),
            validation=config.validation and _with_root(config.validation, data_root),
        )
    result = train(config)
    how = " (with flip test)" if config.flip_test else ""
    best = "" if result.best is None else f", best AP {result.best:.4f}{how}"
    best += " (too low: see 'When it does not work' in docs/training.md)" if (result.best or 1) < 0.01 else ""
    click.echo(f"{result.steps} steps, {result.epochs} epochs{best}; in {result.folder}")


def _with_root(spec: str, root: str) -> str:
    """A dataset, with the root as its path if it names none."""
    name, star, weight = spec.partition("*")
    return spec if ":" in spec else f"{name}:{root}{star}{weight}"


command: ShortHelp = ShortHelp(
    "train",
    rare=lambda name: name not in COMMON,
    callback=_run,
    params=[
        click.Argument(["recipe"], required=False, metavar="[CONFIG]", type=PATH),
        click.Option(
            ["--config", "config_file"],
            type=PATH,
            help="TOML, YAML or JSON file with these settings; options override it. CONFIG is the same.",
        ),
        click.Option(["--data-root"], help="Path of the datasets that name none."),
        *_options(TrainConfig, ("augmentation", "backbone_options")),
        *_options(Augmentation),
    ],
    help="Trains a pose network. The defaults are the official recipe for HRNet on COCO.\n\n"
    "Run it under torchrun for several devices or machines. Resume an interrupted run with --resume.",
    epilog="Example: hrkit train --dataset coco --data-root data/coco --backbone hrnet_w32 --validation coco",
)
