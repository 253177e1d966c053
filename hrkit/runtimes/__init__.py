"""Runtimes: what computes a network in place of PyTorch. Each is imported when it is first built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hrkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def register_runtimes() -> Mapping[str, Callable[..., nn.Module]]:
    """hrkit's own runtimes; each needs the extra of its name."""
    return {"onnx": _onnx, "openvino": _openvino}


def _onnx(**options: Any) -> nn.Module:
    from hrkit.runtimes.onnx_runtime import build

    return build(**options)


def _openvino(**options: Any) -> nn.Module:
    from hrkit.runtimes.openvino_runtime import build

    return build(**options)
