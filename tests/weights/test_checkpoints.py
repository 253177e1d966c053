"""Weights files: every layout, strict loading, and nothing in a file is ever executed."""

from __future__ import annotations

import errno
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from hrkit import create_pose_model
from hrkit.backbones.resnet import ResNet
from hrkit.errors import WeightsError
from hrkit.hookspecs import hookimpl
from hrkit.pose_model import PoseModel
from hrkit.structures import Skeleton
from hrkit.testing.fixtures import register_plugin  # noqa: F401
from hrkit.weights import checkpoints
from hrkit.weights.checkpoints import read_checkpoint

State = dict[str, torch.Tensor]

HRNET, RESNET = "hrnet_w2", "pose_resnet_18"
JOINTS = 3

pytestmark = pytest.mark.usefixtures("shallow")


@pytest.fixture(scope="module")
def networks(shallow: None) -> dict[str, PoseModel]:
    """Small ones with numbers that are not the initial ones."""
    torch.manual_seed(0)
    models = {name: create_pose_model(name, num_joints=JOINTS, input_size=(64, 64)) for name in (HRNET, RESNET)}
    for model in models.values():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1)
    return models


def official(state: State) -> State:
    return {name.removeprefix("backbone.").removeprefix("head."): tensor for name, tensor in state.items()}


def assert_same(one: nn.Module, other: nn.Module) -> None:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []


def mmpose_meta() -> dict[str, Any]:
    """What MMPose keeps beside the tensors."""
    return {
        "mmengine_version": "0.4.0",
        "epoch": 210,
        "dataset_meta": {
            "sigmas": np.array([0.026, 0.025]),
            "flip_indices": [0, 2, 1],
            "num_keypoints": np.int64(17),
            "scale": np.float32(1.25),
            "colors": np.zeros((2, 3), np.uint8),
            "lowest": np.float64(0.5),
            "seen": np.bool_(True),
        },
    }


LAYOUTS: dict[str, tuple[Callable[[State], Any], str]] = {
    "official": (official, "official"),
    "DataParallel": (lambda state: {f"module.{name}": t for name, t in official(state).items()}, "official"),
    "MMPose 1": (lambda state: {"meta": mmpose_meta(), "state_dict": state}, "mmpose"),
    "MMPose 1, DataParallel": (lambda s: {"state_dict": {f"module.{name}": t for name, t in s.items()}}, "mmpose"),
    "MMPose 0": (
        lambda state: {"state_dict": {name.replace("head.", "keypoint_head."): t for name, t in state.items()}},
        "mmpose",
    ),
    "simple-HRNet": (lambda s: {"epoch": 5, "model": official(s), "optimizer": {"lr": 0.1}}, "simple"),
    "without counters": (
        lambda s: {name: t for name, t in official(s).items() if not name.endswith("num_batches_tracked")},
        "official",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backbone", [HRNET, RESNET])
def test_layouts(networks: dict[str, PoseModel], tmp_path: Path, backbone: str, layout: str) -> None:
    write, name = LAYOUTS[layout]
    torch.save(write(networks[backbone].state_dict()), tmp_path / "weights.pth")
    checkpoint = read_checkpoint(tmp_path / "weights.pth")
    assert (checkpoint.layout, checkpoint.num_joints) == (name, JOINTS)
    assert checkpoint.describe() == f"{backbone} with {JOINTS} joints"
    loaded = create_pose_model(backbone, weights=tmp_path / "weights.pth", num_joints=None, input_size=(64, 64))
    assert len(loaded.skeleton) == JOINTS
    assert_same(loaded, networks[backbone])


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
def test_both_of_torchs_formats(networks: dict[str, PoseModel], tmp_path: Path, legacy: bool) -> None:
    state = networks[HRNET].state_dict()
    torch.save(state, tmp_path / "weights.pth.tar", _use_new_zipfile_serialization=not legacy)
    assert read_checkpoint(tmp_path / "weights.pth.tar").state.keys() == state.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "order"), [("official", "bgr"), ("DataParallel", "bgr"), ("MMPose 1", "rgb"), ("simple-HRNet", "rgb")]
)
def test_channel_order_of_pose_resnet(
    networks: dict[str, PoseModel], tmp_path: Path, layout: str, order: str
) -> None:
    torch.save(LAYOUTS[layout][0](networks[RESNET].state_dict()), tmp_path / "weights.pth")
    load = {"weights": tmp_path / "weights.pth", "num_joints": JOINTS, "input_size": (64, 64)}
    assert create_pose_model(RESNET, **load).spec.channel_order == order
    assert create_pose_model(RESNET, **load, channel_order="rgb").spec.channel_order == "rgb"


def test_hrnet_is_rgb(networks: dict[str, PoseModel], tmp_path: Path) -> None:
    torch.save(official(networks[HRNET].state_dict()), tmp_path / "weights.pth")
    model = create_pose_model(HRNET, weights=tmp_path / "weights.pth", num_joints=JOINTS, input_size=(64, 64))
    assert model.spec.channel_order == "rgb"


# hrkit's own


def test_a_file_of_hrkit_says_everything(tmp_path: Path) -> None:
    skeleton = Skeleton("hand", ("wrist", "thumb", "tip"), [("wrist", "thumb")], [("thumb", "tip")], [0.1, 0.2, 0.3])
    model = create_pose_model(
        HRNET, skeleton=skeleton, num_joints=None, input_size=(64, 96), codec="dark", sigma=1.5, channel_order="bgr"
    )
    model.save(tmp_path / "hand.safetensors", epoch=3)
    again = create_pose_model(HRNET, weights=tmp_path / "hand.safetensors", num_joints=None, input_size=None)
    assert_same(again, model)
    assert (again.spec, again.name) == (model.spec, HRNET)
    assert again.skeleton == skeleton
    assert again.skeleton.sigmas.tolist() == [0.1, 0.2, 0.3]
    checkpoint = read_checkpoint(tmp_path / "hand.safetensors")
    assert (checkpoint.layout, checkpoint.metadata["epoch"]) == ("hrkit", 3)


def test_what_is_given_goes_before_what_the_file_says(networks: dict[str, PoseModel], tmp_path: Path) -> None:
    networks[HRNET].save(tmp_path / "own.safetensors")
    model = create_pose_model(
        HRNET, weights=tmp_path / "own.safetensors", num_joints=None, input_size=(32, 64), codec="udp"
    )
    assert (model.input_size, model.spec.codec) == ((32, 64), "udp")


def test_somebody_elses_safetensors(networks: dict[str, PoseModel], tmp_path: Path) -> None:
    safetensors.torch.save_file(official(networks[HRNET].state_dict()), tmp_path / "official.safetensors")
    assert read_checkpoint(tmp_path / "official.safetensors").layout == "official"
    model = create_pose_model(HRNET, weights=tmp_path / "official.safetensors", num_joints=None, input_size=(64, 64))
    assert_same(model, networks[HRNET])


def test_saving_on_a_full_disk_leaves_what_was_there(
    networks: dict[str, PoseModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks[HRNET].save(tmp_path / "own.safetensors")
    before = (tmp_path / "own.safetensors").read_bytes()

    def full(tensors: State, path: Path, metadata: dict[str, str]) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        networks[RESNET].save(tmp_path / "own.safetensors")
    assert os.listdir(tmp_path) == ["own.safetensors"]
    assert (tmp_path / "own.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{", "damaged"),
        ("[1, 2]", "metadata is list"),
        ('{"backbone": "hrnet_w2"}', "metadata cannot be used"),
        ('{"skeleton": {"name": "x"}, "input_size": [64, 64]}', "metadata cannot be used"),
        ('{"skeleton": 3, "input_size": [64, 64]}', "metadata cannot be used"),
    ],
)
def test_metadata_of_another_kind(tmp_path: Path, metadata: str, message: str) -> None:
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "own.safetensors", {"hrkit": metadata})
    with pytest.raises(WeightsError, match=message):
        create_pose_model(HRNET, weights=tmp_path / "own.safetensors", num_joints=None)


# ImageNet


def imagenet(model: PoseModel) -> State:
    """The trunk with a classifier on top."""
    return {**model.backbone.state_dict(), "fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}


def test_an_imagenet_file_starts_a_backbone(networks: dict[str, PoseModel], tmp_path: Path) -> None:
    torch.save(imagenet(networks[RESNET]), tmp_path / "imagenet.pth")
    model = create_pose_model(RESNET, backbone_weights=tmp_path / "imagenet.pth", num_joints=JOINTS)
    assert_same(model.backbone, networks[RESNET].backbone)
    assert not torch.equal(model.head.state_dict()["final_layer.weight"], networks[RESNET].head.final_layer.weight)


def test_an_imagenet_file_is_no_pose_network(networks: dict[str, PoseModel], tmp_path: Path) -> None:
    torch.save(imagenet(networks[RESNET]), tmp_path / "imagenet.pth")
    with pytest.raises(WeightsError, match=r"ImageNet classifier.*backbone_weights"):
        create_pose_model(RESNET, weights=tmp_path / "imagenet.pth", num_joints=JOINTS)


def test_a_pose_network_starts_a_backbone(networks: dict[str, PoseModel], tmp_path: Path) -> None:
    torch.save(official(networks[HRNET].state_dict()), tmp_path / "pose.pth")
    model = create_pose_model(HRNET, backbone_weights=tmp_path / "pose.pth", num_joints=5)
    assert_same(model.backbone, networks[HRNET].backbone)


def test_the_backbone_of_another_network(networks: dict[str, PoseModel], tmp_path: Path) -> None:
    torch.save(imagenet(networks[RESNET]), tmp_path / "imagenet.pth")
    with pytest.raises(WeightsError, match="holds pose_resnet_18, which does not fit hrnet_w2"):
        create_pose_model(HRNET, backbone_weights=tmp_path / "imagenet.pth")


class Renaming(ResNet):
    """Knows files in which every name is in capitals."""

    def renamed(self, state: State) -> State:
        return {name.removeprefix("backbone.").lower(): tensor for name, tensor in state.items()}


@pytest.mark.slow
def test_a_backbone_may_know_the_names_of_others(
    networks: dict[str, PoseModel], tmp_path: Path, register_plugin: Callable[[object, str], None]  # noqa: F811
) -> None:
    build = hookimpl(lambda: {"renaming": lambda: Renaming(18)})
    register_plugin(SimpleNamespace(register_backbones=build), "renaming")
    file = tmp_path / "capitals.safetensors"
    safetensors.torch.save_file({name.upper(): t for name, t in networks[RESNET].state_dict().items()}, file)
    with pytest.raises(WeightsError, match="does not fit"):
        create_pose_model(RESNET, weights=file, num_joints=None, input_size=(64, 64))
    model = create_pose_model("renaming", weights=file, num_joints=None, input_size=(64, 64))
    assert len(model.skeleton) == JOINTS
    assert_same(model, networks[RESNET])
    start = create_pose_model("renaming", backbone_weights=file, num_joints=5)
    assert_same(start.backbone, networks[RESNET].backbone)


# what does not fit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "joints", "message"),
    [
        ("hrnet_w4", JOINTS, "holds hrnet_w2 with 3 joints, which does not fit hrnet_w4 with 3 joints: .* wanted"),
        (HRNET, 17, r"holds hrnet_w2 with 3 joints, .* hrnet_w2 with 17 joints: head.*\(3,.*wanted \(17,"),
        (RESNET, JOINTS, "holds hrnet_w2 with 3 joints, which does not fit pose_resnet_18 with 3 joints"),
    ],
)
def test_weights_of_another_network(
    networks: dict[str, PoseModel], tmp_path: Path, backbone: str, joints: int, message: str
) -> None:
    torch.save(official(networks[HRNET].state_dict()), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=message):
        create_pose_model(backbone, weights=tmp_path / "weights.pth", num_joints=joints, input_size=(64, 64))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("backbone.conv1.weight"), "backbone.conv1.weight is missing"),
        (lambda state: state.update({"backbone.more": torch.zeros(1)}), "backbone.more is not part of it"),
        (lambda state: state.update({"head.final_layer.bias": torch.zeros(4)}), r"bias is \(4,\), wanted \(3,\)"),
    ],
)
def test_one_difference_is_too_many(
    networks: dict[str, PoseModel], tmp_path: Path, change: Callable[[State], Any], message: str
) -> None:
    state = dict(networks[HRNET].state_dict())
    change(state)
    torch.save(state, tmp_path / "weights.pth")
    model = create_pose_model(HRNET, num_joints=JOINTS)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError, match=rf"{message} \(1 of"):
        checkpoints.load(model, read_checkpoint(tmp_path / "weights.pth"), "it")
    assert [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])] == []


# what is no weights file


class Malicious:
    """Pickled, it creates a file when it is read by a reader that trusts it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: {"state_dict": {"a": torch.zeros(1)}, "meta": evil}])
@pytest.mark.parametrize("kind", ["pickle", "zip", "legacy"])
def test_nothing_in_a_file_is_executed(tmp_path: Path, kind: str, wrap: Callable[[Any], Any]) -> None:
    victim, file = tmp_path / "executed", tmp_path / "weights.pth"
    content = wrap(Malicious(victim))
    if kind == "pickle":
        file.write_bytes(pickle.dumps(content, 2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsError, match=r"weights\.pth"):
        read_checkpoint(file)
    assert not victim.exists()
    if kind == "pickle":
        pickle.loads(file.read_bytes())
    else:
        torch.load(file, weights_only=False)
    assert victim.exists()  # it would have worked


def test_objects_are_refused_by_name_of_the_remedy(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(WeightsError, match=r"objects other than tensors.*nothing in it was executed.*state_dict"):
        read_checkpoint(tmp_path / "module.pth")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [b"", b"<!DOCTYPE html><html>no quota</html>", b"cannot be downloaded", b"\x80\x02", b"PK\x03\x04", b"\0" * 64],
)
def test_what_is_no_weights_file(tmp_path: Path, content: bytes, ending: str) -> None:
    (tmp_path / f"weights{ending}").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"weights{ending}"):
        read_checkpoint(tmp_path / f"weights{ending}")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_truncated(tmp_path: Path, kind: str, part: float) -> None:
    state = {f"backbone.layer{i}.weight": torch.ones(20, 20) for i in range(4)}
    file = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "safetensors":
        safetensors.torch.save_file(state, file)
    else:
        torch.save(state, file, _use_new_zipfile_serialization=kind == "zip")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(WeightsError, match="fetch it again"):
        read_checkpoint(file)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_files_raise_nothing_else(tmp_path: Path, legacy: bool) -> None:
    random, file = np.random.default_rng(0), tmp_path / "weights.pth"
    torch.save({"backbone.a": torch.zeros(3)}, file, _use_new_zipfile_serialization=not legacy)
    whole, refused = file.read_bytes(), 0
    for _ in range(150):
        content = bytearray(whole)
        content[random.integers(len(whole))] = random.integers(256)
        file.write_bytes(content)
        try:
            assert read_checkpoint(file).state
        except WeightsError:
            refused += 1
    assert refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "holds list"),
        (torch.zeros(1), "holds Tensor"),
        ({}, "holds dict"),
        ({"epoch": 3, "weight": torch.zeros(1)}, "'epoch' is no tensor"),
        ({"state_dict": {"weight": 3}}, "'weight' is no tensor"),
    ],
)
def test_other_content(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(tmp_path / "weights.pth")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.pth", tmp_path):
        with pytest.raises(WeightsError, match="no such weights file"):
            read_checkpoint(path)


def test_metadata_is_json(networks: dict[str, PoseModel], tmp_path: Path) -> None:
    networks[HRNET].save(tmp_path / "own.safetensors")
    with safetensors.safe_open(tmp_path / "own.safetensors", "pt") as reader:
        said = json.loads(reader.metadata()["hrkit"])
    assert (said["backbone"], said["input_size"], said["skeleton"]["name"]) == (HRNET, [64, 64], "joints3")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_is_neither_written_nor_loaded(tmp_path: Path, value: float) -> None:
    network = nn.BatchNorm2d(2)
    checkpoints.save(network, tmp_path / "good.safetensors", {})
    with torch.no_grad():
        network.weight[1] = value
    with pytest.raises(WeightsError, match=r"bad\.safetensors: weight holds NaN or infinity"):
        checkpoints.save(network, tmp_path / "bad.safetensors", {})
    assert [path.name for path in tmp_path.iterdir()] == ["good.safetensors"]
    fresh, bad = nn.BatchNorm2d(2), checkpoints.Checkpoint(tmp_path / "bad.pth", network.state_dict(), "official", {})
    with pytest.raises(WeightsError, match=r"bad\.pth: weight holds NaN or infinity"):
        checkpoints.load(fresh, bad, "it")
    assert bool(fresh.weight.isfinite().all())


def test_tensors_without_dimensions_and_variances_below_zero(tmp_path: Path) -> None:
    torch.save({"final_layer.weight": torch.zeros(())}, tmp_path / "a.pth")
    checkpoint = checkpoints.read_checkpoint(tmp_path / "a.pth")
    assert checkpoint.num_joints is None
    with pytest.raises(WeightsError, match="does not fit it"):
        checkpoints.load(nn.Module(), checkpoint, "it")
    with pytest.raises(WeightsError, match="a variance below 0"):
        checkpoints.check_finite({"norm.running_var": torch.tensor([1.0, -1.0])}, "it")
