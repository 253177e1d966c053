"""How a network is run: in which precision, and by what, so that it is fast on its device and stays within bounds.

Measured in `docs/performance.md`. bfloat16 changes heatmaps by 1 % and keypoints by less than the eye sees, but not
where convolutions are depthwise: there no sum over channels averages the rounding of the weights.
"""

from __future__ import annotations

import copy
import itertools
import logging
from typing import Any

import torch
from torch import Tensor, nn

from hrkit.devices import PRECISIONS, check_precision
from hrkit.errors import HrkitError
from hrkit.runtimes import fused

logger = logging.getLogger("hrkit")

RUNTIMES = ("auto", "eager")


def prepare(
    network: nn.Module, example: Tensor, device: torch.device, precision: str = "auto", runtime: str = "auto"
) -> nn.Module:
    """A copy of the network that runs on `device`: (N,3,H,W) -> what it gives, for any N.

    `example` is an input of (1,3,H,W). `precision` "auto" is `choose_precision`'s. `runtime` "auto" folds batch norm
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


def choose_precision(network: nn.Module, device: torch.device, wanted: str = "auto") -> torch.dtype:
    """The dtype that `wanted` names; for "auto" the fastest that keeps the network's results within bounds.

    float16 on CUDA GPUs with tensor cores, bfloat16 on CPUs with instructions for it, else float32. Raises
    `HrkitError` for an unknown name.
    """
    check_precision(wanted)
    if wanted != "auto":
        return PRECISIONS[wanted]
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0):
        return torch.float16
    if device.type == "cpu" and _cpu_has_bfloat16() and _rounds_well(network):
        return torch.bfloat16
    return torch.float32


def placement(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where a network takes its input, and in what; the CPU in float32 for one without tensors of its own."""
    tensors = itertools.chain(network.parameters(), network.buffers())
    floats = (tensor for tensor in tensors if tensor.is_floating_point())
    first = next(floats, torch.empty(0))
    return first.device, first.dtype


def _cpu_has_bfloat16() -> bool:
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch do not tell
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def _rounds_well(network: nn.Module) -> bool:
    """Whether it is made of convolutions that each sum over many channels."""
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    return bool(convolutions) and not any(conv.groups == conv.in_channels > 1 for conv in convolutions)
