"""Networks for the CPU: each convolution fused with the sum and activation after it, its weights packed.

This uses oneDNN's fused primitives as torch.compile does (torch/_inductor/fx_passes/mkldnn_fusion.py), without the time
to compile.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, fx, nn

from hrkit.ops.tensors import in_chunks
from hrkit.runtimes.batches import AT_ONCE
from hrkit.runtimes.folding import Node, folded, modules, put, steps, tidy

_Activation = tuple[str, list[float], str]
"""oneDNN's name, parameters and formula."""

_NONE: _Activation = ("none", [], "")


def available(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this torch has oneDNN's fused convolutions, and this CPU can run them in `dtype`."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    asks = _CPU_CAN.get(dtype)
    return asks is None or (hasattr(torch.ops.mkldnn, asks) and getattr(torch.ops.mkldnn, asks)())


_CPU_CAN = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}


class Fused(nn.Module):
    """A copy of a network that computes in `dtype`; `example` is an input of (1,3,H,W). Raises as `folding.folded`."""

    def __init__(self, network: nn.Module, example: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        graph = folded(network)
        seen = _Shapes(graph)
        with torch.inference_mode():
            seen.run(example)
        _fuse(graph, seen.found)
        _reuse_memory(graph, seen.found)
        self.graph: fx.GraphModule = graph.to(dtype).to(memory_format=torch.channels_last)
        self.dtype = dtype

    def forward(self, images: Tensor) -> Any:  # Any: a tensor or several, as the network gives
        """(N,3,H,W), in any floating type and memory format -> what the network gives."""
        return in_chunks(self._compute, images, AT_ONCE)

    def _compute(self, images: Tensor) -> Any:  # Any: as in forward
        return self.graph(images.to(self.dtype, memory_format=torch.channels_last))


class FusedConv2d(nn.Module):
    """A convolution, the sum with another tensor of the same shape if one is given, and an activation."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d, activation: _Activation) -> None:
        super().__init__()
        self.register_buffer("weight", conv.weight.detach())
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach())
        geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        self.geometry: tuple[list[Any], list[int], list[int], int] = geometry  # Any: torch allows words for padding
        self.activation = activation
        self._packed: dict[bool, Tensor] = {}

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """(N,C,H,W) -> (N,C',H',W')."""
        weight, (kind, numbers, formula) = self._weight(x), self.activation
        run = torch.ops.mkldnn._convolution_pointwise
        if other is None:
            return run(x, weight, self.bias, *self.geometry, kind, numbers, formula)
        last = None if kind == "none" else kind
        return run(x, other, weight, self.bias, *self.geometry, "add", 1.0, last, numbers, formula)

    def _weight(self, x: Tensor) -> Tensor:
        """The weight packed for oneDNN, which uses one layout for a single picture and another for several."""
        single = len(x) == 1
        if single not in self._packed:
            reorder = torch.ops.mkldnn._reorder_convolution_weight
            self._packed[single] = reorder(self.weight, *self.geometry, list(x.shape))
        return self._packed[single]

    def __getstate__(self) -> dict[str, Any]:  # Any: attributes of a module
        return {**self.__dict__, "_packed": {}}  # packed weights cannot be copied


class _Shapes(fx.Interpreter):
    """Runs a graph on an input to learn the shape of each step's output; torch's fake tensors take seconds to load."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.found: dict[Node, torch.Size] = {}

    def run_node(self, node: Node) -> Any:  # Any: whatever the step gives
        result = super().run_node(node)
        if isinstance(result, Tensor):
            self.found[node] = result.shape
        return result


def _fuse(graph: fx.GraphModule, shapes: dict[Node, torch.Size]) -> None:
    for node, conv in modules(graph, nn.Conv2d):
        if isinstance(conv.padding, str) or conv.padding_mode != "zeros" or len(node.args) != 1:
            continue
        last, inputs = node, [node.args[0]]
        addition = _only_user(node)
        if addition is not None and addition.target in _ADDITIONS and len(addition.args) == 2 and not addition.kwargs:
            others = [arg for arg in addition.args if arg is not node]
            if len(others) == 1 and isinstance(others[0], fx.Node) and shapes.get(others[0]) == shapes.get(node):
                last, inputs = addition, [*inputs, others[0]]
        activation = _only_user(last)
        known = None if activation is None else _activation(graph, activation)
        if activation is not None and known is not None:
            last = activation
        new = put(graph, last, FusedConv2d(conv, known or _NONE), *inputs)
        if node in shapes:
            shapes[new] = shapes[node]
    tidy(graph)


def _reuse_memory(graph: fx.GraphModule, shapes: dict[Node, torch.Size]) -> None:
    """Lets sums and ReLUs that are not fused overwrite an input that nothing else uses."""
    spare = {node for kind in (FusedConv2d, nn.Upsample) for node, _ in modules(graph, kind) if len(node.users) == 1}
    for node in steps(graph):
        given = node.args
        if node.target in _ADDITIONS and len(given) == 2 and not node.kwargs:
            over, other = given if given[0] in spare else reversed(given)
            if over not in spare or over not in shapes or shapes[over] != shapes.get(other):
                continue
            node.target, node.args = operator.iadd, (over, other)
        elif len(given) == 1 and given[0] in spare and _activation(graph, node) == _RELU:
            node.op, node.target, node.kwargs = "call_function", torch.relu_, {}
        else:
            continue
        if len(node.users) == 1:
            spare.add(node)
    tidy(graph)


_ADDITIONS = (operator.add, torch.add)


def _only_user(node: Node) -> Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _activation(graph: fx.GraphModule, node: Node) -> _Activation | None:
    """The activation that a step computes, if oneDNN has it."""
    if node.op == "call_module":
        module = graph.get_submodule(node.target)
        known = _ACTIVATIONS.get(type(module))
        return None if known is None else known(module)
    if node.op == "call_function" and len(node.args) == 1:
        return _FUNCTIONS.get(node.target)
    return None


_RELU: _Activation = ("relu", [], "")
_RELU6: _Activation = ("hardtanh", [0.0, 6.0], "")
_ACTIVATIONS: dict[type[nn.Module], Callable[[Any], _Activation]] = {  # Any: a module of the key's class
    nn.ReLU: lambda module: _RELU,
    nn.ReLU6: lambda module: _RELU6,
    nn.LeakyReLU: lambda module: ("leaky_relu", [module.negative_slope], ""),
    nn.SiLU: lambda module: ("swish", [], ""),
    nn.Hardswish: lambda module: ("hardswish", [], ""),
    nn.Sigmoid: lambda module: ("sigmoid", [], ""),
    nn.GELU: lambda module: ("gelu", [], module.approximate),
}
_FUNCTIONS: dict[Callable[..., Tensor], _Activation] = {F.relu: _RELU, torch.relu: _RELU, F.relu6: _RELU6}
