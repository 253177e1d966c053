"""Parameters and multiply-adds of a network, counted while it runs once."""

from __future__ import annotations

import math
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


@torch.no_grad()
def layer_groups(network: nn.Module, image: torch.Tensor, depth: int = 2) -> list[LayerGroup]:
    """Cost by the first `depth` parts of the modules' names, in the order in which they run.

    `image` is the input, (1,3,H,W). The official tables divide multiply-adds by 1024^3 and call them GFLOPs.
    """
    costs: dict[str, int] = {}

    def count(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            costs[_group(name, depth)] = costs.get(_group(name, depth), 0) + _multiply_adds(module, inputs[0], output)

        return hook

    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, _COUNTED)]
    handles = [module.register_forward_hook(count(name)) for name, module in layers]
    try:
        network(image)
    finally:
        for handle in handles:
            handle.remove()
    sizes: dict[str, int] = {}
    for name, parameter in network.named_parameters():
        group = _group(name.rpartition(".")[0], depth)
        sizes[group] = sizes.get(group, 0) + parameter.numel()
    return [LayerGroup(name, sizes.get(name, 0), costs.get(name, 0)) for name in {**costs, **sizes}]


_COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def _group(name: str, depth: int) -> str:
    return ".".join(name.split(".")[:depth])


def _multiply_adds(module: nn.Module, given: torch.Tensor, output: torch.Tensor) -> int:
    if isinstance(module, nn.Linear):
        return math.prod(output.shape[1:]) * module.in_features
    assert isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
    places = given if isinstance(module, nn.ConvTranspose2d) else output
    return places.shape[2] * places.shape[3] * module.weight.numel()
