"""The whole extension contract: one function a hook.

A plugin is a Python distribution with an entry point in the group `hrkit` that names a module (or any object) holding
some of these functions, each marked with `@hookimpl`. hrkit's own parts come in through the same hooks.

A registered name may hold one `*` (`"timm/*"`): it stands for any text, which the builder gets as its first positional
argument. Builders are called with keyword arguments only, apart from that, the path of a dataset and what engines get.
What they raise besides `HrkitError` and `OSError` becomes a `PluginError` that names the plugin. `hrkit.testing` holds
parts against all of this.
"""

# mypy: disable-error-code="empty-body"
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click
    from torch import nn

    from hrkit.datasets.base import KeypointDataset
    from hrkit.detectors.base import Detector
    from hrkit.extraction.manifest import Result
    from hrkit.heads.codecs import Codec
    from hrkit.weights.catalogue import WeightsEntry

hookspec = pluggy.HookspecMarker("hrkit")
hookimpl = pluggy.HookimplMarker("hrkit")


@hookspec
def register_backbones() -> Mapping[str, Callable[..., nn.Module]]:
    """Backbones: name -> builder. `builder()` gives a module: (N,3,H,W) -> list of (N,C_i,H/s_i,W/s_i), finest first.

    The module has the attributes of `hrkit.backbones.base.Backbone`: `channels`, `strides`, `default_head` and how its
    input is normalised.
    """


@hookspec
def register_detectors() -> Mapping[str, Callable[..., Detector]]:
    """Person detectors: name -> builder. The result has `detect(images) -> list[Detections]`.

    `images` is a list of (H,W,3) uint8 BGR frames of any sizes; boxes are in frame px and inside the frame, scores from
    0 to 1, best first. The builder is called with
    `weights` (a file, already fetched and checked, or None), `threshold` and `nms_threshold` (None: the detector's own
    default) and whatever options the caller names.
    """


@hookspec
def register_heads() -> Mapping[str, Callable[..., nn.Module]]:
    """Heads: name -> builder, called with `channels`, `strides` (of the backbone's outputs) and `num_joints`.

    The module takes the backbone's list and gives heatmaps (N,K,H/4,W/4). Its `pose_model`, if it has one, is the
    subclass of `hrkit.pose_model.PoseModel` that its network is.
    """


@hookspec
def register_decoders() -> Mapping[str, Callable[..., Codec]]:
    """Codecs: name -> builder, called with `input_size`, `heatmap_size` ((height, width)) and `sigma` (heatmap px)."""


@hookspec
def register_datasets() -> Mapping[str, Callable[..., KeypointDataset]]:
    """Datasets of people with keypoints: name -> builder, called with a path, if there is one, and with `split`."""


@hookspec
def register_runtimes() -> Mapping[str, Callable[..., nn.Module]]:
    """Runtimes, which compute a pose network in place of PyTorch: name -> builder.

    It is called with `network`, a module in float32 and evaluation mode that is left as it is, `example`, an input of
    (1,3,H,W), and `precision`, "auto", "float32", "bfloat16" or "float16". The result is a module: (N,3,H,W) float32 of
    any N and any memory format -> what the network gives, float32. Where it computes on the CPU it takes
    `torch.get_num_threads()` threads. What a runtime cannot do is a `HrkitError`.
    """


@hookspec
def register_weights() -> Sequence[WeightsEntry]:
    """Published or carried weights, each a `hrkit.weights.catalogue.WeightsEntry`."""


@hookspec
def register_engines() -> Mapping[str, Callable[..., Iterator[Result]]]:
    """Engines of `hrkit extract --engine`: name -> function that has the files of many inputs made.

    It is called with a list of the names of inputs, a `hrkit.extraction.Job` and whatever options the user names
    (`workers`, `address`), and gives a `Result` for each input, in any order. `job` can be pickled; where the work is
    done, `job.load()` loads the networks once, and what it gives is called with a few names at a time.
    """


@hookspec
def register_commands() -> Sequence[click.Command]:
    """Commands of the `hrkit` program."""
