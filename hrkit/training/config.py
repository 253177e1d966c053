"""What a training run is: frozen values that only describe; loaded from and saved to TOML or JSON."""

from __future__ import annotations

import difflib
import json
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs
from attrs import field, frozen

from hrkit.datasets.augmentation import Augmentation, setting
from hrkit.errors import HrkitError
from hrkit.files import atomic_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Config = TypeVar("Config")


@frozen(kw_only=True)
class TrainConfig:
    """A run of `training.train`; the defaults are the official recipe for HRNet on COCO."""

    output: str = field(metadata={"help": "folder of the run; it must not exist, unless with --resume"})
    datasets: tuple[str, ...] = setting(("coco",), "NAME[:PATH][*WEIGHT]: what to train on, and how often an epoch")
    validation: str | None = setting(None, "NAME[:PATH] to evaluate on, with annotated boxes")
    resume: bool = setting(False, "go on with the run in the folder")

    backbone: str = setting("hrnet_w32", "registered backbone")
    backbone_options: Mapping[str, Any] = setting(dict, "options of the backbone (in config files only)")
    head: str | None = setting(None, "registered head; by default the backbone's own")
    weights: str | None = setting(None, "whole network to start from: an entry, a file or hf-hub:owner/name")
    backbone_weights: str | None = setting(
        "auto", 'backbone to start from: "auto" is ImageNet where published, "pretrained" timm\'s, "none" chance'
    )
    input_size: tuple[int, int] | None = setting(
        None, "height and width of the crops, px; by default those of the weights, or what the backbone is for"
    )
    codec: str = setting("msra", "registered codec: msra, dark, udp")
    sigma: float | None = setting(None, "of the targets, heatmap px; by default 2 up to 256 px of height, 3 above")
    loss: str = setting("mse", "mse, ohkm, or bce (on the logits of heads that have them)")
    joint_weights: tuple[float, ...] | None = setting(None, "factors on the weights of the joints, one a joint")
    teacher: str | None = setting(None, "registered backbone of a trained network whose heatmaps are labels too")
    teacher_weights: str = setting("auto", "of the teacher: auto, an entry, a file")
    teacher_share: float = setting(0.5, "of the targets, what the teacher says; the rest are the labels")
    frozen: tuple[str, ...] = setting((), 'beginnings of parameter names that are not trained, as "backbone."')
    freeze_batch_norm: bool = setting(False, "keep the statistics of all batch norms as they start")

    epochs: int = setting(210, "how often the data is seen")
    max_steps: int | None = setting(None, "stop after so many optimizer steps, whatever epochs says")
    batch_size: int = setting(32, "people a device and a forward pass")
    accumulate: int = setting(1, "forward passes an optimizer step")
    optimizer: Literal["adam", "adamw", "sgd"] = setting("adam", "which optimizer")
    learning_rate: float = setting(1e-3, "base learning rate")
    head_learning_rate: float | None = setting(None, "base learning rate of the head, where it differs")
    weight_decay: float = setting(0.0, "weight decay")
    momentum: float = setting(0.9, "of sgd")
    nesterov: bool = setting(False, "of sgd")
    schedule: Literal["step", "cosine"] = setting("step", "step: a tenth after each milestone; cosine: to 0")
    milestones: tuple[int, ...] = setting((170, 200), "epochs after which the step schedule divides by ten")
    warmup_steps: int = setting(0, "optimizer steps over which the learning rate rises from 0")
    clip_norm: float | None = setting(None, "largest norm of the gradients")
    ema: float | None = setting(None, "decay of the average of the weights, as 0.999; it is evaluated and exported")

    augmentation: Augmentation = setting(Augmentation, "how samples vary")
    flip_test: bool = setting(True, "evaluate with the mirrored pass")
    seed: int = setting(0, "of everything that is drawn")
    workers: int = setting(2, "processes that read and warp")
    device: str = setting("auto", "auto, cpu, cuda:0, mps; torchrun deals out CUDA devices")
    precision: Literal["float32", "bfloat16", "float16", "float64"] = setting(
        "float32", "of the forward pass (autocast); float64 is for tests of exactness"
    )
    channels_last: bool = setting(True, "memory layout that convolutions like")
    evaluate_every: int = setting(1, "epochs between evaluations")
    save_every: int | None = setting(None, "optimizer steps between checkpoints, besides those of each epoch")
    log_every: int = setting(20, "optimizer steps between lines of the log")
    tensorboard: bool = setting(True, "write TensorBoard files where tensorboard is installed")


def read_config(path: str | Path) -> dict[str, Any]:
    """The plain values in a TOML or JSON file. Raises `HrkitError` if it cannot be read."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:  # both parsers raise ValueErrors
        raise HrkitError(f"{file}: cannot be read as a config ({error})") from None
    if not isinstance(content, dict):
        raise HrkitError(f"{file}: wanted keys and values")
    return content


def load_config(path: str | Path, kind: type[Config], **overrides: Any) -> Config:
    """A config from a TOML or JSON file; `overrides` go before what it says. Raises as `build_config`."""
    return build_config(kind, {**read_config(path), **overrides}, str(path))


def build_config(kind: type[Config], values: Mapping[str, Any], where: str = "config") -> Config:
    """A config from plain values, nested configs as mappings.

    Raises `HrkitError` for an unknown key (with the closest known one), a value of the wrong type, or a missing one.
    """
    hints = typing.get_type_hints(kind)
    known = {attribute.name: attribute for attribute in attrs.fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
            raise HrkitError(f"{where}: unknown key {name!r}{hint}")
    missing = [name for name, attribute in known.items() if attribute.default is attrs.NOTHING and name not in values]
    if missing:
        raise HrkitError(f"{where}: {missing[0]!r} is missing")
    return kind(**{name: _convert(value, hints[name], f"{where}: {name}") for name, value in values.items()})


def config_to_dict(config: Any) -> dict[str, Any]:
    """The config as plain values, ready for json."""
    return attrs.asdict(config)


def save_config(config: Any, path: str | Path) -> None:
    """Writes the config as JSON, whole or not at all; `load_config` reads it back."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(config_to_dict(config), indent=1) + "\n", encoding="utf-8")


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)), where)
    if origin is Literal:
        if value not in arguments:
            raise HrkitError(f"{where} is {value!r}; choices: {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise HrkitError(f"{where} must be a list, not {value!r}")
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(value):
            raise HrkitError(f"{where} must have {len(kinds)} values, not {len(value)}")
        return tuple(_convert(one, kind, where) for one, kind in zip(value, kinds, strict=True))
    if attrs.has(hint) and isinstance(value, hint):
        return value
    if attrs.has(hint) or origin is not None:
        if not isinstance(value, Mapping):
            raise HrkitError(f"{where} must be keys and values, not {value!r}")
        return build_config(hint, value, where) if origin is None else dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise HrkitError(f"{where} must be {hint.__name__}, not {value!r}")
    return value
