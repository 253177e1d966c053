"""Networks as torch.fx graphs, with batch norms folded into the convolutions before them."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hrkit.errors import HrkitError

Node = Any
"""A step of a graph. Any: the fields of fx.Node are typed too widely for type checkers."""

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def folded(network: nn.Module) -> fx.GraphModule:
    """A copy of the network for evaluation, with the same results: fewer steps, none of them in place.

    Raises `HrkitError` if the network cannot be traced, or modifies in place a value that it uses later.
    """
    graph = _traced(network)
    _take_away_no_ops(graph)
    _make_pure(graph)
    _make_modules(graph)
    _fold_batch_norm(graph)
    tidy(graph)
    return graph


def steps(graph: fx.GraphModule) -> list[Node]:
    """The steps in order, as a list that later changes of the graph do not affect."""
    return list(graph.graph.nodes)


def modules(graph: fx.GraphModule, kind: type[nn.Module] = nn.Module) -> Iterator[tuple[Node, Any]]:  # Any: of `kind`
    """The steps that call a module of a kind, in order, each with its module."""
    for node in steps(graph):
        if node.op == "call_module" and isinstance(graph.get_submodule(node.target), kind):
            yield node, graph.get_submodule(node.target)


def put(graph: fx.GraphModule, node: Node, module: nn.Module, *inputs: Node) -> Node:
    """Replaces a step by one that calls a module."""
    name = f"{node.name}_{len(graph._modules)}"
    graph.add_submodule(name, module)
    with graph.graph.inserting_before(node):
        new = graph.graph.call_module(name, inputs)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)
    return new


def tidy(graph: fx.GraphModule) -> None:
    """Removes unused steps and modules, and recompiles the graph."""
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.graph.lint()
    graph.recompile()


class _Tracer(fx.Tracer):
    """Traces into modules that contain convolutions; each other module is one step."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, nn.Sequential) or type(m).forward is nn.Module.forward:
            return False
        return type(m) in CONVOLUTIONS or not any(isinstance(part, nn.Conv2d) for part in m.modules())


def _traced(network: nn.Module) -> fx.GraphModule:
    copied = copy.deepcopy(network).eval()
    try:
        return fx.GraphModule(copied, _Tracer().trace(copied))
    except Exception as error:  # from whatever the network does with a value that is no tensor while traced
        raise HrkitError(f"{type(network).__name__} cannot be traced ({error})") from None


def _take_away_no_ops(graph: fx.GraphModule) -> None:
    for node, module in modules(graph):
        if isinstance(module, (nn.Identity, nn.Dropout, nn.Dropout2d)):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)


def _make_pure(graph: fx.GraphModule) -> None:
    """Replaces in-place steps, so that steps can be moved."""
    order = {node: index for index, node in enumerate(steps(graph))}
    for node in steps(graph):
        module: Any = graph.get_submodule(node.target) if node.op == "call_module" else None  # Any: `inplace` is set
        in_place = getattr(module, "inplace", False) is True or node.kwargs.get("inplace", False)
        in_place = in_place or node.target in _IN_PLACE or (node.op == "call_method" and node.target[-1] == "_")
        if not in_place:
            continue
        if node.op == "call_method" or any(order[user] > order[node] for user in node.args[0].users):
            raise HrkitError(f"what {node.name} changes in place is used later")
        if module is not None:
            module.inplace = False
        elif node.target in _IN_PLACE:
            node.target = _IN_PLACE[node.target]
        else:
            node.kwargs = {**node.kwargs, "inplace": False}


_IN_PLACE = {operator.iadd: operator.add, operator.imul: operator.mul, torch.relu_: torch.relu}


def _make_modules(graph: fx.GraphModule) -> None:
    """Replaces calls of `conv2d` with weights of the network by modules."""
    for node in steps(graph):
        if node.op != "call_function" or node.target is not torch.conv2d or node.kwargs:
            continue
        given: list[Node] = [*node.args, *_CONV_DEFAULTS[len(node.args) - 2 :]]
        x, weight, bias, stride, padding, dilation, groups = given
        if weight.op != "get_attr" or not (bias is None or bias.op == "get_attr") or isinstance(padding, str):
            continue
        values = operator.attrgetter(weight.target)(graph)
        out_channels, channels, *size = values.shape
        conv = nn.Conv2d(
            channels * groups, out_channels, size, stride, padding, dilation, groups, bias=bias is not None
        ).eval()
        conv.weight = values
        if bias is not None:
            conv.bias = operator.attrgetter(bias.target)(graph)
        put(graph, node, conv, x)


_CONV_DEFAULTS = (None, 1, 0, 1, 1)


def _after_norm(norm: nn.BatchNorm2d) -> nn.Module | None:
    """The activation inside a batch norm of timm, an identity for torch's, None for an unknown kind."""
    parts = dict(norm.named_children())
    if type(norm) is nn.BatchNorm2d or (set(parts) == {"drop", "act"} and isinstance(parts["drop"], nn.Identity)):
        return parts.get("act", nn.Identity())
    return None


def _fold_batch_norm(graph: fx.GraphModule) -> None:
    """Folds each norm into the convolution before it, if nothing else uses that; activations of timm's norms stay."""
    for node, norm in modules(graph, nn.BatchNorm2d):
        before = node.args[0]
        if before.op != "call_module" or len(before.users) > 1:
            continue
        conv: Any = graph.get_submodule(before.target)  # Any: a convolution, as is checked below
        act = _after_norm(norm)
        grouped = isinstance(conv, nn.ConvTranspose2d) and conv.groups > 1  # output channels in two dimensions
        if type(conv) not in CONVOLUTIONS or act is None or grouped:
            continue
        folded = put(graph, before, fuse_conv_bn_eval(conv, norm, isinstance(conv, nn.ConvTranspose2d)), *before.args)
        if isinstance(act, nn.Identity):
            node.replace_all_uses_with(folded)
            graph.graph.erase_node(node)
        else:
            put(graph, node, act, folded)
