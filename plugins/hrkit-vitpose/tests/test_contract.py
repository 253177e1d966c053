"""Everything that the plugin registers keeps hrkit's contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hrkit_vitpose.backbone import ViTBackbone
from hrkit_vitpose.heads import ClassicHead
from hrkit_vitpose.names import renamed
from other_names import mmposes
from small_networks import detection_network, files_of, pose_config, randomised

from hrkit import create_pose_model
from hrkit.errors import UnknownNameError
from hrkit.export import export, exportable_pose_model
from hrkit.pose_model import PoseModel
from hrkit.pose_spec import PoseSpec
from hrkit.testing import check_backbone, describe, examine_plugin
from hrkit.weights import catalogue


@pytest.mark.slow
def test_it_keeps_the_contract(hub: Any, tmp_path: Path) -> None:
    hub.repositories["owner/detector"] = {"main": files_of(detection_network(), tmp_path)}
    weights = [entry.name for entry in catalogue.entries() if entry.model.startswith(("vitpose", "hf/"))]
    parts = ["hf/owner/detector", "vitpose_classic", "vitpose_simple", "vitpose", *weights]
    findings = list(examine_plugin("vitpose", parts))
    # the name also fits the pattern of pose networks
    others = [finding for finding in findings if finding.part != "backbone hf/owner/detector"]
    wrong = [finding for finding in others if finding.verdict == "wrong"]
    assert not wrong, describe(wrong)
    said = {(finding.part, finding.check): finding.verdict for finding in findings}
    assert said["detector hf/owner/detector", "one Detections a frame"] == "ok"
    assert said["head vitpose_simple", "a batch is its people alone"] == "ok"
    assert said["decoder vitpose", "round trip within half a cell"] == "ok"
    assert len({part for part, _ in said if part.startswith("weights")}) == 21


@pytest.mark.parametrize("experts", [1, 6])
def test_backbones(experts: int) -> None:
    backbone = ViTBackbone(pose_config(experts=experts).backbone_config)
    wrong = [
        finding
        for finding in check_backbone(backbone)
        # one expert is trained at a time
        if not (experts > 1 and finding.check == "it can be trained" and "experts" in finding.reason)
    ]
    assert not wrong, describe(wrong)


def test_other_input_sizes() -> None:
    backbone = ViTBackbone(pose_config().backbone_config).eval()
    (features,) = backbone(torch.zeros(1, 3, 128, 96))
    assert features.shape == (1, 32, 8, 6)
    (same,) = backbone(torch.zeros(1, 3, 256, 192))
    assert same.shape == (1, 32, 16, 12)
    positions = backbone.embeddings.position_embeddings
    with torch.no_grad():
        positions[:, 1:] = positions[:, 1:2]  # the same everywhere: resizing changes nothing
    (small,), (large,) = (backbone(torch.zeros(1, 3, *size)) for size in ((128, 96), (256, 192)))
    np.testing.assert_allclose(small[..., 3, 3].detach(), large[..., 3, 3].detach(), atol=1e-4)


@pytest.mark.slow
def test_export(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    config = pose_config(simple=False, experts=6)
    backbone = ViTBackbone(config.backbone_config, dataset_index=2)
    head = ClassicHead(backbone.channels, backbone.strides, 17)
    model = PoseModel(backbone, head, PoseSpec(codec="udp", input_size=(128, 96))).eval()
    with torch.no_grad():
        size = randomised(model)(torch.randn(2, 3, 128, 96)).abs().max().item()
    assert export(exportable_pose_model(model, "none"), tmp_path / "small.onnx") < 1e-5 * size


@pytest.mark.parametrize(
    ("name", "million"),
    [
        *(("vitpose_s", 22), ("vitpose_b", 86), ("vitpose_l", 303), ("vitpose_h", 631)),
        *(("vitpose_plus_s", 31), ("vitpose_plus_b", 121), ("vitpose_plus_l", 429), ("vitpose_plus_h", 893)),
    ],
)
@pytest.mark.slow
def test_sizes(name: str, million: int) -> None:
    """On a device without memory: the entries' networks, and MMPose's names and shapes of them."""
    with torch.device("meta"):
        model = create_pose_model(name, head="vitpose_simple")
        assert model(torch.empty(1, 3, 256, 192)).shape == (1, 17, 64, 48)
        state = model.state_dict()
        theirs = state if "plus" in name else mmposes(state, authors=False)
        if "plus" not in name:
            theirs["backbone.pos_embed"] = theirs["backbone.pos_embed"][:, 1:]
        back = renamed(theirs)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == million
    assert {name: x.shape for name, x in back.items()} == {name: x.shape for name, x in state.items()}


def test_there_is_no_other_size() -> None:
    for name in ("vitpose_x", "vitpose_plus_x"):
        with pytest.raises(UnknownNameError, match=f"unknown backbone '{name}'.*{name[:-1]}h"):
            create_pose_model(name)
