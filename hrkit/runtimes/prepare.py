"""How a network is run: in which precision, and by what."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from hrkit import registry
from hrkit.errors import HrkitError
from hrkit.runtimes import fused
from hrkit.runtimes.cuda_graphs import CudaGraphs
from hrkit.runtimes.folding import folded
from hrkit.runtimes.precision import choose_precision

logger = logging.getLogger("hrkit")

Part = TypeVar("Part")

OWN = ("auto", "eager")
"""Runtimes that are no more than what is done to the network here; all others are registered."""


def prepare(
    network: nn.Module, example: Tensor, device: torch.device, precision: str = "auto", runtime: str = "auto"
) -> nn.Module:
    """A copy of the network that runs on `device`: (N,3,H,W) -> what it gives, for any N.

    `example` is an input of (1,3,H,W). `precision` is as `choose_precision` takes it. `runtime` "auto" folds batch norm
    and then, on CPUs, fuses and packs convolutions, on CUDA devices replays graphs; "eager" leaves the layers as they
    are, and other names are of registered runtimes. Raises `UnknownNameError` for a name that is none, and
    `HrkitError` for what a runtime cannot do.
    """
    check_runtime(runtime)
    if runtime not in OWN:
        return registry.runtimes.build(
            runtime, network=copy.deepcopy(network).float().eval(), example=example.float(), precision=precision
        )
    dtype = choose_precision(network, device, precision)
    if runtime == "auto":
        try:
            return _made_fast(network, example, device, dtype)
        except HrkitError as error:
            logger.debug("layers are left as they are: %s", error)
    return _placed(copy.deepcopy(network).eval(), device, dtype)


def _made_fast(network: nn.Module, example: Tensor, device: torch.device, dtype: torch.dtype) -> nn.Module:
    if device.type == "cpu" and fused.available(dtype):
        return fused.Fused(network, example, dtype)
    steps = _placed(folded(network), device, dtype)
    return CudaGraphs(steps) if device.type == "cuda" else steps


def _placed(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    return network.to(device, dtype).to(memory_format=torch.channels_last)


def prepared(part: Part, device: torch.device, precision: str, runtime: str) -> Part:
    """A pose model or detector made fast for `device` by its own `prepared`, if it has one.

    Otherwise a module is copied to the device, and any other object is used as it is.
    """
    own: Callable[..., Part] | None = getattr(part, "prepared", None)
    if own is not None:
        return own(device, precision, runtime)
    return copy.deepcopy(part).eval().to(device) if isinstance(part, nn.Module) else part


def check_runtime(name: str) -> None:
    """Raises `UnknownNameError` for what is neither "auto" nor "eager" nor registered."""
    if name not in OWN:
        registry.runtimes.find(name)


def placement(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where a network takes its input, and in what; the CPU in float32 for one without tensors of its own."""
    for module in network.modules():  # as few of them as need be: this is asked for each frame
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if tensor.is_floating_point():
                return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32
