"""Weights files: read without executing anything in them, renamed to hrkit's names, loaded strictly.

hrkit's names are MMPose's: `backbone.*` and `head.*`. The official HRNet and SimpleBaseline files have neither prefix;
simple-HRNet's training checkpoints hold the official names under `"model"`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from attrs import evolve, field, frozen
from numpy.typing import NDArray
from torch import nn

from hrkit.errors import WeightsError, one_line
from hrkit.files import FilePath, atomic_path
from hrkit.skeletons import (
    DEFAULT_SIGMA,
    fitting_skeletons,
    get_skeleton,
    known_skeleton,
    pairs_by_name,
    skeleton_of,
)
from hrkit.structures import Skeleton
from hrkit.weights import reading
from hrkit.weights.reading import Content

logger: logging.Logger = logging.getLogger("hrkit")

State = dict[str, torch.Tensor]
Places = NDArray[np.int64]

_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod|_fsdp_wrapped_module)\.")
"""Parts of names that torch's wrappers of networks and of parts of networks add."""
_DEEPEST = 6
"""Levels of mappings in which networks are looked for."""
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
    others: tuple[Checkpoint, ...] = field(default=(), repr=False)
    """Further networks in the file."""
    key: str = ""
    """Where in the file the tensors are: keys of nested mappings, joined by dots."""

    @property
    def names_joints(self) -> bool:
        """Whether the file says which joints its network finds."""
        return bool(self.metadata) or self.skeleton is not None

    @property
    def num_joints(self) -> int | None:
        """Output channels of the head's last layer, if the file holds one."""
        last = [tensor for name, tensor in self.state.items() if _LAST.fullmatch(name)]
        return len(last[-1]) if last and last[-1].ndim else None

    @property
    def head(self) -> str | None:
        """The head that the names show, if it is not the backbone's default: a ResNet with two deconvolutions."""
        deconvolutions = sum(name.startswith("head.deconv_layers.") and t.ndim == 4 for name, t in self.state.items())
        return "deconv_stride8" if deconvolutions == 2 and "backbone.layer4.0.conv1.weight" in self.state else None

    def describe(self) -> str:
        """The network that the tensors belong to, in words."""
        name = self.metadata.get("backbone") or _network_name(self.state) or "another network"
        return name if self.num_joints is None else f"{name} with {self.num_joints} joints"


def read_checkpoint(path: FilePath) -> Checkpoint:
    """Reads official, MMPose, simple-HRNet, ImageNet and hrkit files, in the formats of safetensors and torch.

    The tensors may be in mappings of any depth, beside those of an optimizer, and in wrapped networks. Of several
    networks the first of the largest ones is taken; `fitting` takes the one that fits. Only tensors and plain values
    are read; nothing in the file is executed. Raises `WeightsError` for a file that is missing, damaged, or holds
    anything else.
    """
    file = Path(path)
    content, metadata = reading.read(file)
    if metadata:
        state = content.get("average", content.get("model")) if "hrkit" in content else content
        return Checkpoint(file, _checked(state, file), "hrkit", metadata)
    found = [(key, _checked(mapping, file)) for key, mapping in _networks(content)]
    skeleton = _mmpose_skeleton(content, file)
    first, *others = (Checkpoint(file, *_in_own_names(key, state), {}, skeleton, (), key) for key, state in found)
    return evolve(first, others=tuple(others))


def fitting(checkpoint: Checkpoint, backbone: nn.Module) -> Checkpoint:
    """The network in a file that has most names of the backbone; of several, the first, with a warning.

    A backbone that knows the names of other projects has a method `renamed`.
    """
    rename: Callable[[State], State] = getattr(backbone, "renamed", dict)
    wanted = {f"backbone.{name}" for name in backbone.state_dict()}
    networks = [evolve(one, state=rename(one.state)) for one in (checkpoint, *checkpoint.others)]
    counts = [len(wanted & one.state.keys()) for one in networks]
    best, *equals = (one for one, count in zip(networks, counts, strict=True) if count == max(counts))
    if any(not torch.equal(tensor, one.state[name]) for one in equals for name, tensor in best.state.items()):
        names = ", ".join(repr(one.key) for one in (best, *equals))
        logger.warning("%s holds several networks that fit (%s): taking %r", best.path, names, best.key)
    return best


def _networks(content: Content) -> list[tuple[str, Content]]:
    """The nested mappings with at least half as many tensors as any other has, and the keys that lead to them."""
    if not isinstance(content, Mapping):
        return [("", content)]
    nested = list(_mappings(content))
    counts = [sum(map(torch.is_tensor, mapping.values())) for _, mapping in nested]
    if not any(counts):
        return nested[-1:]
    return [one for one, count in zip(nested, counts, strict=True) if 2 * count >= max(counts)]


def _mappings(content: Mapping[Any, Any], key: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    yield key, content
    for name, value in content.items():
        if isinstance(value, Mapping) and value and depth < _DEEPEST:
            yield from _mappings(value, f"{key}.{name}" if key else str(name), depth + 1)


def _checked(content: Content, file: Path) -> State:
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{file}: holds {type(content).__name__}, not the named tensors of a network")
    for name, value in content.items():
        if not (isinstance(name, str) and torch.is_tensor(value)):
            raise WeightsError(f"{file}: {name!r} is no tensor; wanted the named tensors of a network alone")
    return dict(content)


def _in_own_names(key: str, state: State) -> tuple[State, str]:
    """The tensors by hrkit's names, and the layout; `key` leads to them in the file."""
    state = {_WRAPPERS.sub("", name): tensor for name, tensor in state.items() if tensor.ndim or "." in name}
    first = next(iter(state), "").split(".")[0]
    while first != "backbone" and all(name.startswith(f"{first}.") for name in state):
        state = {name.partition(".")[2]: tensor for name, tensor in state.items()}
        first = next(iter(state), "").split(".")[0]
    if any(name.startswith("backbone.") for name in state):
        renamed = {name.replace("keypoint_head.", "head.", 1): tensor for name, tensor in state.items()}  # MMPose 0.x
        return renamed, "imagenet" if "head.fc.weight" in state else "mmpose"  # the former is mmpretrain's
    if any(name.startswith(("fc.", "classifier.")) for name in state):
        return {f"backbone.{name}": tensor for name, tensor in state.items()}, "imagenet"
    renamed = {("head." if n.startswith(_HEAD_PREFIXES) else "backbone.") + n: tensor for n, tensor in state.items()}
    return renamed, "simple" if key == "model" else "official"


def _mmpose_skeleton(content: Content, file: Path) -> Skeleton | None:
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


def joints_of(checkpoint: Checkpoint, num_joints: int) -> Skeleton:
    """The joints that a file names, else the default ones of that number, with a warning that says so."""
    if checkpoint.skeleton is not None and len(checkpoint.skeleton) == num_joints:
        return checkpoint.skeleton
    skeleton = skeleton_of(num_joints)
    known = fitting_skeletons(num_joints)
    others = [name for name in known if get_skeleton(name).keypoint_names != skeleton.keypoint_names]
    taken = f"taken as {skeleton.name}'s" if skeleton.edges else "left without names"
    also = f"{', '.join(others)} have as many" if others else "no other known skeleton has as many"
    problem = f"{checkpoint.path} does not name its {num_joints} joints: {taken}; {also}"
    logger.warning("%s; name them by skeleton=, or --skeleton NAME|FILE.toml", problem)
    return skeleton


def load(network: nn.Module, checkpoint: Checkpoint, expected: str) -> None:
    """Copies the checkpoint's tensors into `network`; every name and shape must agree.

    `expected` is the network in words. The batch counters of batch norms may be missing, as in old files. Raises
    `WeightsError` that says what the file holds and where the first difference is.
    """
    if checkpoint.layout == "imagenet":
        remedy = "to start training from it pass it as backbone_weights"
        raise WeightsError(f"{checkpoint.path} is an ImageNet classifier, not a pose network; {remedy}")
    _load(network, checkpoint.state, checkpoint, expected)


def load_same_joints(
    network: nn.Module, checkpoint: Checkpoint, expected: str, wider: nn.Module, places: Places
) -> None:
    """Copies the checkpoint's tensors; of those with a row per joint, the rows of joints that both networks have.

    `places` (K,) says where the joints of `network` are in the checkpoint; the rows of a joint that is not there (-1)
    stay as they are. `wider` is the same network with more joints: a tensor has a row per joint where the shapes of
    the two differ. Raises `WeightsError` as `load`.
    """
    state, shapes = dict(checkpoint.state), {name: tensor.shape for name, tensor in wider.state_dict().items()}
    known = torch.from_numpy(np.flatnonzero(places >= 0))
    for name, own in network.state_dict().items():
        axes = [axis for axis, sides in enumerate(zip(own.shape, shapes[name], strict=True)) if len(set(sides)) > 1]
        if axes and name in state:
            given, state[name] = state[name], own.clone()
            if own.shape[axes[0]] == len(places):  # else a joint has several rows
                rows = given.index_select(axes[0], torch.from_numpy(places)[known])
                state[name].index_copy_(axes[0], known, rows.to(own.dtype))
    _load(network, state, checkpoint, expected)


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
        hint = "; it may stand in the place of the backbone's name" if checkpoint.metadata.get("backbone") else ""
        raise WeightsError(
            f"{checkpoint.path} holds {checkpoint.describe()}, which does not fit {expected}: "
            f"{differences[0]} ({len(differences)} of {len(own)} names differ){hint}"
        )
    check_finite(state, str(checkpoint.path))
    try:
        network.load_state_dict(state, strict=False)
    except Exception as error:  # sparse, quantised and other tensors that torch cannot copy
        raise WeightsError(f"{checkpoint.path}: cannot be used ({one_line(error)[:200]}); save plain tensors") from None


def check_finite(state: State, what: str) -> None:
    """Raises `WeightsError` if a tensor holds NaN, infinity or a variance below 0; `what` begins the message."""
    for name, tensor in state.items():
        if tensor.layout == torch.strided and tensor.is_floating_point() and tensor.numel() and not tensor.is_meta:
            low, high = (float(end) for end in tensor.detach().aminmax())
            if not (math.isfinite(low) and math.isfinite(high)):
                raise WeightsError(f"{what}: {name} holds NaN or infinity; training diverged, or the file is damaged")
            if name.endswith("running_var") and low < 0:
                raise WeightsError(f"{what}: {name} holds a variance below 0; the file is damaged")


def save(network: nn.Module, path: FilePath, metadata: Mapping[str, Any]) -> None:
    """Writes the network's tensors and `metadata` (JSON values) as safetensors, whole or not at all.

    Raises `WeightsError` for NaN and infinity, before anything is written, and `OSError` if it cannot be written.
    """
    check_finite(network.state_dict(), os.fspath(path))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_path(path) as temporary:
        try:
            safetensors.torch.save_file(tensors, temporary, {"hrkit": json.dumps(dict(metadata))})
        except safetensors.SafetensorError as error:
            raise OSError(f"{os.fspath(path)}: cannot be written ({one_line(error)})") from None


def _network_name(state: State) -> str | None:
    hrnet = state.get("backbone.stage2.0.branches.0.0.conv1.weight")
    if hrnet is not None:
        return f"hrnet{'v2' if 'head.conv_layers.0.weight' in state else ''}_w{len(hrnet)}"
    blocks = {".".join(name.split(".")[1:3]) for name in state if name.startswith("backbone.layer")}
    counts = tuple(sum(block.startswith(f"layer{layer}.") for block in blocks) for layer in (1, 2, 3, 4))
    basic = "backbone.layer1.0.conv3.weight" not in state
    depths = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 34 if basic else 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
    return f"pose_resnet_{depths[counts]}" if counts in depths else None
