"""The table of published weights says what the reference says, and every row of it loads."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from hrkit_rtm import register_weights
from hrkit_rtm.detector import RTMDet
from hrkit_rtm.rtmdet import VARIANTS, RTMDetNetwork

from hrkit import create_detector, create_pose_model
from hrkit.pose_model import PoseModel
from hrkit.skeletons import get_skeleton
from hrkit.weights import catalogue, checkpoints
from hrkit.weights.checkpoints import Checkpoint
from hrkit.weights.entry import WeightsEntry
from seeded import seeded_state, shapes_alone

ENTRIES = register_weights()


@pytest.mark.needs_shared
def test_every_published_row_of_these_families_is_an_entry(shared: Path) -> None:
    rows = json.loads((shared / "reference" / "models" / "zoo_more.json").read_text())
    rows = [row for row in rows if row["backbone"].startswith(("cspnext", "rtmdet"))]
    by_url = {entry.url: entry for entry in ENTRIES}
    assert len(rows) == len(ENTRIES) == len(by_url) == 75
    for row in rows:
        entry = by_url[row["url"]]
        prefix = row["sha256_prefix"]
        assert entry.checksum == (prefix and f"sha256:{prefix}"), entry.name
        assert entry.input_size == tuple(row["input_size_hw"]), entry.name
        if entry.kind == "detector":
            continue
        assert entry.num_joints == row["joints"], entry.name
        assert list(entry.skeleton.keypoint_names) == list(get_skeleton(row["skeleton"]).keypoint_names), entry.name
        codec = row["codec"]
        sigma = tuple(codec["sigma"]) if codec["type"] == "SimCCLabel" else codec["sigma"]
        assert (entry.codec, entry.sigma) == ({"SimCCLabel": "simcc", "UDPHeatmap": "udp"}[codec["type"]], sigma)


def test_one_default_for_a_model_and_number_of_joints() -> None:
    defaults = Counter((entry.model, entry.kind, entry.num_joints) for entry in ENTRIES if entry.default)
    assert set(defaults.values()) == {1}
    assert catalogue.choose("rtmpose_m").name == "rtmpose_m-body8-256x192"
    assert catalogue.choose("rtmpose_m", num_joints=21).name == "rtmpose_m-hand5-256x256"
    assert catalogue.choose("rtmdet_nano", kind="detector").name == "rtmdet_nano-person-320"
    assert {entry.licence for entry in ENTRIES} == {"Apache-2.0"}
    assert all(0 < value < 1 for entry in ENTRIES for value in entry.metrics.values())


def _with_its_file(
    entry: WeightsEntry, monkeypatch: pytest.MonkeyPatch, *, values: bool = False
) -> PoseModel | RTMDet:
    """The network of an entry; its file has the names that MMPose's and MMDetection's files have.

    Without `values` it stands on a device without memory, where names and shapes are all there is.
    """
    with shapes_alone():
        if entry.kind == "detector":
            network: torch.nn.Module = RTMDetNetwork(VARIANTS[entry.model.removeprefix("rtmdet_")], _classes(entry))
        else:
            network = create_pose_model(
                entry.model, num_joints=entry.num_joints, input_size=entry.input_size, codec=entry.codec
            )
    state = {name.replace("backbone.neck.", "neck."): one for name, one in network.state_dict().items()}
    if values:
        shapes = {name: list(one.shape) for name, one in state.items()}
        state = seeded_state(shapes, 3.0, shared=entry.kind == "detector")
    file = Path("official.pth")
    monkeypatch.setattr(catalogue, "fetch", lambda entry: file)
    monkeypatch.setattr(checkpoints, "read_checkpoint", lambda path: Checkpoint(file, state, "mmpose", {}))
    with contextlib.nullcontext() if values else shapes_alone():
        if entry.kind == "detector":
            return create_detector(entry.model, weights=entry.name)
        return create_pose_model(entry.model, weights=entry.name, num_joints=None, input_size=None)


def _classes(entry: WeightsEntry) -> int:
    return 80 if "coco" in entry.name else 1


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted({entry.model for entry in ENTRIES if entry.kind == "detector"}))
def test_every_detector_takes_its_file(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for entry in (entry for entry in ENTRIES if entry.model == model):
        detector = _with_its_file(entry, monkeypatch)
        assert entry.input_size == (detector.input_size, detector.input_size), entry.name
        assert detector.network.num_classes == _classes(entry), entry.name
    outputs = detector.network(torch.empty(1, 3, *entry.input_size, device="meta"))
    assert outputs.shape[2] == _classes(entry) + 4


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted({entry.model for entry in ENTRIES if entry.kind == "pose"}))
def test_every_pose_network_takes_its_file(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that differ in nothing but their file are built once; the trunk runs once for each size of pictures."""
    walked, features = set(), {}
    for entry in (entry for entry in ENTRIES if entry.model == model):
        case = entry.num_joints, entry.skeleton, entry.input_size, entry.codec, entry.sigma
        if case in walked:
            continue
        walked.add(case)
        network = _with_its_file(entry, monkeypatch)
        if entry.input_size not in features:
            features[entry.input_size] = network.backbone(torch.empty(1, 3, *entry.input_size, device="meta"))
        outputs = network.head(features[entry.input_size])
        empty = torch.utils._pytree.tree_map(lambda one: torch.zeros(one.shape), outputs)
        assert network.create_codec().decode(empty)[0].shape == (1, entry.num_joints, 2), entry.name
        assert network.skeleton == entry.skeleton, entry.name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rtmdet_nano-person-320", "rtmdet_tiny-coco-640"])
def test_seeded_weights_of_detectors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With values; the exponentials of seeded distances may be infinite."""
    entry = catalogue.find(name)
    detector = _with_its_file(entry, monkeypatch, values=True)
    with torch.inference_mode():
        logits = detector.network(torch.randn(1, 3, *entry.input_size))[..., :-4]
    assert logits.isfinite().all()
    assert logits.std() > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["rtmpose_t-face6-256x256", "cspnext_t-coco_aic-256x192-udp", "rtmw_m-cocktail14-256x192"]
)
def test_seeded_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of each kind of network, with values."""
    entry = catalogue.find(name)
    network = _with_its_file(entry, monkeypatch, values=True)
    with torch.inference_mode():
        keypoints, scores = network.create_codec().decode(network.outputs(torch.randn(1, 3, *entry.input_size)))
    assert keypoints.shape == (1, entry.num_joints, 2)
    assert keypoints.isfinite().all()
    assert scores.std() > 0
