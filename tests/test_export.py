"""Exported files give what PyTorch gives, say what they are, and are there only if they are right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from hrkit import create_detector, create_pose_model, registry
from hrkit.errors import HrkitError, UnknownNameError
from hrkit.export import (
    FORMATS,
    TOLERANCE,
    Exportable,
    Format,
    checked_format,
    export,
    exportable_detector,
    exportable_pose_model,
)
from trained_like import trained_like, trained_like_pose_model

pytestmark = pytest.mark.usefixtures("one_thread")


def _pose(name: str, size: tuple[int, int], head: str | None = None) -> Exportable:
    model = create_pose_model(name, input_size=size, head=head)
    return exportable_pose_model(trained_like_pose_model(model), "none")


def _narrow_hrnet() -> Exportable:
    """One exchange module a stage: all kinds of layers, a third of the time."""
    model = create_pose_model("hrnet_w8", input_size=(128, 96))
    trunk = model.backbone
    del trunk.stage3[1:], trunk.stage4[:2]
    return exportable_pose_model(trained_like_pose_model(model), "none")


def _lite() -> Exportable:
    if "lite" not in registry.backbones:
        pytest.skip("needs the plugin hrkit-lite")
    return exportable_pose_model(create_pose_model("lite", weights="lite-coco-256x192"), "lite-coco-256x192")


def _yolov3_tiny() -> Exportable:
    detector = create_detector("yolov3_tiny", weights=None)
    trained_like(detector.network)
    return exportable_detector(detector, "yolov3_tiny", "none", (96, 64))


NETWORKS: dict[str, Callable[[], Exportable]] = {
    "lite": _lite,
    "hrnet": _narrow_hrnet,
    "pose_resnet": lambda: _pose("pose_resnet_18", (64, 32)),
    "timm": lambda: _pose("timm/test_resnet", (64, 64), head="fpn"),
    "yolov3_tiny": _yolov3_tiny,
}


@pytest.fixture
def small() -> Exportable:
    return _pose("timm/test_resnet", (64, 32))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx(name: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    subject = NETWORKS[name]()
    path = tmp_path / "network.onnx"
    assert export(subject, path) < TOLERANCE
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.onnx"]
    graph = onnx.load(path).graph
    assert not any("Norm" in node.op_type for node in graph.node)
    assert {tensor.data_type for tensor in graph.initializer} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
    assert str(Path(torch.__file__).parent) not in path.read_bytes().decode("latin-1")  # nobody's folders are in it

    session = onnxruntime.InferenceSession(path)
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.shape) == ("images", ["batch", 3, *subject.input_size])
    assert (given.name, given.shape[0]) == (subject.output, "batch")
    images = torch.randn(5, 3, *subject.input_size, generator=torch.Generator().manual_seed(1))
    expected = subject.network(images).detach()
    assert expected.abs().max() > 0.05  # large enough for differences to show
    (found,) = session.run([subject.output], {"images": images.numpy()})
    difference = np.abs(found - expected.numpy()) / np.maximum(1, np.abs(expected.numpy()))
    assert difference.max() < TOLERANCE
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["input_size"]) == list(subject.input_size)


@pytest.mark.slow
def test_torch_export(small: Exportable, tmp_path: Path) -> None:
    path = tmp_path / "network.pt2"
    assert export(small, path) < TOLERANCE
    extra = {"hrkit.json": ""}
    program = torch.export.load(path, extra_files=extra)
    images = torch.randn(4, 3, *small.input_size)
    torch.testing.assert_close(program.module()(images), small.network(images), rtol=TOLERANCE, atol=TOLERANCE)
    metadata = json.loads(extra["hrkit.json"])
    assert metadata["backbone"] == "timm/test_resnet"
    assert json.loads(metadata["mean"]) == [0.5, 0.5, 0.5]


@pytest.mark.slow
def test_openvino(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    subject = _yolov3_tiny()
    path = tmp_path / "network.xml"
    assert export(subject, path) < TOLERANCE
    assert {entry.name for entry in tmp_path.iterdir()} == {"network.xml", "network.bin"}
    model = openvino.Core().read_model(path)
    assert model.input("images").partial_shape.to_string() == "[?,3,96,64]"
    assert model.output("predictions").partial_shape.to_string() == "[?,90,85]"
    constants = {node.get_element_type().to_string() for node in model.get_ops() if node.get_type_name() == "Constant"}
    assert constants <= {"f32", "i64", "i32"}  # nothing was rounded to half precision
    assert model.get_rt_info(["hrkit", "channel_order"]).value == "rgb"


def test_the_metadata_of_a_pose_network() -> None:
    metadata = _lite().metadata
    assert metadata["codec"] == "dark"
    assert metadata["sigma"] == 2
    assert metadata["skeleton"] == "coco17"
    assert metadata["keypoint_names"][0] == "nose"
    assert ("left_eye", "right_eye") in [tuple(pair) for pair in metadata["flip_pairs"]]
    assert metadata["mean"] == metadata["std"] == [0.5, 0.5, 0.5]
    assert metadata["channel_order"] == "rgb"
    assert metadata["input_size"] == [256, 192]
    assert metadata["weights"] == "lite-coco-256x192"


def test_the_metadata_of_a_detector() -> None:
    metadata = _yolov3_tiny().metadata
    assert metadata["class_names"][0] == "person"
    assert metadata["columns"][:5] == ["center_x", "center_y", "width", "height", "objectness"]
    assert metadata["input_size"] == [96, 64]


@pytest.mark.parametrize(
    ("path", "name", "found"),
    [("a.onnx", None, "onnx"), ("a.b/c.xml", None, "openvino"), ("a.pt2", "torch-export", "torch-export")],
)
def test_the_format_is_what_the_ending_says(
    path: str, name: str | None, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrkit.export.require", lambda extra: None)
    assert checked_format(path, name) == found


@pytest.mark.parametrize(
    ("path", "name", "int8", "error", "says"),
    [
        ("a.trt", None, False, HrkitError, r"a\.trt: end its name in \.onnx or \.xml or \.pt2, or name the format"),
        ("a.onnx", "onx", False, UnknownNameError, "unknown format 'onx'; did you mean onnx"),
        ("a.onnx", "openvino", False, HrkitError, r"a\.onnx: .* of the format openvino ends in \.xml"),
        ("a.pt2", None, True, HrkitError, "int8 is for the format openvino, not for torch-export"),
    ],
)
def test_wrong_formats(path: str, name: str | None, int8: bool, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        checked_format(path, name, int8=int8)


@pytest.mark.slow
def test_a_file_that_differs_is_not_left(small: Exportable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "network.pt2"
    path.write_bytes(b"the old one")
    pairs = [(images, expected + 0.01) for images, expected in small.outputs()]
    monkeypatch.setattr(Exportable, "outputs", lambda self: pairs)
    with pytest.raises(HrkitError, match=r"differs from PyTorch by .*; no file was written"):
        export(small, path)
    assert path.read_bytes() == b"the old one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.pt2"]


def test_nan_is_not_exported_in_int8(small: Exportable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its difference has no limit, but must be a number."""
    network = Format(".xml", lambda *given: None, lambda path: lambda images: small.network(images) * float("nan"))
    monkeypatch.setitem(FORMATS, "openvino", network)
    monkeypatch.setattr("hrkit.export.checked_format", lambda path, name, int8: "openvino")
    monkeypatch.setattr("hrkit.export._write_openvino", lambda subject, path, calibration: path.write_bytes(b""))
    with pytest.raises(HrkitError, match=r"differs from PyTorch by nan; no file was written"):
        export(small, tmp_path / "network.xml", calibration=[small.example])
    assert not any(tmp_path.iterdir())


def test_a_network_that_fails(tmp_path: Path) -> None:
    class Fails(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("one\n  two")

    with pytest.raises(HrkitError, match=r"^theirs does not run at 8x8 \(one two\)$"):
        export(Exportable("theirs", Fails(), (8, 8), "output", {}), tmp_path / "theirs.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_several_outputs(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images, images

    with pytest.raises(HrkitError, match="theirs gives tuple; only one tensor can be exported"):
        export(Exportable("theirs", Two(), (8, 8), "output", {}), tmp_path / "theirs.pt2")


def test_a_detector_without_a_network() -> None:
    detector = SimpleNamespace(detect=lambda images: [])
    with pytest.raises(HrkitError, match="'theirs' cannot be exported or counted: it has no network of one input"):
        exportable_detector(detector, "theirs", "none")
