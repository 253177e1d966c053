"""Networks in the forms that other runtimes read: an exported program, an ONNX model, an OpenVINO model.

All take (N,3,H,W) float32 for any N; H and W are those of the example. Batch norms are folded into the convolutions
before them. The network itself does not change.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hrkit.errors import HrkitError, one_line
from hrkit.runtimes.folding import folded

if TYPE_CHECKING:
    import onnx
    import openvino

INPUT = "images"
"""The name of the input."""

PACKAGES: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "int8": ("openvino", "nncf"),
}
"""The packages that each extra of hrkit installs."""


def require(extra: str) -> None:
    """Raises `HrkitError` with the install command if a package of an extra, one of `PACKAGES`, is missing.

    OpenVINO and NNCF send usage data as soon as they are imported, unless this package is missing; here it is.
    """
    modules: dict[str, Any] = sys.modules  # Any: None makes an import fail
    modules.setdefault("openvino_telemetry", None)
    missing = [package for package in PACKAGES[extra] if importlib.util.find_spec(package) is None]
    if missing:
        raise HrkitError(f"not installed: {', '.join(missing)}; pip install 'hrkit-pose[{extra}]'")


def to_program(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The program of a network in evaluation mode; `example` is (1,3,H,W).

    Raises `HrkitError` if torch.export cannot trace the network.
    """
    batch = example.expand(2, *example.shape[1:]).clone()  # a batch of one would make one the only size
    network = folded_if_possible(network)
    with _one_line_errors(network), torch.no_grad():
        return torch.export.export(network, (batch,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def folded_if_possible(network: nn.Module) -> nn.Module:
    """The network with its batch norms folded, or as it is if that is impossible."""
    with contextlib.suppress(HrkitError):
        return folded(network)
    return network


def to_onnx(network: nn.Module, example: Tensor, *, outputs: Sequence[str] | None = None) -> onnx.ModelProto:
    """An ONNX model with the input `INPUT` and outputs of these names. Raises as `to_program` and `require`."""
    require("onnx")
    program = to_program(network, example)
    with _one_line_errors(network):
        exported = torch.onnx.export(
            program, input_names=[INPUT], output_names=outputs, dynamo=True, external_data=False, verbose=False
        )
    assert exported is not None
    model = exported.model_proto
    graph = model.graph
    (value,) = graph.input
    symbol = value.type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == symbol:
                size.dim_param = "batch"  # instead of a name of torch.export's choice
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]  # source files and lines
    return model


def to_openvino(network: nn.Module, example: Tensor, *, outputs: Sequence[str] | None = None) -> openvino.Model:
    """An OpenVINO model with the input `INPUT` and outputs of these names. Raises as `to_onnx`.

    It takes (N,3,H,W) of any N, H and W that the network takes. OpenVINO's frontend reads it from TorchScript.
    """
    require("openvino")
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with _one_line_errors(network), torch.no_grad():
        traced = torch.jit.trace(network, example, check_trace=False)
        decoder = TorchScriptPythonDecoder(traced, example_input=example)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
        model.reshape([-1, 3, -1, -1])
    model.input(0).set_names({INPUT})
    for output, name in zip(model.outputs, outputs or (), strict=outputs is not None):
        output.set_names({name})
    return model


def to_sized_openvino(
    network: nn.Module, example: Tensor, *, outputs: Sequence[str] | None = None
) -> openvino.Model:
    """As `to_openvino`, for the height and width of the example alone, with batch norms folded."""
    model = to_openvino(folded_if_possible(network), example, outputs=outputs)
    from openvino._offline_transformations import apply_moc_transformations  # as OpenVINO's own converter does

    model.reshape([-1, 3, *example.shape[2:]])
    apply_moc_transformations(model, cf=False)  # finds the sizes of the outputs
    return model


def to_traced_onnx(network: nn.Module, example: Tensor) -> bytes:
    """An ONNX model for any N, H and W, made from TorchScript: in a tenth of the time of `to_onnx`, and less tidy.

    Raises as `to_onnx`.
    """
    require("onnx")
    content = io.BytesIO()
    with _one_line_errors(network), torch.no_grad():
        axes = {INPUT: {0: "batch", 2: "height", 3: "width"}}
        torch.onnx.export(
            network,
            (example,),
            content,  # type: ignore[arg-type]  # it takes a file too
            dynamo=False,
            opset_version=17,
            input_names=[INPUT],
            dynamic_axes=axes,
        )
    return content.getvalue()


def to_int8(
    network: nn.Module, example: Tensor, inputs: Sequence[Tensor], *, outputs: Sequence[str] | None = None
) -> openvino.Model:
    """An OpenVINO model in int8, fitted to `inputs` of (1,3,H,W) by NNCF (https://github.com/openvinotoolkit/nncf).

    The first and the last three convolutions and those with groups stay as they are. That halves the error, and takes a
    tenth more time. Raises as `to_openvino`.
    """
    require("int8")
    import nncf

    model = to_sized_openvino(network, example, outputs=outputs)
    kinds = {part.get_friendly_name(): part.get_type_name() for part in model.get_ordered_ops()}
    layers = [name for name, kind in kinds.items() if kind in ("Convolution", "GroupConvolution")]
    exact = {*layers[:3], *layers[-3:], *(name for name in layers if kinds[name] == "GroupConvolution")}
    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own function would quieten the program's handlers too
    with contextlib.redirect_stdout(sys.stderr):  # for the progress bars
        return nncf.quantize(
            model,
            nncf.Dataset(inputs, lambda images: images.numpy()),
            subset_size=len(inputs),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            fast_bias_correction=False,  # the fast way costs `lite` two points of AP, this one less than half a point
            ignored_scope=nncf.IgnoredScope(names=sorted(exact)),
        )


@contextlib.contextmanager
def _one_line_errors(network: nn.Module) -> Iterator[None]:
    """Turns whatever an exporter raises into a `HrkitError` of one line, and hides its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except HrkitError:
        raise
    except Exception as error:  # exporters have their own classes of errors, and pass on those of the network
        reason = one_line(error).split(". ")[0][:200]
        raise HrkitError(f"{type(network).__name__} cannot be exported ({reason})") from error
