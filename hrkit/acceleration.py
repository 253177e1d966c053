"""How a network is run: in which precision, and by what."""

from __future__ import annotations

import copy
import itertools
import logging

import torch
from torch import Tensor, nn

from hrkit.errors import HrkitError
from hrkit.precision import choose_precision
from hrkit.runtimes import fused

logger = logging.getLogger("hrkit")

RUNTIMES = ("auto", "eager")


def prepare(
    network: nn.Module, example: Tensor, device: torch.device, precision: str = "auto", runtime: str = "auto"
) -> nn.Module:
    """A copy of the network that runs on `device`: (N,3,H,W) -> what it gives, for any N.

    `example` is an input of (1,3,H,W). `precision` is as `choose_precision` takes it. `runtime` "auto" folds batch norm
    and on CPUs fuses and packs convolutions, "eager" leaves the layers as they are. Raises `HrkitError` for another.
    """
    if runtime not in RUNTIMES:
        raise HrkitError(f"unknown runtime {runtime!r}; choices: {', '.join(RUNTIMES)}")
    dtype = choose_precision(network, device, precision)
    if runtime == "auto" and device.type == "cpu" and fused.available():
        try:
            return fused.Fused(network, example, dtype)
        except HrkitError as error:
            logger.debug("layers are left as they are: %s", error)
    return copy.deepcopy(network).eval().to(device, dtype).to(memory_format=torch.channels_last)


def placement(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where a network takes its input, and in what; the CPU in float32 for one without tensors of its own."""
    tensors = itertools.chain(network.parameters(), network.buffers())
    floats = (tensor for tensor in tensors if tensor.is_floating_point())
    first = next(floats, torch.empty(0))
    return first.device, first.dtype
