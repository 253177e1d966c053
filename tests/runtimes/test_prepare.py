"""Networks that are made fast give what they gave before."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hrkit import Pipeline
from hrkit.detectors.darknet import DarknetNetwork
from hrkit.detectors.darknet_cfg import read_cfg
from hrkit.detectors.yolov3 import CFG_FOLDER
from hrkit.errors import HrkitError, UnknownNameError
from hrkit.hookspecs import hookimpl
from hrkit.pipeline import create_detector
from hrkit.pose_model import create_pose_model
from hrkit.registry import plugins
from hrkit.runtimes import fused, prepare
from hrkit.runtimes.folding import folded
from hrkit.runtimes.fused import Fused, FusedConv2d, available

CPU = torch.device("cpu")

needs_onednn = pytest.mark.skipif(not available(), reason="this torch has no oneDNN")


def randomised(network: nn.Module) -> nn.Module:
    """With weights and statistics that let something through."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(part.weight, generator=random)
            elif isinstance(part, nn.BatchNorm2d):
                for values, low, high in (
                    (part.weight, 0.5, 1.0),
                    (part.running_var, 0.5, 1.5),
                    (part.bias, -0.2, 0.2),
                    (part.running_mean, -0.2, 0.2),
                ):
                    assert values is not None
                    values.uniform_(low, high, generator=random)
    return network.eval()


def images(count: int, side: int = 64) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(count))


def pose_network(name: str) -> Callable[[], nn.Module]:
    return lambda: randomised(create_pose_model(name, input_size=(64, 64)))


def yolo() -> nn.Module:
    return randomised(DarknetNetwork(read_cfg(CFG_FOLDER / "yolov3-tiny.cfg")))


NETWORKS = {
    **{
        name: pose_network(name)
        for name in ("hrnet_w4", "pose_resnet_18", "timm/resnet10t", "timm/mobilenetv3_small_050", "timm/convnext_atto")
    },
    "yolov3_tiny": yolo,
}


def difference(result: Tensor, expected: Tensor) -> float:
    """Relative, over all values."""
    return ((result.float() - expected).norm() / expected.norm()).item()


@pytest.mark.slow
@needs_onednn
@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_every_kind_of_network(name: str) -> None:
    network = NETWORKS[name]()
    before = copy.deepcopy(network.state_dict())
    exact = Fused(network, images(1), torch.float32)
    rounded = Fused(network, images(1), torch.bfloat16) if available(torch.bfloat16) else None
    kinds = {type(part) for part in exact.modules()}
    assert FusedConv2d in kinds
    assert not kinds & {nn.Conv2d, nn.BatchNorm2d}
    for count in (1, 3, 1, 2):  # weights are packed for one and for several
        expected = network(images(count))
        assert difference(exact(images(count)), expected) < 1e-5
        assert rounded is None or difference(rounded(images(count)), expected) < 0.02
    assert all(torch.equal(values, before[key]) for key, values in network.state_dict().items())
    twin = copy.deepcopy(exact)
    torch.testing.assert_close(twin(images(2)), exact(images(2)))


@needs_onednn
@torch.inference_mode()
def test_large_batches_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    network = randomised(Layers("plain"))
    made = Fused(network, images(1, 8), torch.float32)
    sizes: list[int] = []
    made.graph.register_forward_pre_hook(lambda graph, given: sizes.append(len(given[0])))
    monkeypatch.setattr(fused, "AT_ONCE", 3)
    for count, parts in ((0, [0]), (3, [3]), (7, [3, 3, 1])):
        sizes.clear()
        torch.testing.assert_close(made(images(count, 8)), network(images(count, 8)), rtol=1e-4, atol=1e-4)
        assert sizes == parts


class Layers(nn.Module):
    """What networks do with convolutions, and what must not be mistaken for it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect" if kind == "reflect" else "zeros")
        self.second = nn.Conv2d(4, 4, 3, padding="same" if kind == "same" else 1, dilation=1)
        self.one = nn.Conv2d(3, 1, 1)
        self.norm, self.relu = nn.BatchNorm2d(4), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        if self.kind == "two uses":
            return self.relu(self.second(first)) + first
        if self.kind == "twice":
            return self.second(self.second(first))
        if self.kind == "broadcast":
            return self.relu(self.one(x) + first)
        if self.kind == "itself":
            return first + first
        if self.kind == "number":
            return self.second(first) + 1
        if self.kind == "scaled":
            return torch.add(first, self.second(first), alpha=2)
        if self.kind == "norm of two uses":
            return self.norm(first) + first
        if self.kind == "functions":
            weighted = F.conv2d(first, self.second.weight, None, 2, 1)
            return F.relu6(weighted, inplace=True)
        if self.kind == "in place":
            first += self.second(first)
            return F.relu(first, inplace=True)
        return self.relu(self.second(first))


@needs_onednn
@pytest.mark.parametrize(
    "kind",
    ["two uses", "twice", "broadcast", "itself", "number", "scaled", "norm of two uses", "functions", "in place"]
    + ["reflect", "same", "plain"],
)
@torch.inference_mode()
def test_what_looks_like_it_and_what_does_not(kind: str) -> None:
    network = randomised(Layers(kind))
    fused = Fused(network, images(1, 8), torch.float32)
    for count in (1, 2):
        torch.testing.assert_close(fused(images(count, 8)), network(images(count, 8)), rtol=1e-4, atol=1e-4)


class Overwriting(nn.Module):
    """Uses what an activation has changed in place, which no graph of results tells."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.relu(x)
        return x + 2 * y


class Branching(nn.Module):
    """Decides by what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.mean() > 0 else x


@pytest.mark.parametrize("kind", [Overwriting, Branching])
@torch.inference_mode()
def test_what_cannot_be_made_fast_works_as_it_is(kind: type[nn.Module]) -> None:
    network = kind()
    with pytest.raises(HrkitError, match=r"used later|cannot be traced"):
        folded(network)
    prepared = prepare.prepare(network, images(1), CPU, "float32")
    torch.testing.assert_close(prepared(images(2)), network(images(2)))


@pytest.mark.slow
def test_the_precision_fits_processor_and_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(name: str) -> torch.dtype:
        return prepare.choose_precision(create_pose_model(name, input_size=(64, 64)), CPU)

    monkeypatch.setattr(prepare, "_cpu_has_bfloat16", lambda: True)
    assert choose("hrnet_w4") == choose("pose_resnet_18") == torch.bfloat16
    assert choose("timm/mobilenetv3_small_050") == choose("synthetic") == torch.float32
    monkeypatch.setattr(prepare, "_cpu_has_bfloat16", lambda: False)
    assert choose("hrnet_w4") == torch.float32
    network = create_pose_model("hrnet_w4", input_size=(64, 64))
    assert prepare.choose_precision(network, CPU, "float16") == torch.float16
    with pytest.raises(HrkitError, match="unknown precision 'int4'"):
        prepare.choose_precision(network, CPU, "int4")


@pytest.mark.slow
@torch.inference_mode()
def test_whatever_the_cpu_can_do_float16_runs() -> None:
    model = create_pose_model("hrnet_w4", input_size=(96, 64), num_joints=5)
    exact, half = (model.prepared(precision=name) for name in ("float32", "float16"))
    crops = half.normalise(torch.zeros(2, 96, 64, 3, dtype=torch.uint8))
    assert crops.dtype == torch.float16
    torch.testing.assert_close(half.outputs(crops), exact.outputs(crops.float()), atol=0.05, rtol=0.05)


@needs_onednn
@torch.inference_mode()
def test_int8_is_for_networks_of_hrkit_by_openvino() -> None:
    model = create_pose_model("timm/test_resnet", input_size=(64, 64))
    with pytest.raises(HrkitError, match="computed by OpenVINO; leave runtime at auto"):
        model.prepared(precision="int8", runtime="onnx")
    with pytest.raises(HrkitError, match="int8 is for networks of hrkit"):
        prepare.prepare(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 8, 8), CPU, "int8")


@pytest.mark.slow
def test_a_prepared_model_knows_what_it_knew(tmp_path: Path) -> None:
    model = create_pose_model("hrnet_w4", input_size=(96, 64), num_joints=5)
    fast = model.prepared(precision="bfloat16")
    assert (fast.heatmap_size, fast.name, fast.spec) == ((24, 16), model.name, model.spec)
    assert fast.skeleton is model.skeleton
    assert (fast.device, fast.dtype) == (CPU, torch.bfloat16)
    assert fast.prepared(precision="float32") is fast
    assert fast.outputs(fast.normalise(torch.zeros(2, 96, 64, 3, dtype=torch.uint8))).dtype == torch.float32
    with pytest.raises(HrkitError, match="cannot be saved"):
        fast.save(tmp_path / "fast.safetensors")
    with pytest.raises(UnknownNameError, match="unknown runtime 'magic'"):
        model.prepared(runtime="magic")


@pytest.mark.slow
@torch.inference_mode()
def test_a_registered_runtime_takes_over() -> None:
    class Doubling:
        @staticmethod
        @hookimpl
        def register_runtimes() -> dict[str, Callable[..., nn.Module]]:
            return {"doubling": lambda *, network, example, precision: nn.Sequential(network, Double())}

    class Double(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return 2 * maps

    model = create_pose_model("hrnet_w2", input_size=(64, 64))
    plugins.register(Doubling, "doubling")
    try:
        pipeline = Pipeline(model, runtime="doubling", device="cpu")
        torch.testing.assert_close(pipeline.pose_model(images(2)), 2 * model(images(2)))
    finally:
        plugins.unregister("doubling")


@pytest.mark.slow
@needs_onednn
def test_a_fast_detector_finds_the_same() -> None:
    detector = create_detector("yolov3_tiny", weights=None, threshold=0.0, input_size=96)
    randomised(detector.network)
    fast = detector.prepared(CPU, "float32")
    frame = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    slow_found, found = detector.detect([frame])[0], fast.detect([frame])[0]
    assert len(found) == len(slow_found) > 0
    np.testing.assert_allclose(found.xyxy, slow_found.xyxy, atol=0.01)
    assert isinstance(fast.network, Fused)
    assert isinstance(detector.network, DarknetNetwork)


@pytest.mark.slow
def test_layers_can_be_left_as_they_are() -> None:
    model = create_pose_model("hrnet_w2", input_size=(64, 64))
    pipeline = Pipeline(model, runtime="eager", precision="float32")
    kinds = {type(part) for part in pipeline.pose_model.modules()}
    assert nn.BatchNorm2d in kinds
    assert FusedConv2d not in kinds
