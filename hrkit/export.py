"""Networks as files for other runtimes, with everything needed to use them, and compared with PyTorch."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any  # metadata are values of many types

import numpy as np
import torch
from attrs import frozen
from torch import Tensor, nn

from hrkit import __version__
from hrkit.datasets.augmentation import PersonCrops
from hrkit.datasets.base import KeypointDataset
from hrkit.detectors.base import Detector
from hrkit.errors import HrkitError, UnknownNameError, one_line
from hrkit.files import FilePath
from hrkit.ops.tensors import Outputs, parts_of
from hrkit.pose_model import PoseModel
from hrkit.runtimes.conversion import INPUT, require, to_int8, to_onnx, to_program, to_sized_openvino
from hrkit.runtimes.exported import OnnxNetwork, OpenvinoNetwork
from hrkit.structures import Size

TOLERANCE = 1e-3
"""Largest accepted difference between an exported network and PyTorch."""

BATCHES = (1, 3)
"""Batch sizes for the comparison."""

CALIBRATION_PEOPLE = 300
"""Number of crops that int8 is calibrated with."""


@frozen(eq=False)
class Exportable:
    """A network, and what a user of the file must know about it."""

    name: str
    network: nn.Module
    input_size: Size
    """(height, width) px."""
    output: str
    """Name of the output; if there are several, their names with ", " between them."""
    metadata: Mapping[str, Any]
    """Texts, numbers and lists of them, by name."""

    @property
    def example(self) -> Tensor:
        """An input, (1,3,H,W)."""
        return torch.zeros(1, 3, *self.input_size)

    @property
    def names(self) -> list[str]:
        """The names of the outputs."""
        return self.output.split(", ")

    @property
    def texts(self) -> dict[str, str]:
        """The metadata and the names of input and output, as texts; other values are written as JSON."""
        everything = {"input": INPUT, "output": self.output, **self.metadata}
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in everything.items()}

    @torch.no_grad()
    def outputs(self) -> list[tuple[Tensor, Outputs]]:
        """Random inputs in batches of `BATCHES`, each with the outputs of the network.

        Raises `HrkitError` if the network does not run, or gives other tensors than `output` names.
        """
        generator, (height, width) = torch.Generator().manual_seed(0), self.input_size
        pairs = []
        for size in BATCHES:
            images = torch.rand(size, 3, height, width, generator=generator)
            try:
                expected = self.network(images)
            except (HrkitError, OSError):
                raise
            except Exception as error:  # the network of a plugin may raise anything
                raise HrkitError(f"{self.name} does not run at {height}x{width} ({one_line(error)})") from error
            found = parts_of(expected)
            if len(found) != len(self.names) or not all(isinstance(part, Tensor) for part in found):
                wanted = "only one tensor can be exported" if len(self.names) == 1 else f"wanted tensors {self.output}"
                raise HrkitError(f"{self.name} gives {type(expected).__name__}; {wanted}")
            pairs.append((images, expected))
        return pairs


def exportable_pose_model(model: PoseModel, weights: str) -> Exportable:
    """A pose network as it can be exported; `weights` is the name or the file of its weights."""
    spec, skeleton = model.spec, model.skeleton
    metadata = {
        "kind": "pose", "backbone": model.name, "head": spec.head, "weights": weights,
        "margin": spec.margin, "codec": spec.codec, "sigma": spec.sigma, "codec_options": spec.codec_options,
        "skeleton": skeleton.name,
        "keypoint_names": skeleton.keypoint_names, "flip_pairs": skeleton.flip_pairs,
        **_input(model.input_size, spec.mean, spec.std, spec.channel_order),
    }
    names: Sequence[str] = getattr(model.head, "output_names", ("heatmaps",))
    return Exportable(model.name, model, model.input_size, ", ".join(names), metadata)


def exportable_detector(detector: Detector, name: str, weights: str, input_size: Size | None = None) -> Exportable:
    """The network of a detector as it can be exported, for frames of `input_size` or else its own size.

    Input and output are described as those of Darknet's networks, unless the detector has `export_metadata` of its own.
    Raises `HrkitError` as `detector_network` does.
    """
    network, size = detector_network(detector, name)
    size = input_size or size
    metadata = {
        "kind": "detector", "detector": name, "weights": weights,
        "columns": ["center_x", "center_y", "width", "height", "objectness", "probability of each class"],
        "class_names": list(getattr(detector, "class_names", ())),
        **_input(size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "rgb"),
        **getattr(detector, "export_metadata", {}),
    }
    return Exportable(name, network, size, "predictions", metadata)


def detector_network(detector: Detector, name: str) -> tuple[nn.Module, Size]:
    """The network of a detector, and the (height, width) of its input.

    Raises `HrkitError` unless the network takes batches of one size, as Darknet's do: (N,3,H,W) RGB in 0..1 ->
    (N,A,5+C).
    """
    network, size = getattr(detector, "network", None), getattr(detector, "input_size", None)
    if not isinstance(network, nn.Module) or not isinstance(size, int | tuple):
        raise HrkitError(f"the detector {name!r} cannot be exported or counted: it has no network of one input size")
    return network, (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _input(size: Size, mean: Sequence[float], std: Sequence[float], channel_order: str) -> dict[str, Any]:
    normalisation = {"mean": list(mean), "std": list(std), "channel_order": channel_order}
    return {"hrkit_version": __version__, "input_size": list(size), **normalisation}


def calibration_crops(model: PoseModel, people: KeypointDataset) -> list[Tensor]:
    """The crops of `CALIBRATION_PEOPLE` random people, normalised for the network, (1,3,H,W) each."""
    crops = PersonCrops(people, model.input_size, model.create_codec().udp, margin=model.spec.margin)
    rows = np.random.default_rng(0).permutation(len(people))[:CALIBRATION_PEOPLE]
    return [model.normalise(torch.from_numpy(crops[0, 0, row].crop)[None]) for row in rows.tolist()]


def checked_format(path: FilePath, name: str | None = None, *, int8: bool = False) -> str:
    """The format `name`, or that of the ending of `path` if None.

    Raises `UnknownNameError` for an unknown format, and `HrkitError` for an ending that does not fit the format, for
    int8 in another format than OpenVINO's, and if packages are missing.
    """
    endings = {kind: known.ending for kind, known in FORMATS.items()}
    name = name or {ending: kind for kind, ending in endings.items()}.get(Path(path).suffix)
    if name is None:
        raise HrkitError(f"{os.fspath(path)}: end its name in {' or '.join(endings.values())}, or name the format")
    if name not in endings:
        raise UnknownNameError("format", name, endings)
    if Path(path).suffix != endings[name]:
        raise HrkitError(f"{os.fspath(path)}: the name of a file of the format {name} ends in {endings[name]}")
    if int8 and name != "openvino":
        raise HrkitError(f"int8 is for the format openvino, not for {name}")
    if name != "torch-export":
        require("int8" if int8 else name)
    return name


def export(
    subject: Exportable, path: FilePath, format: str | None = None, *, calibration: Sequence[Tensor] | None = None
) -> float:
    """Writes the file, runs it, and returns the largest difference to PyTorch, relative for values above 1.

    `format` is one of `FORMATS`, by default that of the ending of `path`. OpenVINO puts a `.bin` beside its `.xml`.
    With `calibration`, inputs of (1,3,H,W), an OpenVINO file computes in int8.

    Raises as `checked_format` does, and `HrkitError` if the network cannot be exported or, except for int8, if the
    difference is above `TOLERANCE`. Then no file is written, and an old one stays as it was.
    """
    name = checked_format(path, format, int8=calibration is not None)
    kind = FORMATS[name]
    write = kind.write if calibration is None else functools.partial(_write_openvino, calibration=calibration)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}-", dir=target.parent) as folder:
        temporary = Path(folder, target.name)
        pairs = subject.outputs()
        write(subject, temporary)
        run = kind.load(temporary)
        with torch.no_grad():
            difference = float(np.max([_difference(run(images), expected) for images, expected in pairs]))  # or NaN
        del run  # closes the file
        if not difference <= (TOLERANCE if calibration is None else float("inf")):  # also for NaN
            raise HrkitError(f"{subject.name} as {name} differs from PyTorch by {difference:.1e}; no file was written")
        for written in Path(folder).iterdir():  # OpenVINO writes two
            os.replace(written, target.with_name(written.name))
    return difference


def _difference(found: Outputs, expected: Outputs) -> float:
    shapes = [[tuple(part.shape) for part in parts_of(outputs)] for outputs in (found, expected)]
    if shapes[0] != shapes[1]:
        raise HrkitError(f"the file gives {shapes[0]}, PyTorch {shapes[1]}; no file was written")
    pairs = zip(parts_of(found), parts_of(expected), strict=True)
    return float(np.max([float(((ours - wanted).abs() / wanted.abs().clamp(min=1)).max()) for ours, wanted in pairs]))


def _write_onnx(subject: Exportable, path: Path) -> None:
    model = to_onnx(subject.network, subject.example, outputs=subject.names)
    for name, text in subject.texts.items():
        model.metadata_props.add(key=name, value=text)
    path.write_bytes(model.SerializeToString())


def _write_openvino(subject: Exportable, path: Path, calibration: Sequence[Tensor] | None = None) -> None:
    import openvino

    if calibration is None:
        model = to_sized_openvino(subject.network, subject.example, outputs=subject.names)
    else:
        model = to_int8(subject.network, subject.example, calibration, outputs=subject.names)
    for name, text in subject.texts.items():
        model.set_rt_info(text, ["hrkit", name])
    openvino.save_model(model, path, compress_to_fp16=False)


def _write_program(subject: Exportable, path: Path) -> None:
    program = to_program(subject.network, subject.example)
    torch.export.save(program, path, extra_files={"hrkit.json": json.dumps(subject.texts, indent=1)})


@frozen
class Format:
    """A kind of file: its ending, and how it is written and loaded."""

    ending: str
    write: Callable[[Exportable, Path], None]
    load: Callable[[Path], Callable[[Tensor], Outputs]]


FORMATS = {
    "onnx": Format(".onnx", _write_onnx, OnnxNetwork),
    "openvino": Format(".xml", _write_openvino, lambda path: OpenvinoNetwork(path, "float32")),
    "torch-export": Format(".pt2", _write_program, lambda path: torch.export.load(path).module()),
}
"""The formats that networks can be exported to."""
