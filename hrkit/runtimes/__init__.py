"""Runtimes: what computes a network in place of PyTorch. Each is imported when it is first built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hrkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def register_runtimes() -> Mapping[str, Callable[..., nn.Module]]:
    """hrkit's own runtimes; `onnx:FILE` and `openvino:FILE` run what `hrkit export` wrote."""
    return {"onnx": _onnx, "onnx:*": _onnx, "openvino": _openvino, "openvino:*": _openvino}


def _onnx(*file: str, **options: Any) -> nn.Module:
    from hrkit.runtimes.onnx_runtime import build

    return build(*file, **options)


def _openvino(*file: str, **options: Any) -> nn.Module:
    from hrkit.runtimes.openvino_runtime import build

    return build(*file, **options)
