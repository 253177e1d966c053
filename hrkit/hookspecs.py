"""The whole extension contract: one function per hook.

A plugin is a Python distribution with an entry point in the group `hrkit`. It names a module (or any object) with some
of these functions, each marked with `@hookimpl`. hrkit's own parts come in through the same hooks.

A registered name may hold one `*` (`"timm/*"`). It stands for any text, which the builder receives as its first
positional argument. Datasets also receive a path, and engines their inputs and job; everything else is passed by
keyword. What a builder raises besides `HrkitError` and `OSError` becomes a `PluginError` that names the plugin.
`hrkit.testing` checks parts against this contract.
"""

# mypy: disable-error-code="empty-body"
from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click
    from torch import nn

hookspec: pluggy.HookspecMarker = pluggy.HookspecMarker("hrkit")
hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker("hrkit")


def lazy(target: str, *arguments: Any, **defaults: Any) -> Callable[..., Any]:  # Any: the target's types
    """A builder that imports `target`, "module:name", when it is called; `arguments` come before those of the call.

    >>> lazy("hrkit_lite.pose_network:LiteBackbone", width=1.75)
    """
    return lambda *more, **options: pkgutil.resolve_name(target)(*arguments, *more, **{**defaults, **options})


@hookspec
def register_backbones() -> Mapping[str, Callable[..., nn.Module]]:
    """Backbones: name -> builder. `builder()` gives a module: (N,3,H,W) -> list of (N,C_i,H/s_i,W/s_i), finest first.

    The module has the attributes of `hrkit.backbones.base.Backbone`: `channels`, `strides`, `default_head`, and the
    normalisation of its input.
    """


@hookspec
def register_detectors() -> Mapping[str, Callable[..., object]]:
    """Person detectors: name -> builder of a `hrkit.detectors.base.Detector`, with `detect(images)`.

    `images` is a list of (H,W,3) uint8 BGR frames of any sizes, and the result has one `hrkit.Detections` per frame:
    boxes in frame px and inside the frame, scores from 0 to 1, best first. The builder is called with `weights` (a
    file, already fetched and checked, or None), `threshold`, `nms_threshold` (None is the detector's own default) and
    the options that the caller names.
    """


@hookspec
def register_heads() -> Mapping[str, Callable[..., nn.Module]]:
    """Heads: name -> builder, called with `channels` and `strides` (of the backbone's outputs) and `num_joints`.

    The module takes the backbone's list and gives heatmaps (N,K,H/4,W/4), or other tensors for the codec that its
    method `output_spec(input_size)` names. If its layers depend on the input's size, it has `set_input_size(size)`. If
    it has an attribute `pose_model`, that is the subclass of `hrkit.pose_model.PoseModel` for its networks.
    """


@hookspec
def register_decoders() -> Mapping[str, Callable[..., object]]:
    """Codecs: name -> builder of a `hrkit.heads.base.Codec`.

    It is called with `input_size` and `heatmap_size` ((height, width)), `sigma` (heatmap px) and the options that the
    `PoseSpec` of a network has for it.
    """


@hookspec
def register_datasets() -> Mapping[str, Callable[..., object]]:
    """Datasets of people with keypoints: name -> builder of a `hrkit.datasets.base.KeypointDataset`.

    It is called with a path, if there is one, with `split`, and with those of `images`, `category` and `skip_bad` that
    the user names.
    """


@hookspec
def register_runtimes() -> Mapping[str, Callable[..., nn.Module]]:
    """Runtimes, which compute a pose network in place of PyTorch: name -> builder.

    It is called with `network`, a float32 module in evaluation mode that it leaves as it is; `example`, an input of
    (1,3,H,W); and `precision`: "auto", "float32", "bfloat16" or "float16". It gives a module that takes (N,3,H,W)
    float32 of any N and any memory format and gives what the network gives, in float32. On the CPU it uses
    `torch.get_num_threads()` threads. It raises `HrkitError` for what it cannot do.
    """


@hookspec
def register_weights() -> Sequence[object]:
    """Published or bundled weights, each a `hrkit.weights.WeightsEntry`."""


@hookspec
def register_engines() -> Mapping[str, Callable[..., Iterator[object]]]:
    """Engines of `hrkit extract --engine`: name -> function that extracts keypoints from many inputs.

    It is called with a list of input names, a `hrkit.extraction.Job` and the options that the user names (`workers`,
    `address`), and gives a `hrkit.extraction.manifest.Result` per input, in any order. The job can be pickled; a worker
    calls `job.load()` once to load the networks, and the function it gives with a few names at a time.
    """


@hookspec
def register_commands() -> Sequence[click.Command]:
    """Commands of the `hrkit` program."""
