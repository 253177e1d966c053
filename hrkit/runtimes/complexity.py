"""Parameters and multiply-adds of a network, counted while it runs once."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
from attrs import frozen
from torch import nn


@frozen
class LayerGroup:
    """A part of a network and what it costs."""

    name: str
    parameters: int
    multiply_adds: int
    """Of convolutions and linear layers, for one input."""
    official: int
    """As the official HRNet code counts (lib/utils/utils.py): deconvolutions at every place of their output."""


@torch.no_grad()
def layer_groups(network: nn.Module, image: torch.Tensor, depth: int = 2) -> list[LayerGroup]:
    """Cost by the first `depth` parts of the modules' names, in the order in which they run.

    `image` is the input, (1,3,H,W). The official tables divide `official` by 1024^3 and call it GFLOPs.
    """
    costs: dict[str, int] = defaultdict(int)
    official: dict[str, int] = defaultdict(int)

    def count(name: str) -> Any:
        group = _group(name, depth)

        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            costs[group] += _multiply_adds(module, inputs[0] if isinstance(module, nn.ConvTranspose2d) else output)
            official[group] += _multiply_adds(module, output)

        return hook

    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, _COUNTED)]
    handles = [module.register_forward_hook(count(name)) for name, module in layers]
    try:
        network(image)
    finally:
        for handle in handles:
            handle.remove()
    sizes: dict[str, int] = defaultdict(int)
    for name, parameter in network.named_parameters():
        sizes[_group(name.rpartition(".")[0], depth)] += parameter.numel()
    return [LayerGroup(name, sizes[name], costs[name], official[name]) for name in {**costs, **sizes}]


_COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def _group(name: str, depth: int) -> str:
    return ".".join(name.split(".")[:depth])


def _multiply_adds(module: nn.Module, places: torch.Tensor) -> int:
    """The weights, once for every place of a feature map."""
    assert isinstance(module, _COUNTED)
    spatial = places.shape[2:] if places.ndim == 4 and not isinstance(module, nn.Linear) else places.shape[1:-1]
    return math.prod(spatial) * module.weight.numel()
