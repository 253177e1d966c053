"""Networks computed on the CPU by ONNX Runtime (https://onnxruntime.ai) or by OpenVINO (https://docs.openvino.ai).

Their modules take (N,3,H,W) float32, for any N and in any memory format, and give the model's outputs in float32. They
use as many threads as torch has when they are made, and raise `HrkitError` if a package is missing.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hrkit.errors import HrkitError, one_line
from hrkit.ops.tensors import Outputs, in_chunks, of_each, parts_of
from hrkit.runtimes import converted
from hrkit.runtimes.batches import AT_ONCE
from hrkit.runtimes.calibration import FITTED
from hrkit.runtimes.conversion import require, to_int8, to_openvino, to_traced_onnx
from hrkit.runtimes.prepare import choose_precision

if TYPE_CHECKING:
    import openvino

logger: logging.Logger = logging.getLogger("hrkit")

Runtime = TypeVar("Runtime", bound=nn.Module)

INT8_ERROR = 0.12
"""How far outputs in int8 may be from float32 on average, as a share of their root mean square."""

_HINTS = {"float32": ("f32", "FP32"), "bfloat16": ("bf16", "BF16"), "float16": ("f16", "FP16")}
"""OpenVINO's INFERENCE_PRECISION_HINT and OPTIMIZATION_CAPABILITIES by precision."""


class OnnxNetwork(nn.Module):
    """A model run by ONNX Runtime; `model` is a file or its content."""

    def __init__(self, model: str | os.PathLike[str] | bytes) -> None:
        super().__init__()
        require("onnx")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # its errors are raised too
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads free their cores
        source = model if isinstance(model, bytes) else os.fspath(model)
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(source, options, providers=providers, enable_fallback=0)
        self._input = self._session.get_inputs()[0].name

    def forward(self, images: Tensor) -> Outputs:
        """(N,3,H,W) -> (N,...), or several of them."""
        return in_chunks(self._compute, images, AT_ONCE)

    def _compute(self, images: Tensor) -> Outputs:
        array = images.detach().to("cpu", torch.float32).contiguous().numpy()
        return _outputs(self._session.run(None, {self._input: array}))

    def __deepcopy__(self, memo: object) -> OnnxNetwork:
        return self  # it has no mutable state, and threads may share it


class OpenvinoNetwork(nn.Module):
    """A model run by OpenVINO; `model` is a file, an `openvino.Model`, or the bytes of a compiled one.

    With the precision "auto", OpenVINO computes in bfloat16 if the CPU has instructions for it. Raises `HrkitError` for
    a precision that the CPU does not have.
    """

    def __init__(self, model: str | os.PathLike[str] | openvino.Model | bytes, precision: str = "auto") -> None:
        super().__init__()
        core = _core()
        config: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        if precision != "auto":
            if precision not in _HINTS:
                choices = ", ".join(["auto", *_HINTS])
                raise HrkitError(f"the runtime openvino has no precision {precision!r}; choices: {choices}")
            config["INFERENCE_PRECISION_HINT"], capability = _HINTS[precision]
            if capability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
                raise HrkitError(f"this CPU does not compute in {precision}; leave precision at auto")
        if isinstance(model, str | os.PathLike):  # in no other of the formats that OpenVINO would guess
            import openvino

            reader = openvino.frontend.FrontEndManager().load_by_framework("ir")
            model = reader.convert(reader.load(os.fspath(model)))
        if isinstance(model, bytes):
            self._compiled = core.import_model(model, "CPU", config)
        else:
            self._compiled = core.compile_model(model, "CPU", config)
        self._request = self._compiled.create_infer_request()

    def forward(self, images: Tensor) -> Outputs:
        """(N,3,H,W) -> (N,...), or several of them."""
        if not len(images):  # OpenVINO accepts no empty batch
            return of_each(lambda one: one[:0], self(images.new_zeros(1, *images.shape[1:])))
        return in_chunks(self._compute, images, AT_ONCE)

    def _compute(self, images: Tensor) -> Outputs:
        array = images.detach().to("cpu", torch.float32).contiguous().numpy()
        return _outputs(list(self._request.infer({0: array}, share_inputs=True).values()))

    def compiled(self) -> bytes:
        """The compiled model, for the same version of OpenVINO on the same processor."""
        return self._compiled.export_model().getvalue()

    def __deepcopy__(self, memo: object) -> OpenvinoNetwork:
        """The same model with its own request, for another thread."""
        other = copy.copy(self)
        other._request = self._compiled.create_infer_request()
        return other


@functools.cache
def _core() -> openvino.Core:
    """OpenVINO, kept for the life of the process.

    Each core sets the thread's stack for signals, and restores the one before when it is freed. If two are not freed in
    reverse order, the thread keeps a freed stack, and Ctrl-C crashes the process.
    """
    require("openvino")
    import openvino

    return openvino.Core()


def _outputs(arrays: Sequence[NDArray[np.float32]]) -> Outputs:
    tensors = tuple(map(torch.from_numpy, arrays))
    return tensors if len(tensors) > 1 else tensors[0]


def build_onnx(file: str | None = None, *, network: nn.Module, example: Tensor, precision: str = "auto") -> OnnxNetwork:
    """The runtime `onnx` for the network, or for an exported file.

    Raises `HrkitError` for a precision other than float32, and for a file that does not fit the network.
    """
    if precision not in ("auto", "float32"):
        raise HrkitError(f"the runtime onnx computes in float32, not in {precision}; leave precision at auto")
    if file is not None:
        return _load_fitting(OnnxNetwork, file, network, example)
    require("onnx")
    name = f"{converted.fingerprint(network, tuple(example.shape), 'onnx')}.onnx"
    kept = converted.read(name)
    if kept is not None:
        return OnnxNetwork(kept)
    content = to_traced_onnx(network, example)
    made = OnnxNetwork(content)
    converted.check_same(made, network, example)
    converted.keep(name, content)
    return made


def build_openvino(
    file: str | None = None,
    *,
    network: nn.Module,
    example: Tensor,
    precision: str = "auto",
    calibration: Callable[[], Iterable[Tensor]] | None = None,
) -> OpenvinoNetwork:
    """The runtime `openvino` for the network, or for an exported file; "auto" is resolved by `choose_precision`.

    With `calibration`, which gives inputs like `example`, it is in int8. Raises `HrkitError` as `OpenvinoNetwork`, and
    for a file that does not fit the network.
    """
    if calibration is None:
        precision = str(choose_precision(network, torch.device("cpu"), precision)).removeprefix("torch.")
    if file is not None:
        return _load_fitting(lambda path: OpenvinoNetwork(path, precision), file, network, example)
    facts = (tuple(example.shape), precision, converted.processor(), converted.version("openvino"))
    if calibration is None:
        require("openvino")
        name = converted.fingerprint(network, *facts)
        return _kept(name, precision, lambda: _converted(network, example, precision))
    require("int8")
    name = converted.fingerprint(network, *facts, converted.version("nncf"), FITTED)
    return _kept(name, "auto", lambda: _in_int8(network, example, list(calibration())))


def _kept(name: str, precision: str, make: Callable[[], OpenvinoNetwork]) -> OpenvinoNetwork:
    """The compiled model of this name in the cache, or else what `make` gives, which is kept."""
    content = converted.read(f"{name}.openvino")
    if content is not None:
        with contextlib.suppress(RuntimeError):  # of another build of OpenVINO: it is made again
            return OpenvinoNetwork(content, precision)
    made = make()
    converted.keep(f"{name}.openvino", made.compiled())
    return made


def _converted(network: nn.Module, example: Tensor, precision: str) -> OpenvinoNetwork:
    made = OpenvinoNetwork(to_openvino(network, example), precision)
    converted.check_same(made, network, example, precision)
    return made


def _in_int8(network: nn.Module, example: Tensor, inputs: list[Tensor]) -> OpenvinoNetwork:
    """The network in int8, fitted to the first `FITTED` inputs and checked with the others.

    Raises `HrkitError` if int8 changes the outputs by more than `INT8_ERROR`.
    """
    logger.info("fitting %s to int8, once on this machine; it takes up to a minute", type(network).__name__)
    model = to_int8(network, example, inputs[:FITTED])
    with contextlib.suppress(RuntimeError):  # of a network for one size
        model.reshape([-1, 3, -1, -1])
    made = OpenvinoNetwork(model)
    others = torch.cat(inputs[FITTED:])
    with torch.inference_mode():
        pairs = zip(parts_of(made(others)), parts_of(network(others)), strict=True)
        error = float(np.max([float((ours - wanted).norm() / wanted.norm()) for ours, wanted in pairs]))  # or NaN
    logger.info("int8 changes what it gives by %.1f %%", 100 * error)
    if not error <= INT8_ERROR:
        raise HrkitError(
            f"int8 changes what this network gives by {error:.0%}, more than {INT8_ERROR:.0%}; take another precision, "
            "or fit it to your own people: hrkit export --int8 DATASET"
        )
    return made


def _load_fitting(load: Callable[[str], Runtime], file: str, network: nn.Module, example: Tensor) -> Runtime:
    """Loads a file whose outputs have the shape of the network's. Its weights are not compared."""
    if not Path(file).is_file():
        raise HrkitError(f"there is no file {file}; `hrkit export` writes it")
    with torch.inference_mode():
        expected = _shapes(network(example))
        try:
            loaded = load(file)
            found = _shapes(loaded(example))
        except HrkitError:
            raise
        except Exception as error:  # each runtime has its own classes of errors
            reason = one_line(error)[:200]
            raise HrkitError(f"{file} does not run with inputs of {tuple(example.shape)} ({reason})") from error
    if found != expected:
        raise HrkitError(f"{file} gives {found}, the network {expected}; export this network")
    return loaded


def _shapes(outputs: Outputs) -> str:
    return " and ".join(str(tuple(part.shape)) for part in parts_of(outputs))
