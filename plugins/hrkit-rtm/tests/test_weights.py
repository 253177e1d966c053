"""The table of published weights says what the reference says, and every row of it loads."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import attrs
import pytest
import torch
from hrkit_rtm import register_weights
from hrkit_rtm.rtmdet import VARIANTS, RTMDetNetwork
from seeded_rtm import seeded_state

from hrkit import create_detector, create_pose_model
from hrkit.skeletons import get_skeleton
from hrkit.weights import catalogue
from hrkit.weights.entry import WeightsEntry

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


def _official_file(entry: WeightsEntry, file: Path) -> None:
    """Writes seeded weights in the names that MMPose's and MMDetection's files have."""
    if entry.kind == "detector":
        classes = 80 if "coco" in entry.name else 1
        network = RTMDetNetwork(VARIANTS[entry.model.removeprefix("rtmdet_")], classes)
    else:
        network = create_pose_model(
            entry.model, num_joints=entry.num_joints, input_size=entry.input_size, codec=entry.codec
        )
    shapes = {name.replace("backbone.neck.", "neck."): list(one.shape) for name, one in network.state_dict().items()}
    torch.save({"state_dict": seeded_state(shapes, 3.0, shared=entry.kind == "detector")}, file)


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_works(entry: WeightsEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "official.pth"
    _official_file(entry, file)
    monkeypatch.setattr(catalogue, "fetch", lambda selected: attrs.evolve(selected, file=file, url=None).file)
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        if entry.kind == "detector":
            detector = create_detector(entry.model, weights=entry.name)
            assert entry.input_size == (detector.input_size, detector.input_size)
            images = torch.randn(1, 3, *entry.input_size, generator=generator)
            logits = detector.network(images)[..., :-4]  # the exponentials of seeded distances may be infinite
            assert logits.isfinite().all()
            assert logits.std() > 0
            return
        model = create_pose_model(entry.model, weights=entry.name, num_joints=None, input_size=None)
        outputs = model.outputs(torch.randn(1, 3, *entry.input_size, generator=generator))
        keypoints, scores = model.create_codec().decode(outputs)
    assert keypoints.shape == (1, entry.num_joints, 2)
    assert keypoints.isfinite().all()
    assert scores.std() > 0
    assert model.skeleton == entry.skeleton
