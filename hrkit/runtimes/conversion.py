"""A network in the forms that other runtimes read: an exported program, an ONNX model, an OpenVINO model.

All take (N,3,H,W) float32 of any N; H and W are those of the example. Batch norms are folded into the convolutions
before them. The network is left as it is.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hrkit.errors import HrkitError, one_line
from hrkit.runtimes.folding import folded

if TYPE_CHECKING:
    import onnx
    import openvino

INPUT = "images"
"""What the input is called."""

PACKAGES = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "int8": ("openvino", "nncf"),
}
"""What each extra of hrkit installs."""


def require(extra: str) -> None:
    """Raises `HrkitError`, which says how to get them, if a package of one of `PACKAGES` is missing."""
    missing = [package for package in PACKAGES[extra] if importlib.util.find_spec(package) is None]
    if missing:
        raise HrkitError(f"not installed: {', '.join(missing)}; pip install 'hrkit-pose[{extra}]'")


def to_program(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The program of a network in evaluation mode; `example` is (1,3,H,W).

    Raises `HrkitError` for a network that torch.export cannot follow.
    """
    batch = example.expand(2, *example.shape[1:]).clone()  # with a batch of one, one it would stay
    with contextlib.suppress(HrkitError):  # who cannot be folded is exported with its batch norms
        network = folded(network)
    with _quiet(network), torch.no_grad():
        return torch.export.export(network, (batch,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def to_onnx(network: nn.Module, example: Tensor, *, output: str = "output") -> onnx.ModelProto:
    """An ONNX model with the input `INPUT` and one output.

    Raises `HrkitError` as `to_program`, and without the extra.
    """
    require("onnx")
    program = to_program(network, example)
    with _quiet(network):
        exported = torch.onnx.export(
            program, input_names=[INPUT], output_names=[output], dynamo=True, external_data=False, verbose=False
        )
    assert exported is not None
    model = exported.model_proto
    _check_outputs(network, len(model.graph.output))
    _name_batch(model)
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del part.metadata_props[:]  # where in whose source each step comes from
    return model


def to_openvino(network: nn.Module, example: Tensor, *, output: str = "output") -> openvino.Model:
    """The same for OpenVINO; raises as `to_onnx`."""
    require("openvino")
    import openvino

    with _quiet(network), torch.no_grad():
        model = openvino.convert_model(network, example_input=example, input=[-1, *example.shape[1:]])
    _check_outputs(network, len(model.outputs))
    model.input(0).set_names({INPUT})
    model.output(0).set_names({output})
    return model


def quantise(model: openvino.Model, inputs: Sequence[Tensor]) -> openvino.Model:
    """The model in int8, fitted to `inputs`, (1,3,H,W) each, by NNCF (https://github.com/openvinotoolkit/nncf).

    Raises `HrkitError` without the extra.
    """
    require("int8")
    import nncf

    nncf.set_log_level(logging.WARNING)
    with contextlib.redirect_stdout(sys.stderr):  # where it shows how far it is
        return nncf.quantize(
            model,
            nncf.Dataset(inputs, lambda images: images.numpy()),
            subset_size=len(inputs),
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=False,  # the fast way costs `lite` two points of AP, this one less than half a point
        )


@contextlib.contextmanager
def _quiet(network: nn.Module) -> Iterator[None]:
    """Whatever exporters have to say is an error of one line, or nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except HrkitError:
        raise
    except Exception as error:  # each exporter has errors of its own, and passes on those of the network
        reason = one_line(error).split(". ")[0][:200]
        raise HrkitError(f"{type(network).__name__} cannot be exported ({reason})") from error


def _check_outputs(network: nn.Module, count: int) -> None:
    if count != 1:
        raise HrkitError(f"{type(network).__name__} has {count} outputs; only networks with one can be exported")


def _name_batch(model: onnx.ModelProto) -> None:
    """Calls the first size "batch", whatever symbol torch.export chose."""
    (value,) = model.graph.input
    symbol = value.type.tensor_type.shape.dim[0].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == symbol:
                size.dim_param = "batch"
