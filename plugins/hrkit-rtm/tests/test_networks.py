"""Networks of every size, in the pipeline, made fast, exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hrkit_rtm.heads import RTMCCHead, SimccModel

from hrkit import Detections, Pipeline, create_detector, create_pose_model
from hrkit.errors import HrkitError, WeightsError
from hrkit.export import export, exportable_detector, exportable_pose_model
from hrkit.pose_model import PoseModel
from seeded import seeded_state


def seeded(model: torch.nn.Module, gain: float = 3.0) -> torch.nn.Module:
    """Fills a network so that its output depends on its input."""
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(seeded_state(shapes, gain))
    return model


@pytest.fixture(scope="module")
def small() -> PoseModel:
    model = create_pose_model("rtmpose_t", weights=None, input_size=(64, 96))
    seeded(model)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "joints", "millions"),
    [
        ("rtmpose_t", 17, 3.34),
        ("rtmpose_s", 17, 5.47),
        ("rtmpose_m", 17, 13.59),
        ("rtmpose_l", 17, 27.66),
        ("rtmw_m", 133, 32.26),
        ("rtmw_l", 133, 57.20),
    ],
)
def test_parameters_and_outputs(name: str, joints: int, millions: float) -> None:
    with torch.device("meta"):
        model = create_pose_model(name, weights=None, num_joints=joints, input_size=(384, 288))
        x, y = model(torch.zeros(2, 3, 384, 288))
    assert (x.shape, y.shape) == ((2, joints, 576), (2, joints, 768))
    assert model.spec.sigma == (6.0, 6.93)
    larger = 256 * (2 * (576 - 384 + 768 - 512) + (12 * 9 - 8 * 6) * (2 if name.startswith("rtmpose") else 5)) / 2
    count = sum(parameter.numel() for parameter in model.parameters()) - larger
    assert count / 1e6 == pytest.approx(millions, abs=0.006)


def test_cspnext_gives_heatmaps() -> None:
    with torch.device("meta"):
        model = create_pose_model("cspnext_t", weights=None, input_size=(64, 64))
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 17, 16, 16)
    assert (model.spec.head, model.spec.codec, model.spec.sigma) == ("deconv", "msra", 2.0)


def test_another_size_makes_another_head() -> None:
    head = RTMCCHead((8, 16), (16, 32), 5)
    features = [torch.zeros(1, 8, 4, 6), torch.zeros(1, 16, 2, 3)]
    head.set_input_size((64, 96))
    x, y = head(features)
    assert (x.shape, y.shape) == ((1, 5, 192), (1, 5, 128))


@pytest.mark.slow
def test_weights_of_another_size_do_not_fit(small: PoseModel, tmp_path: Path) -> None:
    torch.save(small.state_dict(), tmp_path / "small.pth")
    with pytest.raises(WeightsError, match=r"head\.\w+\S* is \(.*\), wanted"):
        create_pose_model("rtmpose_t", weights=tmp_path / "small.pth", num_joints=None, input_size=(256, 192))


def test_saved_networks_come_back(small: PoseModel, tmp_path: Path) -> None:
    small.save(tmp_path / "small.safetensors")
    loaded = create_pose_model(
        "rtmpose_t", weights=tmp_path / "small.safetensors", num_joints=None, input_size=None
    )
    assert isinstance(loaded, SimccModel)
    assert loaded.spec == small.spec
    assert loaded.spec.sigma == (3.46, 2.83)


@pytest.mark.slow
def test_the_pipeline_and_its_flip_test(small: PoseModel) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    people = Detections.from_boxes([[10, 10, 60, 70], [40, 5, 100, 75]])
    plain, flipped = (Pipeline(small, flip_test=flip_test, doubles=None) for flip_test in (False, True))
    poses = plain.predict(frame, people)
    assert poses.keypoints.shape == (2, 17, 2)
    # people in a mirrored picture are mirrored, as the flip test averages both
    mirrored = people.xyxy.copy()
    mirrored[:, [0, 2]] = 120 - people.xyxy[:, [2, 0]]
    there = flipped.predict(np.ascontiguousarray(frame[:, ::-1]), Detections.from_boxes(mirrored))
    here = flipped.predict(frame, people)
    np.testing.assert_allclose(there.keypoint_scores[:, small.skeleton.flip_indices], here.keypoint_scores, rtol=0.05)
    assert plain.predict(frame, people, return_heatmaps=True).heatmaps is None


def test_heatmap_decoders_are_refused(small: PoseModel) -> None:
    with pytest.raises(HrkitError, match="DarkCodec takes one sigma"):
        Pipeline(small, decoder="dark")


@pytest.mark.parametrize("runtime", ["auto", "eager"])
def test_made_fast(small: PoseModel, runtime: str) -> None:
    images = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = small(images), small.prepared("cpu", "float32", runtime)(images)
    for ours, wanted in zip(found, expected, strict=True):
        assert torch.linalg.norm(ours - wanted) < 1e-5 * torch.linalg.norm(wanted)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "torch-export"])
def test_exported_poses(small: PoseModel, kind: str, tmp_path: Path) -> None:
    subject = exportable_pose_model(small, "none")
    assert subject.names == ["simcc_x", "simcc_y"]
    file = tmp_path / {"onnx": "small.onnx", "torch-export": "small.pt2"}[kind]
    assert export(subject, file) < 1e-4
    if kind == "onnx":
        frame, people = np.full((80, 120, 3), 90, np.uint8), Detections.from_boxes([[10, 10, 60, 70]])
        poses, others = (Pipeline(small, runtime=run).predict(frame, people) for run in ("eager", f"onnx:{file}"))
        np.testing.assert_allclose(poses.keypoint_scores, others.keypoint_scores, rtol=1e-4)


@pytest.mark.slow
def test_exported_detector(tmp_path: Path) -> None:
    detector = create_detector("rtmdet_nano", weights=None, input_size=96)
    seeded(detector.network, 3.7)
    subject = exportable_detector(detector, "rtmdet_nano", "none")
    assert export(subject, tmp_path / "nano.onnx") < 1e-4
