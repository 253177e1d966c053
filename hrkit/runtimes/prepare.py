"""Networks made fast for a device, in a precision and by a runtime."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hrkit import registry
from hrkit.errors import HrkitError, UnknownNameError
from hrkit.runtimes import choice, converted, fused
from hrkit.runtimes.cuda_graphs import CudaGraphs
from hrkit.runtimes.folding import folded

logger: logging.Logger = logging.getLogger("hrkit")

Part = TypeVar("Part")

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

INT8 = "int8"
"""The precision that is not a dtype of torch: networks are converted and fitted for it."""

OWN = ("auto", "fused", "eager")
"""Runtimes that compute with torch, or choose among others; all others are registered."""


def prepare(
    network: nn.Module,
    example: Tensor,
    device: torch.device,
    precision: str = "auto",
    runtime: str = "auto",
    calibration: Callable[[], Iterable[Tensor]] | None = None,
) -> nn.Module:
    """A copy of the network made fast for `device`: (N,3,H,W) -> what the network gives, for any N.

    `example` is an input of (1,3,H,W). `choose_precision` resolves `precision`; "int8" is fitted to the inputs that
    `calibration` gives. The runtime "fused" folds batch norms, then fuses and packs convolutions on CPUs and replays
    graphs on CUDA devices. "auto" is the same, or on CPUs the fastest of that and the installed runtimes
    (`choice.fastest`); "eager" keeps the layers; other names are registered. Raises `UnknownNameError` for an unknown
    name, and `HrkitError` for what a runtime cannot do.
    """
    check_runtime(runtime)
    if precision == INT8:
        if device.type != "cpu" or runtime not in ("auto", "openvino") or calibration is None:
            raise HrkitError("int8 is for networks of hrkit on CPUs, computed by OpenVINO; leave runtime at auto")
        return _registered("openvino", network, example, precision, calibration=calibration)
    if runtime not in OWN:
        return _registered(runtime, network, example, precision)
    dtype = choose_precision(network, device, precision)
    if runtime == "eager":
        return _placed(copy.deepcopy(network).eval(), device, dtype)
    rivals = choice.rivals() if runtime == "auto" and device.type == "cpu" else ()
    if not rivals:
        return _fused(network, example, device, dtype)
    exact = str(dtype).removeprefix("torch.")
    ways = {"fused": functools.partial(_fused, network, example, device, dtype)}
    ways.update({name: functools.partial(_registered, name, network, example, exact) for name in rivals})
    return choice.fastest(network, example, exact, ways)


def _registered(runtime: str, network: nn.Module, example: Tensor, precision: str, **options: Any) -> nn.Module:
    network = copy.deepcopy(network).float().eval()
    return registry.runtimes.build(runtime, network=network, example=example.float(), precision=precision, **options)


def _fused(network: nn.Module, example: Tensor, device: torch.device, dtype: torch.dtype) -> nn.Module:
    try:
        if device.type == "cpu" and fused.available(dtype):
            return fused.Fused(network, example, dtype)
        placed = _placed(folded(network), device, dtype)
        return CudaGraphs(placed) if device.type == "cuda" else placed
    except HrkitError as error:
        logger.debug("layers stay as they are: %s", error)
    return _placed(copy.deepcopy(network).eval(), device, dtype)


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
    """Raises `UnknownNameError` for a name that is neither in `OWN` nor registered."""
    if name not in OWN and name not in registry.runtimes:
        raise UnknownNameError("runtime", name, [*OWN, *registry.runtimes.entries()], hint=registry.where_else(name))


def check_precision(precision: str) -> None:
    """Raises `HrkitError` for a name that is neither "auto", "int8" nor one of `PRECISIONS`."""
    if precision not in ("auto", INT8, *PRECISIONS):
        raise HrkitError(f"unknown precision {precision!r}; choices: auto, {', '.join((*PRECISIONS, INT8))}")


def choose_precision(network: nn.Module, device: torch.device, precision: str = "auto") -> torch.dtype:
    """The dtype of a precision; for "auto" the fastest that keeps keypoints within the documented bounds.

    That is float16 on CUDA GPUs with tensor cores, bfloat16 on CPUs with instructions for it, else float32.
    `docs/performance.md` has the measurements: bfloat16 changes heatmaps by 1 %, except where convolutions are
    depthwise, without a sum over channels that averages the rounding of the weights. Raises as `check_precision`.
    """
    check_precision(precision)
    if precision == INT8:
        raise HrkitError("int8 is for networks on CPUs, as a Pipeline computes them")
    if precision != "auto":
        return PRECISIONS[precision]
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0):
        return torch.float16
    if device.type == "cpu" and _cpu_has_bfloat16():
        convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
        if convolutions and not any(conv.groups == conv.in_channels > 1 for conv in convolutions):
            return torch.bfloat16
    return torch.float32


def _cpu_has_bfloat16() -> bool:
    known = converted.capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def placement(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """The device and dtype of a network's input; the CPU and float32 if it has no tensors."""
    for module in network.modules():  # a generator, as this runs for each frame
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if tensor.is_floating_point():
                return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32
