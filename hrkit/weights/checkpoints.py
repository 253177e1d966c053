"""Weights files: read without executing anything in them, renamed to hrkit's names, loaded strictly.

hrkit's names are MMPose's: `backbone.*` and `head.*`. The official HRNet and SimpleBaseline files have neither prefix;
simple-HRNet's training checkpoints hold the official names under `"model"`.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from attrs import field, frozen
from torch import nn

from hrkit.errors import WeightsError, one_line
from hrkit.files import FilePath, atomic_path
from hrkit.skeletons import DEFAULT_SIGMA, known_skeleton, pairs_by_name
from hrkit.structures import Skeleton

logger = logging.getLogger("hrkit")

State = dict[str, torch.Tensor]

_WRAPPERS = {"state_dict": "official", "model": "simple"}
"""Where a checkpoint keeps its tensors when they are not at the top -> whose names they have, if not MMPose's."""
_HEAD_PREFIXES = ("final_layer.", "final_layers.", "deconv_layers.")
"""The tensors of an official file that belong to the head."""
_LAST = re.compile(r"head\..*\b(final_layer(\.conv)?|final_layers\.\d+|out)\.weight")
"""Name of the head's final layer. If several match, the last one has one channel per joint."""
_CLASSIFIER_PREFIXES = (
    *("fc.", "classifier.", "incre_modules.", "downsamp_modules.", "final_layer."),
    *(f"stage4.2.fuse_layers.{branch}." for branch in (1, 2, 3)),
)
"""Names that an ImageNet file has beyond the trunk of a pose network."""


@frozen
class Checkpoint:
    """A weights file in hrkit's names."""

    path: Path
    state: State = field(repr=False)
    layout: str
    """"official", "mmpose", "simple" (simple-HRNet), "imagenet" or "hrkit"."""
    metadata: Mapping[str, Any]  # Any: JSON values
    """What a file written by hrkit records of its network; empty for other files."""
    skeleton: Skeleton | None = None
    """The joints, if the file of another project names them."""

    @property
    def names_joints(self) -> bool:
        """Whether the file says which joints its network finds."""
        return bool(self.metadata) or self.skeleton is not None

    @property
    def num_joints(self) -> int | None:
        """Output channels of the head's last layer, if the file holds one."""
        last = [tensor for name, tensor in self.state.items() if _LAST.fullmatch(name)]
        return len(last[-1]) if last else None

    def describe(self) -> str:
        """The network that the tensors belong to, in words."""
        name = self.metadata.get("backbone") or _network_name(self.state) or "another network"
        return name if self.num_joints is None else f"{name} with {self.num_joints} joints"


def read_checkpoint(path: FilePath) -> Checkpoint:
    """Reads official, MMPose, simple-HRNet, ImageNet and hrkit files, in the formats of safetensors and torch.

    Only tensors and plain values are read (MMPose's `meta` may hold NumPy numbers); nothing in the file is executed.
    Raises `WeightsError` for a file that is missing, damaged, or holds anything else.
    """
    file = Path(path)
    if not file.is_file():
        raise WeightsError(f"{file}: no such weights file")
    with file.open("rb") as opened:
        beginning = opened.read(10)
    if file.suffix.lower() == ".safetensors" or beginning[8:] == b'{"':  # after the header's length, the header in JSON
        state, metadata = _read_safetensors(file)
        if metadata:
            return Checkpoint(file, state, "hrkit", metadata)
        layout = "official"  # tensors of another project in safetensors
        content: Any = None
    else:
        content = _read_torch(file)
        state, layout = _unwrap(file, content)
    for wrapper in ("module.", "1."):  # of DataParallel, and of the official training in half precision
        if all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    if any(name.startswith("backbone.") for name in state):
        renamed = {name.replace("keypoint_head.", "head.", 1): tensor for name, tensor in state.items()}  # MMPose 0.x
        return Checkpoint(file, renamed, "mmpose", {}, _mmpose_skeleton(content, file))
    if any(name.startswith(("fc.", "classifier.")) for name in state):
        return Checkpoint(file, {f"backbone.{name}": tensor for name, tensor in state.items()}, "imagenet", {})
    renamed = {("head." if n.startswith(_HEAD_PREFIXES) else "backbone.") + n: tensor for n, tensor in state.items()}
    return Checkpoint(file, renamed, layout, {})


def _mmpose_skeleton(content: Any, file: Path) -> Skeleton | None:  # Any: whatever is in the file
    """The joints in `meta.dataset_meta` of MMPose 1.x, if they are there."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    told: Any = meta.get("dataset_meta") if isinstance(meta, Mapping) else None
    if not isinstance(told, Mapping) or not told.get("keypoint_id2name"):
        return None
    try:
        names = [name for _, name in sorted((int(place), name) for place, name in told["keypoint_id2name"].items())]
        known, pairs = known_skeleton(names), pairs_by_name(names)[0]
        mirrored = told.get("flip_indices")
        if mirrored is not None:
            indexed = {(names[a], names[b]) for a, b in enumerate(mirrored) if a < b}
            pairs = [pair if pair in indexed else pair[::-1] for pair in pairs if {pair, pair[::-1]} & indexed]
            pairs += [pair for pair in sorted(indexed) if not {pair, pair[::-1]} & set(pairs)]
        links, sigmas = told.get("skeleton_links"), told.get("sigmas")
        edges = [(names[a], names[b]) for a, b in links] if links else known.edges if known else ()
        if sigmas is None or len(sigmas) != len(names):
            sigmas = known.sigmas if known else [DEFAULT_SIGMA] * len(names)
        return Skeleton(str(told.get("dataset_name") or f"joints{len(names)}"), names, edges, pairs, sigmas)
    except (TypeError, ValueError, LookupError) as error:
        logger.warning("%s: its dataset_meta makes no sense (%s); it counts as a file without names", file, error)
        return None


def load(network: nn.Module, checkpoint: Checkpoint, expected: str) -> None:
    """Copies the checkpoint's tensors into `network`; every name and shape must agree.

    `expected` is the network in words. The batch counters of batch norms may be missing, as in old files. Raises
    `WeightsError` that says what the file holds and where the first difference is.
    """
    if checkpoint.layout == "imagenet":
        remedy = "to start training from it pass it as backbone_weights"
        raise WeightsError(f"{checkpoint.path} is an ImageNet classifier, not a pose network; {remedy}")
    _load(network, checkpoint.state, checkpoint, expected)


def load_backbone(backbone: nn.Module, checkpoint: Checkpoint, expected: str) -> None:
    """Copies the trunk of an ImageNet classifier, or of a pose network without its head.

    Raises `WeightsError` as `load`.
    """
    state = {name.removeprefix("backbone."): t for name, t in checkpoint.state.items() if name.startswith("backbone.")}
    own = backbone.state_dict().keys()
    if checkpoint.layout == "imagenet":
        state = {name: t for name, t in state.items() if name in own or not name.startswith(_CLASSIFIER_PREFIXES)}
    _load(backbone, state, checkpoint, expected)


def _load(network: nn.Module, state: State, checkpoint: Checkpoint, expected: str) -> None:
    own = network.state_dict()
    shapes = {name: (tuple(state[name].shape), tuple(own[name].shape)) for name in own if name in state}
    differences = [
        *(f"{name} is {given}, wanted {wanted}" for name, (given, wanted) in shapes.items() if given != wanted),
        *(f"{name} is missing" for name in own if name not in state and not name.endswith("num_batches_tracked")),
        *(f"{name} is not part of it" for name in state if name not in own),
    ]
    if differences:
        raise WeightsError(
            f"{checkpoint.path} holds {checkpoint.describe()}, which does not fit {expected}: "
            f"{differences[0]} ({len(differences)} of {len(own)} names differ)"
        )
    network.load_state_dict(state, strict=False)


def save(network: nn.Module, path: FilePath, metadata: Mapping[str, Any]) -> None:
    """Writes the network's tensors and `metadata` (JSON values) as safetensors, whole or not at all.

    Raises `OSError` if they cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_path(path) as temporary:
        try:
            safetensors.torch.save_file(tensors, temporary, {"hrkit": json.dumps(dict(metadata))})
        except safetensors.SafetensorError as error:
            raise OSError(f"{os.fspath(path)}: cannot be written ({one_line(error)})") from None


def _read_safetensors(file: Path) -> tuple[State, Mapping[str, Any]]:
    try:
        with safetensors.safe_open(file, "pt") as reader:
            state = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118  (no mapping)
            metadata = json.loads((reader.metadata() or {}).get("hrkit", "{}"))
    except (safetensors.SafetensorError, json.JSONDecodeError, RecursionError, OSError) as error:
        raise WeightsError(f"{file}: damaged, or no safetensors file ({error}); fetch it again") from None
    if not isinstance(metadata, dict):
        raise WeightsError(f"{file}: its metadata is {type(metadata).__name__}, not names and values; save it again")
    return state, metadata


def _read_torch(file: Path) -> Any:  # Any: whatever somebody saved
    try:
        with torch.serialization.safe_globals(_numpy_values()):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # on damaged files torch raises errors of many kinds
        text, reason = str(error), ""
        if not isinstance(error, pickle.UnpicklingError):
            reason = f" ({(text.splitlines() or [type(error).__name__])[0]})"
        elif any(word in text for word in ("Unsupported global", "Unsupported class", "GLOBAL")):
            refused = "holds objects other than tensors and was refused (nothing in it was executed)"
            raise WeightsError(f"{file} {refused}; save the state_dict alone") from None
        raise WeightsError(f"{file}: damaged, or no weights file{reason}; fetch it again") from None


def _unwrap(file: Path, content: Any) -> tuple[State, str]:
    layout = "official"
    for key, writer in _WRAPPERS.items() if isinstance(content, Mapping) else ():
        if isinstance(content.get(key), Mapping):
            content, layout = content[key], writer
            break
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{file}: holds {type(content).__name__}, not the named tensors of a network")
    for name, value in content.items():
        if not (isinstance(name, str) and torch.is_tensor(value)):
            raise WeightsError(f"{file}: {name!r} is no tensor; wanted the named tensors of a network alone")
    return dict(content), layout


def _numpy_values() -> list[Any]:  # Any: functions and types, some with the name they have in pickles
    """The functions and types in pickles of NumPy numbers and arrays, of NumPy 1 and 2."""
    multiarray = importlib.import_module(f"numpy.{'_core' if hasattr(np, '_core') else 'core'}.multiarray")
    aliases = [
        (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for core in ("core", "_core")
    ]
    dtypes = {type(np.dtype(code)) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")}
    return [*aliases, np.ndarray, np.dtype, *dtypes]


def _network_name(state: State) -> str | None:
    hrnet = state.get("backbone.stage2.0.branches.0.0.conv1.weight")
    if hrnet is not None:
        return f"hrnet_w{len(hrnet)}"
    blocks = {".".join(name.split(".")[1:3]) for name in state if name.startswith("backbone.layer")}
    counts = tuple(sum(block.startswith(f"layer{layer}.") for block in blocks) for layer in (1, 2, 3, 4))
    basic = "backbone.layer1.0.conv3.weight" not in state
    depths = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 34 if basic else 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
    return f"pose_resnet_{depths[counts]}" if counts in depths else None
