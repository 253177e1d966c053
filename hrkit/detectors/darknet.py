"""Darknet networks, built from a cfg and filled from Darknet's weights files.

Redmon and Farhadi, YOLOv3: An Incremental Improvement (arXiv:1804.02767), and the formats as Darknet reads them
(https://github.com/pjreddie/darknet, src/parser.c; its continuation https://github.com/AlexeyAB/darknet added grouped
routes, mish, swish, `scale_x_y` and `new_coords`). Layers are counted from 0, the first after `[net]`.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hrkit.detectors.darknet_cfg import Section
from hrkit.errors import HrkitError, WeightsError
from hrkit.files import FilePath
from hrkit.structures import Size
from hrkit.weights.checkpoints import check_finite

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "leaky": lambda: nn.LeakyReLU(0.1, inplace=True),
    "relu": lambda: nn.ReLU(inplace=True),
    "mish": lambda: nn.Mish(inplace=True),
    "swish": lambda: nn.SiLU(inplace=True),
    "logistic": nn.Sigmoid,
}
ANCHOR_UNIT = 1024  # anchors are kept in whole 1/1024 px


class Convolution(nn.Sequential):
    """Convolution, batch norm (or none), activation."""

    conv: nn.Conv2d
    norm: nn.Module

    def __init__(self, conv: nn.Conv2d, norm: nn.Module, activation: nn.Module) -> None:
        super().__init__(OrderedDict(conv=conv, norm=norm, activation=activation))


class MaxPool(nn.Module):
    """(N,C,H,W) -> (N,C,H/stride,W/stride) with size - 1 px of padding in total, the odd px at the right and bottom."""

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size: int = size
        self.stride: int = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.size % 2 == 0 and self.stride == 1:  # with other strides no window reaches the odd px
            x = functional.pad(x, (0, 1, 0, 1), value=-torch.inf)
        return functional.max_pool2d(x, self.size, self.stride, (self.size - 1) // 2)


class Route(nn.Module):
    """(N,C_i,H,W) each, or one of `groups` equal parts of each, concatenated: (N, sum of C_i / groups, H, W)."""

    def __init__(self, groups: int = 1, group: int = 0) -> None:
        super().__init__()
        self.groups: int = groups
        self.group: int = group

    def forward(self, *inputs: Tensor) -> Tensor:
        parts = [x.chunk(self.groups, 1)[self.group] for x in inputs]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


class Shortcut(nn.Module):
    """The sum of earlier outputs (N,C,H,W)."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        return self.activation(sum(others, start=first))


class YoloDecoder(nn.Module):
    """Decodes the last convolution of a scale to boxes in input px.

    `anchors` are (width, height) in px, and `stride` is the size of a cell in px. It computes in float32, because half
    precision is too coarse for positions of hundreds of px.
    """

    anchors: Tensor

    def __init__(
        self, anchors: Sequence[tuple[float, float]], stride: int, scale_xy: float = 1.0, new_coords: bool = False
    ) -> None:
        super().__init__()
        # integers, as casting a module to half precision would round floating-point buffers
        units = [[[[round(side * ANCHOR_UNIT)]] for side in anchor] for anchor in anchors]
        self.register_buffer("anchors", torch.tensor(units), persistent=False)
        self.stride: int = stride
        self.scale_xy: float = scale_xy
        self.new_coords: bool = new_coords

    def forward(self, x: Tensor) -> Tensor:
        """(N,a*(5+C),h,w) -> (N,a*h*w,5+C): cx, cy, width, height, objectness, class probabilities."""
        count, channels, height, width = x.shape
        x = x.float().reshape(count, len(self.anchors), channels // len(self.anchors), height, width)
        xy, wh, scores = x[:, :, :2], x[:, :, 2:4], x[:, :, 4:]
        anchors = self.anchors / ANCHOR_UNIT
        if self.new_coords:  # the preceding convolution has a logistic activation
            wh = (2 * wh).square() * anchors
        else:
            xy, wh, scores = xy.sigmoid(), wh.exp() * anchors, scores.sigmoid()
        xy = xy * self.scale_xy - (self.scale_xy - 1) / 2
        columns = torch.arange(width, device=x.device, dtype=x.dtype)
        rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None]
        cx, cy = (xy[:, :, :1] + columns) * self.stride, (xy[:, :, 1:] + rows) * self.stride
        return torch.cat([cx, cy, wh, scores], 2).flatten(3).transpose(2, 3).flatten(1, 2)


_Built = tuple[nn.Module, int, int]
"""A layer, its output channels, and its stride relative to the input of the network."""


@frozen
class _Layer:
    sources: tuple[int, ...]  # numbers of the layers whose outputs it takes
    module: nn.Module
    channels: int
    stride: int


class DarknetNetwork(nn.Module):
    """The network that the sections of a cfg describe.

    `num_classes` is C, and `input_size` the (height, width) that the cfg names; the sides of an input must be multiples
    of `stride`. Raises `HrkitError` that names section and line if the layers of the cfg do not fit together.
    """

    def __init__(self, sections: Sequence[Section]) -> None:
        super().__init__()
        channels = sections[0].integer("channels", 3)
        layers = {-1: _Layer((), nn.Identity(), channels, 1)}
        for section in sections[1:]:
            build, keys = _BUILDERS[section.name]
            section.expect_keys(keys)
            sources = _sources(section, layers)
            built = build(section, *(layers[source] for source in sources))
            layers[section.number] = _Layer(sources, *built)
        del layers[-1]
        heads = [section for section in sections if section.name == "yolo"]
        if not heads:
            raise HrkitError("the cfg has no [yolo] section, so its network finds nothing")
        self.num_classes: int = heads[0].integer("classes")
        for section in heads:
            if section.integer("classes") != self.num_classes:
                raise section.error(f"classes differ from the {self.num_classes} of section {heads[0].number}")
        self.channels = channels
        self.input_size: Size = (sections[0].integer("height", 416), sections[0].integer("width", 416))
        self.stride: int = max(layer.stride for layer in layers.values())
        self.layers: nn.ModuleList = nn.ModuleList(layer.module for layer in layers.values())
        self.sources: list[tuple[int, ...]] = [layer.sources for layer in layers.values()]
        last_use = {source: index for index, sources in enumerate(self.sources) for source in sources}
        self.last_use: list[set[int]] = [
            {source for source in sources if last_use[source] == index} for index, sources in enumerate(self.sources)
        ]

    def forward(self, images: Tensor) -> Tensor:
        """(N,3,H,W) RGB in 0..1 -> (N,A,5+C) float32: cx, cy, width, height (input px), objectness, probabilities.

        Class probabilities are independent of each other. Rows are ordered by scale (as in the cfg), anchor, row and
        column. Raises `HrkitError` if H or W is not a multiple of `stride`.
        """
        _check_sides(images.shape[-2], images.shape[-1], self.stride)
        values, predictions = {-1: images}, []
        for index, layer in enumerate(self.layers):
            value = layer(*(values[source] for source in self.sources[index]))
            for source in self.last_use[index]:
                del values[source]
            if isinstance(layer, YoloDecoder):
                predictions.append(value)
            else:
                values[index] = value
        return torch.cat(predictions, 1)


@torch.fx.wrap  # tracers do not look into it
def _check_sides(height: int, width: int, stride: int) -> None:
    if height % stride or width % stride or not height or not width:
        raise HrkitError(f"input of {width}x{height} px; width and height must be multiples of {stride}")


def _sources(section: Section, layers: dict[int, _Layer]) -> tuple[int, ...]:
    """Numbers of the layers that a section takes. Those that it names count from the start, or, if negative, back."""
    sources = [] if section.name == "route" else [section.number - 1]
    if sources and isinstance(layers[sources[0]].module, YoloDecoder):
        raise section.error("a [yolo] section ends its branch; only [route] may follow it")
    key = {"route": "layers", "shortcut": "from"}.get(section.name)
    for index in section.numbers(key, int) if key else ():
        number = section.number + index if index < 0 else index
        if not 0 <= number < section.number or isinstance(layers[number].module, YoloDecoder):
            raise section.error(f"{index} names no earlier layer with features")
        sources.append(number)
    return tuple(sources)


def _convolutional(section: Section, before: _Layer) -> _Built:
    filters, size, stride = section.integer("filters", 1), section.integer("size", 1), section.integer("stride", 1)
    groups, dilation = section.integer("groups", 1), section.integer("dilation", 1)
    padding = section.integer("padding", 0, low=0)
    if section.integer("pad", 0, low=0):
        padding = size // 2 * dilation
    if before.channels % groups or filters % groups:
        raise section.error(f"groups={groups} divide neither {before.channels} channels into {filters} filters")
    if not -stride <= 2 * padding - dilation * (size - 1) - 1 < 0:
        raise section.error(f"size={size} with {padding} px of padding does not keep the grid; set pad=1")
    normalise = section.integer("batch_normalize", 0, low=0) > 0
    conv = nn.Conv2d(before.channels, filters, size, stride, padding, dilation, groups, bias=not normalise)
    norm = nn.BatchNorm2d(filters, eps=1e-5) if normalise else nn.Identity()
    return Convolution(conv, norm, _activation(section, "logistic")), filters, before.stride * stride


def _maxpool(section: Section, before: _Layer) -> _Built:
    stride = section.integer("stride", 1)
    size = section.integer("size", stride)
    if section.integer("padding", size - 1, low=0) != size - 1:
        raise section.error(f"padding must be size - 1, {size - 1}")
    return MaxPool(size, stride), before.channels, before.stride * stride


def _upsample(section: Section, before: _Layer) -> _Built:
    factor = section.integer("stride", 2)
    if before.stride % factor:
        raise section.error(f"stride={factor} would make the grid finer than the input")
    return nn.Upsample(scale_factor=factor), before.channels, before.stride // factor


def _route(section: Section, *inputs: _Layer) -> _Built:
    groups = section.integer("groups", 1)
    group = section.integer("group_id", 0, low=0, high=groups - 1)
    if len({layer.stride for layer in inputs}) != 1:
        raise section.error(f"layers={section.options['layers']} differ in height and width")
    if any(layer.channels % groups for layer in inputs):
        raise section.error(f"the channels of its layers cannot be cut into {groups} groups")
    return Route(groups, group), sum(layer.channels // groups for layer in inputs), inputs[0].stride


def _shortcut(section: Section, *inputs: _Layer) -> _Built:
    if len({(layer.channels, layer.stride) for layer in inputs}) != 1:
        raise section.error(f"from={section.options['from']} differ in shape from the layer before and cannot be added")
    return Shortcut(_activation(section, "linear")), inputs[0].channels, inputs[0].stride


def _yolo(section: Section, before: _Layer) -> _Built:
    classes, flat = section.integer("classes"), section.numbers("anchors", float)
    anchors = list(zip(flat[::2], flat[1::2], strict=False))
    if len(flat) % 2 or len(anchors) != section.integer("num", len(anchors)) or min(flat) <= 0:
        raise section.error(f"anchors must be num pairs of widths and heights above 0; got {len(flat)} numbers")
    mask = section.numbers("mask", int) if "mask" in section.options else range(len(anchors))
    if not all(0 <= index < len(anchors) for index in mask):
        raise section.error(f"mask={section.options['mask'][:60]!r} names an anchor that is not there")
    wanted = len(mask) * (5 + classes)
    if before.channels != wanted:
        problem = f"{len(mask)} anchors of {classes} classes take {wanted} filters"
        raise section.error(f"{problem}, the layer before has {before.channels}")
    scale_xy, new_coords = section.real("scale_x_y", 1.0), section.integer("new_coords", 0, low=0, high=1)
    module = YoloDecoder([anchors[index] for index in mask], before.stride, scale_xy, bool(new_coords))
    return module, 0, before.stride


_BUILDERS: dict[str, tuple[Callable[..., _Built], str]] = {
    "convolutional": (_convolutional, "batch_normalize filters size stride pad padding groups dilation activation"),
    "maxpool": (_maxpool, "size stride padding"),
    "upsample": (_upsample, "stride"),
    "route": (_route, "layers groups group_id"),
    "shortcut": (_shortcut, "from activation"),
    "yolo": (_yolo, ""),
}
"""Section -> builder of its layer, and the keys that change what the layer computes; "" lets every key pass."""


def _activation(section: Section, default: str) -> nn.Module:
    name = section.options.get("activation", default)
    if name not in ACTIVATIONS:
        raise section.error(f"unknown activation {name[:60]!r}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def load_darknet_weights(network: DarknetNetwork, path: FilePath) -> None:
    """Fills `network` from a Darknet weights file.

    The file holds int32 major, minor and revision; the number of pictures seen, as 64 bits from version 0.2 on and 32
    before; then float32 values, per convolution: bias; scale, mean and variance if it has a batch norm; weight. Raises
    `WeightsError`, and leaves the network as it was, if the file cannot be read, has another length or holds NaN.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            header, size = file.read(12), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise WeightsError(f"cannot read the weights {name}: {error.strerror or error}") from error
    if header.lstrip()[:1] == b"<":
        raise WeightsError(f"{name} is a web page, not Darknet weights ({size} bytes); download the file itself again")
    tensors = list(_in_file_order(network))
    major, minor, _ = np.frombuffer(header, "<i4") if len(header) == 12 else (0, 2, 0)
    if not (0 <= major < 1000 and 0 <= minor < 1000):
        raise WeightsError(f"{name} is not a Darknet weights file (version {major}.{minor}); give a .weights file")
    start = 20 if major * 10 + minor >= 2 else 16
    expected = start + 4 * sum(tensor.numel() for tensor in tensors)
    if size != expected:
        why = "is cut short" if size < expected else "is too long"
        why += f": expected {expected} bytes for this network, found {size}"
        raise WeightsError(f"{name} {why}; download it again, or give the cfg that belongs to it")
    parts = torch.from_numpy(np.fromfile(path, "<f4", offset=start)).split([tensor.numel() for tensor in tensors])
    names = {id(tensor): key for key, tensor in network.state_dict(keep_vars=True).items()}
    check_finite({names[id(tensor)]: part for tensor, part in zip(tensors, parts, strict=True)}, name)
    with torch.no_grad():
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))


def _in_file_order(network: DarknetNetwork) -> Iterator[Tensor]:
    for layer in network.layers:
        if isinstance(layer, Convolution):
            norm = layer.norm
            if isinstance(norm, nn.BatchNorm2d):
                yield from (norm.bias, norm.weight, norm.get_buffer("running_mean"), norm.get_buffer("running_var"))
            else:
                yield layer.conv.get_parameter("bias")
            yield layer.conv.weight


def fold_batch_norm(network: DarknetNetwork) -> None:
    """Folds every batch norm into its convolution: the same predictions for less work in evaluation mode."""
    for layer in network.layers:
        if isinstance(layer, Convolution) and isinstance(layer.norm, nn.BatchNorm2d):
            layer.conv = fuse_conv_bn_eval(layer.conv.eval(), layer.norm.eval())
            layer.norm = nn.Identity()
