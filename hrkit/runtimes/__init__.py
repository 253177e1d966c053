"""Runtimes: what computes a network in place of PyTorch. Each is imported when it is first built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl, lazy

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def register_runtimes() -> Mapping[str, Callable[..., nn.Module]]:
    """hrkit's own runtimes; `onnx:FILE` and `openvino:FILE` run what `hrkit export` wrote."""
    onnx, openvino = (lazy(f"hrkit.runtimes.{name}_runtime:build") for name in ("onnx", "openvino"))
    return {"onnx": onnx, "onnx:*": onnx, "openvino": openvino, "openvino:*": openvino}
