"""Networks computed by ONNX Runtime (https://onnxruntime.ai) on the CPU, in float32."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from hrkit.errors import HrkitError
from hrkit.runtimes.conversion import require, to_onnx
from hrkit.runtimes.exported_file import load_fitting


class OnnxNetwork(nn.Module):
    """(N,3,H,W) float32 -> what the model gives, float32, on the CPU. Any N and memory format.

    `model` is a file or its content. Threads are as many as torch has when it is made. Raises `HrkitError` without the
    packages.
    """

    def __init__(self, model: str | os.PathLike[str] | bytes) -> None:
        super().__init__()
        require("onnx")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        source = model if isinstance(model, bytes) else os.fspath(model)
        self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def forward(self, images: Tensor) -> Tensor:
        """(N,3,H,W) -> (N,...)."""
        array = images.detach().to("cpu", torch.float32).contiguous().numpy()
        return torch.from_numpy(self._session.run(None, {self._input: array})[0])

    def __deepcopy__(self, memo: object) -> OnnxNetwork:
        return self  # it holds nothing that changes, and threads may share it


def build(file: str | None = None, *, network: nn.Module, example: Tensor, precision: str = "auto") -> OnnxNetwork:
    """The runtime `onnx`, for the network or for what is in `file`.

    Raises `HrkitError` for another precision than float32, and for a file that does not fit the network.
    """
    if precision not in ("auto", "float32"):
        raise HrkitError(f"the runtime onnx computes in float32, not in {precision}; leave precision at auto")
    if file is not None:
        return load_fitting(OnnxNetwork, file, network, example)
    return OnnxNetwork(to_onnx(network, example).SerializeToString())
