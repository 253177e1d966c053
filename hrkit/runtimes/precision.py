"""Which precision a network computes in, so that it is fast on its device and stays within bounds.

Measured in `docs/performance.md`. bfloat16 changes heatmaps by 1 % and keypoints by less than the eye sees, but not
where convolutions are depthwise: there no sum over channels averages the rounding of the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hrkit.runtimes.devices import PRECISIONS, check_precision


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


def _cpu_has_bfloat16() -> bool:
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch do not tell
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def _rounds_well(network: nn.Module) -> bool:
    """Whether it is made of convolutions that each sum over many channels."""
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    return bool(convolutions) and not any(conv.groups == conv.in_channels > 1 for conv in convolutions)
