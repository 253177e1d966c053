"""Each of the 192 further published checkpoints is an entry of hrkit or of a plugin, and its network takes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hrkit import create_pose_model, registry
from hrkit.pose_model import PoseModel
from hrkit.skeletons import get_skeleton
from hrkit.weights import catalogue, checkpoints
from hrkit.weights.catalogue import WeightsEntry, register_weights
from hrkit.weights.checkpoints import Checkpoint
from seeded import seeded_state, shapes_alone

pytestmark = pytest.mark.needs_shared

Row = dict[str, Any]
CODECS = {"MSRAHeatmap": "msra", "UDPHeatmap": "udp", "SimCCLabel": "simcc", "VitPoseImageProcessor": "vitpose"}
PERCENT = {"PoseTrack18": ("Total", "AP"), "JHMDB": ("Mean", "PCK")}


@pytest.fixture(scope="module")
def rows(shared: Path) -> list[Row]:
    found: list[Row] = json.loads((shared / "reference" / "models" / "zoo_more.json").read_text())
    assert len(found) == 192
    return found


@pytest.fixture(scope="module")
def entries() -> dict[str | None, WeightsEntry]:
    """By address."""
    plugins = [pytest.importorskip(name) for name in ("hrkit_rtm", "hrkit_vitpose")]
    brought = [entry for plugin in plugins for entry in plugin.register_weights()]
    return {entry.url: entry for entry in [*register_weights(), *brought]}


def address(row: Row) -> str:
    return f"hf-hub:{row['huggingface_id']}" if "huggingface_id" in row else row["url"]


def test_every_row_is_an_entry(rows: list[Row], entries: dict[str | None, WeightsEntry]) -> None:
    assert [address(row) for row in rows if address(row) not in entries] == []
    for row in rows:
        entry = entries[address(row)]
        assert entry.checksum == (row["sha256_prefix"] and f"sha256:{row['sha256_prefix']}"), entry.name
        assert entry.input_size == tuple(row["input_size_hw"]), entry.name
        assert entry.licence == "Apache-2.0"
        if entry.kind == "detector":
            continue
        assert entry.num_joints == row["joints"], entry.name
        assert entry.skeleton.keypoint_names == get_skeleton(row["skeleton"]).keypoint_names, entry.name
        assert entry.codec == ("dark" if row["codec"].get("unbiased") else CODECS[row["codec"]["type"]]), entry.name
        if entry.codec in ("msra", "dark", "udp"):
            assert entry.sigma == row["codec"]["sigma"], entry.name
            assert row["shift_heatmap"] == (entry.codec != "udp")
        blurs = entry.codec == "dark" and entry.sigma == 3
        assert entry.codec_options == ({"kernel": 11} if blurs else {}), entry.name


def test_figures(rows: list[Row], entries: dict[str | None, WeightsEntry]) -> None:
    """Those of HRNet and ResNet; other plugins compare their own."""
    own = {entry.url for entry in register_weights()}
    for row in [row for row in rows if row["url"] in own]:
        entry, published = entries[row["url"]], row["metrics"]
        if "ubody" in row["config"]:
            assert entry.metrics == {}
        elif row["dataset"] in PERCENT:
            theirs, ours = PERCENT[row["dataset"]]
            assert entry.metrics == pytest.approx({ours: published[theirs] / 100})
        else:
            for name, value in entry.metrics.items():
                if entry.name == "pose_resnet_50-deepfashion_lower-256x192":
                    name = {"EPE": "PCK@0.2", "PCK@0.2": "EPE"}.get(name, name)  # as the source has them
                shown = value * 100 if any(abs(100 * value - other) < 1e-6 for other in published.values()) else value
                assert any(abs(shown - other) < 1e-6 for other in published.values()), (entry.name, name)
            assert {"AP", "PCK", "PCK@0.2", "NME", "AUC"} & set(entry.metrics)


def networks(rows: list[Row], entries: dict[str | None, WeightsEntry]) -> Iterator[tuple[Row, WeightsEntry]]:
    own = {entry.url for entry in register_weights()}
    for row in rows:
        if row["url"] in own:
            yield row, entries[row["url"]]


def made(entry: WeightsEntry, file: Path, monkeypatch: pytest.MonkeyPatch, state: checkpoints.State) -> PoseModel:
    """The network of an entry, whose file has these tensors."""
    checkpoint = Checkpoint(file, state, "mmpose", {})
    monkeypatch.setattr(catalogue, "fetch", lambda entry: file)
    monkeypatch.setattr(checkpoints, "read_checkpoint", lambda path: checkpoint)
    return create_pose_model(entry.model, weights=entry.name, num_joints=None, input_size=None)


@pytest.mark.slow
def test_every_network_takes_its_file(
    rows: list[Row], entries: dict[str | None, WeightsEntry], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By names and shapes. Rows that differ in nothing but their file are built once; a trunk runs once per size."""
    trunks: dict[str, checkpoints.State] = {}
    features: dict[tuple[object, ...], list[torch.Tensor]] = {}
    models: dict[tuple[object, ...], PoseModel] = {}
    walked = 0
    for row, entry in networks(rows, entries):
        joints, (height, width) = row["joints"], row["codec"]["heatmap_size"][::-1]
        case = entry.model, entry.head, joints, entry.input_size, entry.codec, entry.sigma
        if case not in models:
            with shapes_alone():
                if entry.model not in trunks:
                    trunk = registry.backbones.build(entry.model)
                    trunks[entry.model] = {f"backbone.{name}": x for name, x in trunk.state_dict().items()}
                channels = 270 if "270" in row["head"] else 256 if "deconv" in row["head"] else int(entry.model[-2:])
                state = {**trunks[entry.model], **head_of(row["head"], channels, joints)}
                models[case] = made(entry, tmp_path / "file.pth", monkeypatch, state)
                monkeypatch.undo()
                size = entry.model, entry.input_size
                if size not in features:
                    features[size] = models[case].backbone(torch.empty(1, 3, *entry.input_size))
                outputs = models[case].head(features[size])
            assert outputs.shape == (1, joints, height, width), entry.name
        points, _ = models[case].create_codec().decode(torch.zeros(1, joints, height, width))
        assert points.shape == (1, joints, 2), entry.name
        walked += 1
    assert walked == 98


def head_of(words: str, channels: int, joints: int) -> checkpoints.State:
    """The tensors of a head, by MMPose's names."""
    state = layer("head.final_layer", joints, channels)
    if "270" in words:
        state |= {**layer("head.conv_layers.0", 270, 270), **norm("head.conv_layers.1", 270)}
    for number in range(int(words[0]) if "deconv" in words else 0):
        state |= norm(f"head.deconv_layers.{3 * number + 1}", 256)
        state[f"head.deconv_layers.{3 * number}.weight"] = torch.empty(256 if number else 2048, 256, 4, 4)
    return state


def layer(name: str, outputs: int, inputs: int) -> checkpoints.State:
    return {f"{name}.weight": torch.empty(outputs, inputs, 1, 1), f"{name}.bias": torch.empty(outputs)}


def norm(name: str, channels: int) -> checkpoints.State:
    parts = {f"{name}.{part}": torch.empty(channels) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**parts, f"{name}.num_batches_tracked": torch.tensor(0)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "joints"),
    [
        ("hrnet_w32-coco_wholebody-256x192", 133),
        ("hrnetv2_w18-wflw-256x256-dark", 98),
        ("pose_resnet_50-jhmdb-256x256-sub1-2deconv", 15),
        ("pose_resnet_50-deepfashion2-256x192-vest", 294),
    ],
)
def test_seeded_weights(name: str, joints: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One of each kind of network, with values."""
    entry = catalogue.find(name)
    with torch.device("meta"):
        other = create_pose_model(entry.model, head=entry.head, num_joints=joints, input_size=None)
    state = seeded_state({name: tensor.shape for name, tensor in other.state_dict().items()})
    model = made(entry, tmp_path / "file.pth", monkeypatch, state)
    with torch.inference_mode():
        outputs = model.outputs(torch.randn(1, 3, *model.input_size), flip_test=True)
    points, scores = model.create_codec().decode(outputs)
    assert points.shape == (1, joints, 2)
    assert scores.std() > 0
    assert len(model.skeleton) == joints
