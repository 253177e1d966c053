"""The settings of a training run, loaded from TOML, YAML or JSON and saved to JSON."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs
from attrs import field, frozen

from hrkit.datasets.augmentation import Augmentation
from hrkit.errors import HrkitError
from hrkit.files import FilePath, read_json, read_toml, read_yaml, write_text
from hrkit.settings import SIDE, SIGMA, Range, setting

Config = TypeVar("Config")

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "a table"}


@frozen(kw_only=True)
class TrainConfig:
    """The settings of `hrkit.training.train`. The defaults are the official recipe for HRNet on COCO."""

    output: str = field(metadata={"help": "folder of the run; it must be new or empty, except with --resume"})
    datasets: tuple[str, ...] = setting(
        ("coco",), "training data as NAME[:PATH][*WEIGHT]; WEIGHT is how often an epoch shows it"
    )
    validation: str | None = setting(None, "data to evaluate on as NAME[:PATH], with its annotated boxes")
    images: str | None = setting(None, "folder or zip file of the pictures if they are not beside the annotations")
    category: tuple[str, ...] = setting((), "categories to take; by default all with the joints of the first")
    skip_bad: bool = setting(False, "leave out faulty annotations and missing pictures")
    resume: bool = setting(False, "continue the run in the output folder")

    backbone: str = setting("hrnet_w32", "name of the backbone")
    backbone_options: Mapping[str, Any] = setting(dict, "options of the backbone's builder (in config files only)")
    head: str | None = setting(None, "name of the head; by default the backbone's own")
    weights: str | None = setting(None, "weights of the whole network: an entry, a file or hf-hub:owner/name")
    backbone_weights: str | None = setting(
        "auto",
        'weights of the backbone: "auto" (ImageNet weights if published), "pretrained" (timm\'s), an entry, a file, '
        'or "none" (random)',
    )
    input_size: tuple[int, int] | None = setting(
        None, "height and width of the crops in px; by default those of the weights or the backbone", SIDE
    )
    codec: str | None = setting(
        None, "name of the codec: msra, dark or udp for heatmaps; by default that of the weights or the head, or msra"
    )
    sigma: float | None = setting(
        None,
        "deviation of the target heatmaps in heatmap px; by default 2, or 3 for crops over 256 px high",
        SIGMA,
    )
    loss: str | None = setting(
        None, "mse, ohkm or bce of heatmaps; by default bce for heads with logits, else mse; others have their own"
    )
    joint_weights: tuple[float, ...] | None = setting(None, "one factor per joint on its loss", Range(0))
    teacher: str | None = setting(None, "backbone of a trained network whose heatmaps are mixed into the targets")
    teacher_weights: str = setting("auto", "weights of the teacher: auto, an entry or a file")
    teacher_share: float = setting(0.5, "share of the teacher in the targets, 0 to 1", Range(0, 1))
    teacher_flip_test: bool = setting(False, "average the teacher's heatmaps with those of the mirrored crops")
    teacher_scale: float = setting(
        0.0, "the teacher sees each crop larger or smaller at random, by a factor of up to 1 plus this", Range(0, 1)
    )
    frozen: tuple[str, ...] = setting((), 'prefixes of parameter names that are not trained, such as "backbone."')
    freeze_batch_norm: bool = setting(False, "keep the initial statistics of all batch norms")

    epochs: int = setting(210, "number of passes over the data", Range(1))
    max_steps: int | None = setting(None, "largest number of optimizer steps, whatever epochs says", Range(1))
    batch_size: int = setting(32, "people per device and forward pass", Range(1))
    accumulate: int = setting(1, "forward passes per optimizer step", Range(1))
    optimizer: Literal["adam", "adamw", "sgd"] = setting("adam", "name of the optimizer")
    learning_rate: float = setting(1e-3, "base learning rate", Range(0, above=True))
    head_learning_rate: float | None = setting(
        None, "base learning rate of the head; by default learning_rate", Range(0)
    )
    weight_decay: float = setting(0.0, "weight decay of the optimizer", Range(0))
    momentum: float = setting(0.9, "momentum of sgd", Range(0, 1, below=True))
    nesterov: bool = setting(False, "Nesterov momentum for sgd")
    schedule: Literal["step", "cosine"] = setting(
        "step", "step divides the learning rate by 10 at each milestone; cosine lowers it to 0"
    )
    milestones: tuple[int, ...] = setting((170, 200), "epochs after which the step schedule divides by 10", Range(0))
    warmup_steps: int = setting(0, "optimizer steps in which the learning rate rises from 0", Range(0))
    clip_norm: float | None = setting(
        None, "largest norm of the gradients; larger gradients are scaled down; 0 is off", Range(0)
    )
    ema: float | None = setting(
        None,
        "decay of a moving average of the weights, such as 0.999; the average is evaluated and exported",
        Range(0, 1, below=True),
    )

    augmentation: Augmentation = setting(Augmentation, "how samples are varied")
    flip_test: bool = setting(True, "average with the mirrored crop when evaluating")
    seed: int = setting(0, "seed of all random numbers", Range(0, 2**63 - 1))
    workers: int = setting(2, "processes that load samples, per device", Range(0))
    device: str = setting("auto", "auto, cpu, cuda:0 or mps; under torchrun each process takes its own CUDA device")
    precision: Literal["float32", "bfloat16", "float16", "float64"] = setting(
        "float32", "precision of the forward pass; bfloat16 and float16 use autocast, float64 is for exact tests"
    )
    channels_last: bool = setting(True, "memory layout that is faster for convolutions")
    evaluate_every: int = setting(1, "epochs between evaluations", Range(1))
    save_every: int | None = setting(None, "optimizer steps between checkpoints; each epoch saves one anyway", Range(1))
    log_every: int = setting(20, "optimizer steps between lines of the log", Range(1))
    tensorboard: bool = setting(True, "write TensorBoard files if tensorboard is installed")
    loggers: tuple[str, ...] = setting((), "where else the log goes: wandb, mlflow")

    def __attrs_post_init__(self) -> None:
        if not self.datasets:
            raise HrkitError("datasets is empty; name at least one")
        if self.nesterov and not self.momentum:
            raise HrkitError("momentum is 0; nesterov needs it above 0")


@frozen
class Setting:
    """A field of a config class, as files and the command line see it."""

    name: str
    kind: Any
    """The type of its values, without None: a class, or a hint such as `tuple[int, ...]`."""
    optional: bool
    """Whether None is a value too."""
    default: Any
    """`attrs.NOTHING` if a value has to be given."""
    help: str
    within: Range | None
    """The range of its numbers, if they have one."""


def settings_of(config: type) -> dict[str, Setting]:
    """The settings of a config class by name."""
    hints = typing.get_type_hints(config)
    found = {}
    for attribute in attrs.fields(config):
        name, metadata = attribute.name, attribute.metadata
        kind, optional = hints[name], False
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            (kind,), optional = (one for one in typing.get_args(kind) if one is not type(None)), True
        found[name] = Setting(name, kind, optional, attribute.default, metadata["help"], metadata.get("range"))
    return found


def read_config(path: FilePath) -> dict[str, Any]:
    """The plain values in a TOML, YAML or JSON file, by its ending. Raises `HrkitError` if it cannot be read."""
    read = {".json": read_json, ".yaml": read_yaml, ".yml": read_yaml}.get(Path(path).suffix.lower(), read_toml)
    content = read(path)
    if not isinstance(content, dict):
        raise HrkitError(f"{path}: a config must hold keys and values")
    return content


def load_config(path: FilePath, kind: type[Config], **overrides: Any) -> Config:
    """A config from a TOML, YAML or JSON file; `overrides` replace values of the file. Raises as `build_config`."""
    return build_config(kind, {**read_config(path), **overrides}, str(path))


def build_config(kind: type[Config], values: Mapping[str, Any], where: str = "config") -> Config:
    """A config from plain values, with nested configs as mappings.

    Raises `HrkitError` for an unknown key (and names the closest known one), a missing value, or one of a wrong type or
    out of range.
    """
    if not isinstance(values, Mapping):
        raise HrkitError(f"{where} must be keys and values, not {values!r}")
    settings = settings_of(kind)
    for name in values:
        if name not in settings:
            close = difflib.get_close_matches(name, settings, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(settings)}"
            raise HrkitError(f"{where}: unknown key {name!r}; {hint}")
    for name, one in settings.items():
        if one.default is attrs.NOTHING and name not in values:
            raise HrkitError(f"{where}: {name!r} is missing")
    converted = {}
    for name, value in values.items():
        empty = settings[name].optional and (value is None or value == "none")  # TOML has no null
        converted[name] = None if empty else _convert(value, settings[name].kind, f"{where}: {name}")
    try:
        return kind(**converted)
    except HrkitError as error:
        raise HrkitError(f"{where}: {error}") from None


def config_to_dict(config: Any) -> dict[str, Any]:
    """The config as plain values, ready for JSON."""
    return attrs.asdict(config)


def save_config(config: Any, path: FilePath) -> None:
    """Writes the config as JSON, whole or not at all; `load_config` reads it back."""
    write_text(path, json.dumps(config_to_dict(config), indent=1) + "\n")


def _convert(value: Any, kind: Any, where: str) -> Any:
    """The value as the type says. Lists become tuples, whole numbers floats."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
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
    if attrs.has(kind):
        return value if isinstance(value, kind) else build_config(kind, value, where)
    kind = origin or kind
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1000:
        return float(value)
    if kind is str and value == "":
        raise HrkitError(f"{where} is empty")
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise HrkitError(f"{where} must be {_KINDS.get(kind, kind.__name__)}, not {value!r}")
    return value
