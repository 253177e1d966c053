"""How a network is made fast: folded and fused layers, precision, CUDA graphs, several devices, ONNX and OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl, lazy

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def register_runtimes() -> Mapping[str, Callable[..., nn.Module]]:
    """The runtimes `onnx` and `openvino`; `onnx:FILE` and `openvino:FILE` run a file of `hrkit export`."""
    onnx, openvino = (lazy(f"hrkit.runtimes.exported:build_{name}") for name in ("onnx", "openvino"))
    return {"onnx": onnx, "onnx:*": onnx, "openvino": openvino, "openvino:*": openvino}
