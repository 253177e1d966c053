"""`hrkit train`: a run of training, from options, a config file, or the folder of a run to go on with."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import click

from hrkit.training.config import Augmentation, TrainConfig, build_config, config_to_dict, read_config

EXAMPLE = "Example: hrkit train --dataset coco --data-root data/coco --backbone hrnet_w32 --validation coco"


def _option(attribute: attrs.Attribute[Any], hint: Any) -> click.Option:
    """The command line's form of one field of a config; what is not given stays None."""
    name = attribute.name.replace("_", "-")
    text = attribute.metadata["help"]
    if attribute.default not in (attrs.NOTHING, None, ()) and not isinstance(attribute.default, attrs.Factory):  # type: ignore[arg-type]
        shown = attribute.default
        text += f"  [default: {' '.join(map(str, shown)) if isinstance(shown, tuple) else shown}]"
    declaration, settings = [f"--{name}", attribute.name], {"default": None, "help": text}
    if attribute.name == "datasets":
        declaration, settings["multiple"] = ["--dataset", "datasets"], True
    elif hint is bool:
        declaration = ["--resume" if name == "resume" else f"--{name}/--no-{name}", attribute.name]
        settings["is_flag"] = True
    elif _plain(hint) == tuple[int, int]:
        settings.update(type=int, nargs=2, metavar="HEIGHT WIDTH")
    elif typing.get_origin(hint) is tuple or _plain(hint) == tuple[float, ...]:
        settings.update(metavar="A,B,...")
    elif typing.get_origin(hint) is Literal:
        settings.update(type=click.Choice(typing.get_args(hint)))
    else:
        settings.update(type=_plain(hint))
    return click.Option(declaration, **settings)


def _plain(hint: Any) -> Any:
    """The type in `type | None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(one for one in typing.get_args(hint) if one is not type(None))
    return hint


def _options(kind: type, leave_out: set[str]) -> list[click.Parameter]:
    hints = typing.get_type_hints(kind)
    return [_option(a, hints[a.name]) for a in attrs.fields(kind) if a.name not in leave_out]


def _given(values: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The fields of a config that were named on the command line; lists taken apart, "none" as None."""
    hints = typing.get_type_hints(kind)
    given: dict[str, Any] = {}
    for attribute in attrs.fields(kind):
        value = values.get(attribute.name)
        if value is None or value == ():
            continue
        inner = typing.get_args(_plain(hints[attribute.name]))
        if isinstance(value, str) and typing.get_origin(_plain(hints[attribute.name])) is tuple:
            value = [_number(part, inner[0], attribute.name) for part in value.split(",")]
        given[attribute.name] = None if value == "none" else value
    return given


def _number(text: str, kind: type, name: str) -> Any:
    try:
        return kind(text.strip())
    except ValueError:
        raise click.BadParameter(f"{text!r} is no {kind.__name__}", param_hint=f"--{name.replace('_', '-')}") from None


def _run(config_file: Path | None, data_root: str | None, **values: Any) -> None:
    from hrkit.training.run import train
    from hrkit.training.run_folder import saved_config

    given, varied = _given(values, TrainConfig), _given(values, Augmentation)
    if given.get("resume"):
        if "output" not in given:
            raise click.UsageError("--resume needs --output, the folder of the run")
        base = config_to_dict(saved_config(given["output"]))
    else:
        base = {} if config_file is None else read_config(config_file)
    merged = {**base, **given, "augmentation": {**base.get("augmentation", {}), **varied}}
    if data_root is not None:
        merged["datasets"] = [_rooted(spec, data_root) for spec in merged.get("datasets", ("coco",))]
        if merged.get("validation"):
            merged["validation"] = _rooted(merged["validation"], data_root)
    merged.setdefault("output", f"runs/{merged.get('backbone', 'hrnet_w32').replace('/', '-')}")
    result = train(build_config(TrainConfig, merged, str(config_file or "command line")))
    best = "" if result.best is None else f", best AP {result.best:.4f}"
    click.echo(f"{result.steps} steps, {result.epochs} epochs{best}; in {result.folder}")


def _rooted(spec: str, root: str) -> str:
    """A dataset without a path gets the root."""
    name, star, weight = spec.partition("*")
    return spec if ":" in spec else f"{name}:{root}{star}{weight}"


command = click.Command(
    "train",
    callback=_run,
    params=[
        click.Option(
            ["--config", "config_file"], type=click.Path(path_type=Path), help="TOML or JSON; options go before it."
        ),
        click.Option(["--data-root"], help="Where datasets without a path lie."),
        *_options(TrainConfig, {"augmentation", "backbone_options"}),
        *_options(Augmentation, set()),
    ],
    help="Trains a pose network; the defaults are the official recipe for HRNet on COCO.\n\n"
    "Run it under torchrun for several devices or machines. Interrupted, it goes on with --resume.",
    epilog=EXAMPLE,
)
