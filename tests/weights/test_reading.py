"""Weights as people have them: prefixes, wrappers, checkpoints, folders, and files that are something else."""

from __future__ import annotations

import gzip
import logging
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hrkit import Pipeline, create_pose_model
from hrkit.errors import WeightsError
from hrkit.pose_model import PoseModel
from hrkit.training import run_folder
from hrkit.weights.checkpoints import read_checkpoint

State = dict[str, torch.Tensor]
NETWORK = "hrnet_w2"

pytestmark = pytest.mark.usefixtures("shallow")


@pytest.fixture(scope="module")
def network(shallow: None) -> PoseModel:
    torch.manual_seed(0)
    return create_pose_model(NETWORK, num_joints=3, input_size=(64, 64))


def official(state: State) -> State:
    return {name.removeprefix("backbone.").removeprefix("head."): tensor for name, tensor in state.items()}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def assert_loads(file: Path, network: PoseModel, **options: Any) -> PoseModel:
    loaded = create_pose_model(NETWORK, weights=file, num_joints=None, input_size=(64, 64), **options)
    wanted = network.state_dict()
    assert [name for name, tensor in loaded.state_dict().items() if not torch.equal(tensor, wanted[name])] == []
    return loaded


PREFIXES = (
    *("module.", "model.", "net.", "_orig_mod.", "1.", "student.", "module.module.", "module._orig_mod.", "pose.net."),
    *("_orig_mod.module.model.", "model.model.net."),
)


@pytest.mark.slow
@pytest.mark.parametrize("names", [dict, official])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes(network: PoseModel, tmp_path: Path, prefix: str, names: Callable[[State], State]) -> None:
    torch.save(prefixed(prefix, names(network.state_dict())), tmp_path / "weights.pth")
    assert_loads(tmp_path / "weights.pth", network)


def test_wrapped_parts(network: PoseModel, tmp_path: Path) -> None:
    parts = {"backbone.": "backbone._orig_mod.", "head.": "head.module."}
    renamed = {own.replace(part, parts[part], 1): tensor for own, tensor in network.state_dict().items()
               for part in parts if own.startswith(part)}  # fmt: skip
    torch.save(renamed, tmp_path / "weights.pth")
    assert_loads(tmp_path / "weights.pth", network)


def test_an_averaged_model(network: PoseModel, tmp_path: Path) -> None:
    torch.save(torch.optim.swa_utils.AveragedModel(network).state_dict(), tmp_path / "weights.pth")
    assert_loads(tmp_path / "weights.pth", network)


WRAPPERS = ("state_dict", "model", "model_state_dict", "ema", "weights", "net", "params", "generator", "best")


@pytest.fixture(scope="module")
def beside(network: PoseModel) -> dict[str, Any]:
    """What a training keeps beside the network, of which it has made one step."""
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.zeros(1, 3, 64, 64)).sum().backward()
    optimizer.step()
    return {"epoch": 3, "optimizer": optimizer.state_dict(), "args": {"lr": 0.1}, "best_ap": np.float64(0.7)}


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers(network: PoseModel, beside: dict[str, Any], tmp_path: Path, wrapper: str) -> None:
    state = network.state_dict()
    file = tmp_path / "weights.pth"
    torch.save({**beside, wrapper: prefixed("module.", official(state))}, file)
    assert_loads(file, network)
    torch.save({"checkpoint": {"run": {**beside, wrapper: state}}, "version": "1"}, file)
    assert_loads(file, network)


@pytest.mark.slow
def test_the_network_whose_names_fit(network: PoseModel, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = create_pose_model("hrnet_w4", num_joints=3, input_size=(64, 64)).state_dict()
    detector = {name.replace("stage", "level"): tensor for name, tensor in other.items()}
    file = tmp_path / "weights.pth"
    torch.save({"detector": detector, "pose": network.state_dict()}, file)
    assert_loads(file, network)
    assert "several networks" not in caplog.text
    average = {name: tensor + 1 for name, tensor in network.state_dict().items()}
    torch.save({"model": network.state_dict(), "ema": average}, file)
    with caplog.at_level(logging.WARNING):
        assert_loads(file, network)
    assert "holds several networks that fit ('model', 'ema'): taking 'model'" in caplog.text
    torch.save({"model": network.state_dict(), "best": network.state_dict()}, file)  # which are equal
    caplog.clear()
    assert_loads(file, network)
    assert "several networks" not in caplog.text


@pytest.mark.parametrize("extra", ["loss.weight", "backbone.more", "model.backbone.conv1.weight"])
def test_still_strict(network: PoseModel, tmp_path: Path, extra: str) -> None:
    torch.save({"state_dict": {**network.state_dict(), extra: torch.zeros(3)}}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=f"{extra} is not part of it"):
        create_pose_model(NETWORK, weights=tmp_path / "weights.pth", num_joints=None, input_size=(64, 64))


# MMPose's own checkpoints


@pytest.fixture
def mmengine(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Types with mmengine's names that fail if anything of them is called while a file is read."""
    history, config = types.ModuleType("mmengine.logging.history_buffer"), types.ModuleType("mmengine.config.config")

    class HistoryBuffer:
        reading = False

        def __init__(self) -> None:
            self.log = np.arange(3.0)
            self.best = np.float32(0.5)
            self.method = self.mean

        def mean(self) -> float:
            return float(self.log.mean())

        def __setstate__(self, state: object) -> None:
            raise AssertionError(state)

    class ConfigDict(dict[str, Any]):
        def __reduce__(self) -> Any:
            return ConfigDict, (dict(self),)

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = history.__name__, "HistoryBuffer"
    ConfigDict.__module__, ConfigDict.__qualname__ = config.__name__, "ConfigDict"
    history.HistoryBuffer, config.ConfigDict = HistoryBuffer, ConfigDict  # type: ignore[attr-defined]
    for name in ("mmengine", "mmengine.logging", "mmengine.config"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for module in (history, config):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return types.SimpleNamespace(HistoryBuffer=HistoryBuffer, ConfigDict=ConfigDict)


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
def test_an_epoch_of_mmpose(
    network: PoseModel,
    tmp_path: Path,
    mmengine: types.SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    legacy: bool,
) -> None:
    names = dict(enumerate(["a", "left_b", "right_b"]))
    told = mmengine.ConfigDict(dataset_name="mine", keypoint_id2name=names, colors=np.zeros((2, 3), np.uint8))
    hub = {"log_scalars": {"train/loss": mmengine.HistoryBuffer()}, "runtime_info": {"ap": np.float64(0.7)}}
    content = {
        "meta": {"dataset_meta": told, "seen_classes": np.array(["a", "b"])},
        "state_dict": network.state_dict(),
        "message_hub": hub,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}},
    }
    file = tmp_path / "epoch_1.pth"
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    for name in [name for name in sys.modules if name.startswith("mmengine")]:
        monkeypatch.delitem(sys.modules, name)  # as where MMPose is not installed
    loaded = assert_loads(file, network)
    assert loaded.skeleton.keypoint_names == ("a", "left_b", "right_b")
    assert loaded.skeleton.flip_pairs == (("left_b", "right_b"),)


@pytest.mark.slow
def test_a_classifier_of_mmpretrain_starts_a_backbone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    trunk = create_pose_model(NETWORK, backbone_options={"multi_scale": True}, input_size=(64, 64)).backbone
    state = prefixed("backbone.", trunk.state_dict())
    state |= {"neck.increase_modules.0.0.conv1.weight": torch.zeros(3), "head.fc.weight": torch.zeros(10, 3)}
    file = tmp_path / "hrnet_8xb32_in1k.pth"
    torch.save({"meta": {"epoch": 100}, "state_dict": state, "optimizer": {}}, file)
    start = create_pose_model(NETWORK, backbone_weights=file, num_joints=5, input_size=(64, 64))
    own = start.backbone.state_dict()
    assert all(torch.equal(tensor, trunk.state_dict()[name]) for name, tensor in own.items())
    with pytest.raises(WeightsError, match=r"is an ImageNet classifier, not a pose network.*backbone_weights"):
        create_pose_model(NETWORK, weights=file, num_joints=None, input_size=(64, 64))


@pytest.mark.slow
def test_heads_by_the_names_in_the_file(tmp_path: Path) -> None:
    two = create_pose_model("pose_resnet_18", head="deconv_stride8", num_joints=15, input_size=(64, 64))
    file = tmp_path / "weights.pth"
    torch.save({"state_dict": two.state_dict()}, file)
    loaded = create_pose_model("pose_resnet_18", weights=file, num_joints=None, input_size=(64, 64))
    assert (loaded.spec.head, loaded.heatmap_size) == ("deconv_stride8", (8, 8))
    torch.save(create_pose_model("hrnetv2_w2", num_joints=3, input_size=(64, 64)).state_dict(), file)
    with pytest.raises(WeightsError, match="holds hrnetv2_w2 with 3 joints, which does not fit hrnet_w2"):
        create_pose_model(NETWORK, weights=file, num_joints=None, input_size=(64, 64))


# hrkit's own files and folders


@pytest.mark.slow
def test_a_run_folder_and_its_checkpoint(network: PoseModel, tmp_path: Path) -> None:
    torch.manual_seed(1)
    named = create_pose_model(NETWORK, skeleton="onehand10k", input_size=(64, 96), codec="dark")
    optimizer = torch.optim.Adam(named.parameters())
    parts = {"model": named, "optimizer": optimizer, "average": named}
    folder = tmp_path / "run"
    run_folder.save_checkpoint(folder / "last.pt", run_folder.RunState(step=3), parts, named.metadata)
    for weights in (folder / "last.pt", folder, str(folder)):
        loaded = create_pose_model(NETWORK, weights=weights, num_joints=None, input_size=None)
        assert loaded.spec == named.spec
        assert torch.equal(loaded.head.final_layer.weight, named.head.final_layer.weight)
    with torch.no_grad():
        named.head.final_layer.weight.add_(1)
    named.save(folder / "best.safetensors")
    best = create_pose_model(NETWORK, weights=folder, num_joints=None, input_size=None)
    assert torch.equal(best.head.final_layer.weight, named.head.final_layer.weight)
    published = tmp_path / "published"
    published.mkdir()
    (folder / "best.safetensors").rename(published / "model.safetensors")
    pipeline = Pipeline.from_names(NETWORK, weights=published)
    assert pipeline.skeleton.name == "onehand10k"
    with pytest.raises(WeightsError, match=r"is a folder without best\.safetensors, model\.safetensors, last\.pt"):
        create_pose_model(NETWORK, weights=tmp_path)


@pytest.mark.slow
def test_the_average_of_a_run_is_taken(network: PoseModel, tmp_path: Path) -> None:
    average = create_pose_model(NETWORK, num_joints=3, input_size=(64, 64))
    parts = {"model": create_pose_model(NETWORK, num_joints=3, input_size=(64, 64)), "average": average}
    run_folder.save_checkpoint(tmp_path / "last.pt", run_folder.RunState(), parts, average.metadata)
    assert_loads(tmp_path / "last.pt", average)


# what is something else


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.pth", b"<!DOCTYPE html><html><title>Virus scan warning</title>", "is a web page, as some hosts"),
        ("a.safetensors", b"\xef\xbb\xbf\n <HTML>quota exceeded", "is a web page"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of git-lfs.*git lfs pull"),
        ("a.pth", b"404: Not Found", "is text .'404: Not Found'., not weights; fetch the file again"),
        ("a.pth", b'{"error": "gone"}\n', "is text"),
        ("a.onnx", b"\x08\x08\x12\x07pytorch", "run it with runtime='onnx:.*a.onnx' .--runtime onnx:"),
        ("a.xml", b"<?xml version='1.0'?><net>", "run it with runtime='openvino:"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "is a file of Keras"),
        ("a.pth.gz", gzip.compress(b"a", mtime=0), "is compressed with gzip"),
        ("a.pth", b"", "damaged, or no weights file"),
        ("a.tar", bytes(10240), "is a tar archive, or damaged; unpack it"),
    ],
)  # fmt: skip
def test_other_files_are_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"a[.\w]+:? .*{says}") as raised:
        create_pose_model(NETWORK, weights=tmp_path / name)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.slow
def test_programs_are_named(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 2)
    torch.jit.save(torch.jit.script(layer), str(tmp_path / "a.pt"))
    with pytest.raises(WeightsError, match=r"is a program of TorchScript; save its tensors alone: torch\.save"):
        read_checkpoint(tmp_path / "a.pt")
    torch.export.save(torch.export.export(layer, (torch.zeros(1, 2),)), tmp_path / "a.pt2")
    with pytest.raises(WeightsError, match=r"is a program of torch\.export"):
        read_checkpoint(tmp_path / "a.pt2")
