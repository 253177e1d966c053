"""Networks computed by OpenVINO (https://github.com/openvinotoolkit/openvino) on the CPU."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hrkit.errors import HrkitError
from hrkit.runtimes.conversion import require, to_openvino
from hrkit.runtimes.exported_file import load_fitting
from hrkit.runtimes.precision import choose_precision

if TYPE_CHECKING:
    import openvino

_HINTS = {"float32": ("f32", "FP32"), "bfloat16": ("bf16", "BF16"), "float16": ("f16", "FP16")}
"""By precision: what OpenVINO's INFERENCE_PRECISION_HINT calls it, and its OPTIMIZATION_CAPABILITIES."""


class OpenvinoNetwork(nn.Module):
    """(N,3,H,W) float32 -> what the model gives, float32, on the CPU. Any N and memory format.

    `model` is a file or OpenVINO's own object. `precision` is what it computes in: "auto" leaves that to OpenVINO,
    which takes bfloat16 where the CPU is made for it. Threads are as many as torch has when it is made. Raises
    `HrkitError` without the package, and for a precision that this CPU has not.
    """

    def __init__(self, model: str | os.PathLike[str] | openvino.Model, precision: str = "auto") -> None:
        super().__init__()
        require("openvino")
        import openvino

        core = openvino.Core()
        config: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            **_precision(core, precision),
        }
        self._compiled = core.compile_model(model, "CPU", config)
        self._request = self._compiled.create_infer_request()

    def forward(self, images: Tensor) -> Tensor:
        """(N,3,H,W) -> (N,...)."""
        if not len(images):  # OpenVINO takes no empty batch
            return self(images.new_zeros(1, *images.shape[1:]))[:0]
        array = images.detach().to("cpu", torch.float32).contiguous().numpy()
        return torch.from_numpy(self._request.infer({0: array}, share_inputs=True)[0])

    def __deepcopy__(self, memo: object) -> OpenvinoNetwork:
        """The same model with a request of its own, for another thread."""
        other = copy.copy(self)
        other._request = self._compiled.create_infer_request()
        return other


def _precision(core: openvino.Core, name: str) -> dict[str, object]:
    """The setting for a precision; raises `HrkitError` for one that is not known or that this CPU has not."""
    if name == "auto":
        return {}
    if name not in _HINTS:
        raise HrkitError(f"the runtime openvino has no precision {name!r}; choices: auto, {', '.join(_HINTS)}")
    hint, capability = _HINTS[name]
    if capability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise HrkitError(f"this CPU does not compute in {name}; leave precision at auto")
    return {"INFERENCE_PRECISION_HINT": hint}


def build(file: str | None = None, *, network: nn.Module, example: Tensor, precision: str = "auto") -> OpenvinoNetwork:
    """The runtime `openvino`, for the network or for what is in `file`.

    "auto" is the precision in which the network stays within bounds. Raises `HrkitError` as `OpenvinoNetwork`, and for
    a file that does not fit the network.
    """
    precision = str(choose_precision(network, torch.device("cpu"), precision)).removeprefix("torch.")
    if file is not None:
        return load_fitting(lambda path: OpenvinoNetwork(path, precision), file, network, example)
    return OpenvinoNetwork(to_openvino(network, example), precision)
