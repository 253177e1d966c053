"""The pose networks give what the official implementations give, with seeded weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hrkit import create_pose_model
from seeded import seeded_state

pytestmark = pytest.mark.needs_shared


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "backbone", "wrap"),
    [
        ("pose_hrnet_w32_256x192", "hrnet_w32", None),
        ("pose_resnet_50_256x192", "pose_resnet_50", None),
        ("mmpose_hrnet_w32_256x192", "hrnet_w32", "state_dict"),
    ],
)
def test_heatmaps_of_seeded_weights(
    shared: Path, tmp_path: Path, reference: str, backbone: str, wrap: str | None
) -> None:
    state = seeded_state(json.loads((shared / "reference" / f"{reference}.keys.json").read_text()))
    file = tmp_path / f"{reference}.pth"
    torch.save({wrap: state, "meta": {"epoch": np.float64(210)}} if wrap else state, file)
    model = create_pose_model(backbone, weights=file)
    image = torch.from_numpy(np.random.RandomState(7).randn(1, 3, 256, 192).astype(np.float32))
    with torch.inference_mode():
        heatmaps = model(image).numpy()
    wanted = np.load(shared / "reference" / f"{reference}.npz")["heatmaps"]
    assert np.linalg.norm(heatmaps - wanted) <= 1e-5 * np.linalg.norm(wanted)


@pytest.mark.slow
def test_hrnetv2(shared: Path, tmp_path: Path) -> None:
    folder = shared / "reference" / "models"
    shapes = json.loads((folder / "hrnetv2_w18_256.keys.json").read_text())
    torch.save({"state_dict": seeded_state(shapes)}, tmp_path / "v2.pth")
    model = create_pose_model("hrnetv2_w18", weights=tmp_path / "v2.pth", num_joints=None, input_size=(256, 256))
    image = torch.from_numpy(np.random.RandomState(7).randn(1, 3, 256, 256).astype(np.float32))
    with torch.inference_mode():
        features = model.backbone(image)
        found = {"heatmaps": model(image), **{f"branch_{i}_every_6th": x[:, ::6] for i, x in enumerate(features)}}
    wanted = np.load(folder / "hrnetv2_w18_256.npz")
    compared = [name for name in wanted if name in found]
    assert len(compared) == 5
    for name in compared:
        assert np.linalg.norm(found[name].numpy() - wanted[name]) <= 1e-5 * np.linalg.norm(wanted[name]), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "backbone"), [("pose_hrnet_w32_256x192", "hrnet_w32"), ("pose_resnet_50_256x192", "pose_resnet_50")]
)
def test_parameter_names_are_the_official_ones(shared: Path, reference: str, backbone: str) -> None:
    official = json.loads((shared / "reference" / f"{reference}.keys.json").read_text())
    with torch.device("meta"):
        model = create_pose_model(backbone)
    own = {name.split(".", 1)[1]: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert own == official
