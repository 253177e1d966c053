"""Parameters and multiply-adds of a network, counted in one forward pass."""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

DEPTH = 2
"""The number of parts of a module's name that name its group."""

_COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@frozen
class LayerGroup:
    """A part of a network and its cost."""

    name: str
    parameters: int
    multiply_adds: int
    """Of convolutions and linear layers, per input."""
    official: int
    """The same as the official HRNet code counts (lib/utils/utils.py): deconvolutions at each place of their output."""


@torch.no_grad()
def layer_groups(network: nn.Module, image: Tensor) -> list[LayerGroup]:
    """The cost per group, in the order in which they run.

    `image` is an input, (1,3,H,W). The official tables divide `official` by 1024^3 and call it GFLOPs.
    """
    surplus: dict[nn.Module, int] = defaultdict(int)

    def count_output(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.ConvTranspose2d)
        places = math.prod(output.shape[2:]) - math.prod(inputs[0].shape[2:])
        surplus[module] += places * module.weight.numel()

    modules = dict(network.named_modules())
    deconvolutions = [module for module in modules.values() if isinstance(module, nn.ConvTranspose2d)]
    hooks = [module.register_forward_hook(count_output) for module in deconvolutions]
    try:
        with FlopCounterMode(display=False) as counter:
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    costs: dict[str, int] = defaultdict(int)
    official: dict[str, int] = defaultdict(int)
    for path, operations in counter.get_flop_counts().items():
        name = path.partition(".")[2]  # without the class of the network
        if path != "Global" and isinstance(modules[name], _COUNTED):
            group, multiply_adds = _group(name), sum(operations.values()) // 2
            costs[group] += multiply_adds
            official[group] += multiply_adds + surplus[modules[name]]
    sizes: dict[str, int] = defaultdict(int)
    for name, parameter in network.named_parameters():
        sizes[_group(name.rpartition(".")[0])] += parameter.numel()
    return [LayerGroup(name, sizes[name], costs[name], official[name]) for name in {**costs, **sizes}]


def _group(name: str) -> str:
    return ".".join(name.split(".")[:DEPTH])
