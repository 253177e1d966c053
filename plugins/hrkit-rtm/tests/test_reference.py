"""Networks, codec, loss, preprocessing and suppression give what MMPose and MMDetection give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hrkit_rtm.detector import MEAN, STD, RTMDet, resized_size, to_square
from hrkit_rtm.rtmdet import VARIANTS, RTMDetNetwork
from hrkit_rtm.simcc import official_sigma, simcc_loss

from hrkit import create_detector, create_pose_model
from hrkit.heads.codecs import create_codec
from hrkit.skeletons import coco17
from hrkit.warping import normalise
from seeded import seeded_state

pytestmark = pytest.mark.needs_shared

Arrays = Mapping[str, np.ndarray]


def _relative(ours: torch.Tensor, official: np.ndarray) -> float:
    return float(np.linalg.norm(ours.numpy() - official) / np.linalg.norm(official))


def _images(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(7).randn(1, 3, height, width).astype(np.float32))


def _published(shared: Path, name: str, tmp_path: Path) -> tuple[Arrays, Path]:
    """The reference outputs of a network, and its seeded weights in a file as MMPose writes them."""
    folder = shared / "reference" / "models"
    official = np.load(folder / f"{name}.npz")
    shapes = json.loads((folder / f"{name}.keys.json").read_text())
    file = tmp_path / f"{name}.pth"
    torch.save({"meta": {"epoch": 1}, "state_dict": seeded_state(shapes, float(official["gain"]))}, file)
    return official, file


@pytest.mark.slow
@pytest.mark.parametrize("size", ["t", pytest.param("m", marks=pytest.mark.slow)])
def test_rtmpose(size: str, shared: Path, tmp_path: Path) -> None:
    official, file = _published(shared, f"rtmpose_{size}_256x192", tmp_path)
    model = create_pose_model(f"rtmpose_{size}", weights=file, num_joints=None)
    assert (model.spec.codec, model.spec.sigma, model.spec.head) == ("simcc", (4.9, 5.66), "rtmcc")
    images = _images(256, 192)
    with torch.inference_mode():
        x, y = model(images)
        features = model.backbone(images)
    assert _relative(features[-1][:, ::8], official["features_every_8th"]) < 1e-5
    assert _relative(x, official["simcc_x"]) < 1e-5
    assert _relative(y, official["simcc_y"]) < 1e-5


@pytest.mark.slow
def test_rtmdet_nano(shared: Path, tmp_path: Path) -> None:
    official, file = _published(shared, "rtmdet_nano_320", tmp_path)
    settings = {"threshold": float(official["score_thr"]), "nms_threshold": float(official["nms_iou"])}
    detector = create_detector("rtmdet_nano", weights=file, **settings)
    with torch.inference_mode():
        for level, (logits, distances) in enumerate(detector.network.levels(_images(320, 320))):
            assert _relative(logits, official[f"cls_{level}"]) < 1e-4
            assert _relative(distances, official[f"reg_{level}"]) < 1e-4
        _, boxes, scores, _ = detector.candidates(detector.network(_images(320, 320)))
    assert abs(len(boxes) - int(official["candidates"])) <= 2  # scores lie near the threshold
    for box, score in zip(official["boxes_top50"], official["scores_top50"], strict=True):
        near = np.abs(boxes.numpy() - box).max(1) <= 0.05
        assert (np.abs(scores.numpy()[near] - score) <= 1e-4).any()


def test_boxes_of_official_outputs(shared: Path) -> None:
    official = np.load(shared / "reference" / "models" / "rtmdet_nano_320.npz")
    levels = [torch.cat([torch.from_numpy(official[f"{part}_{i}"]) for part in ("cls", "reg")], 1) for i in range(3)]
    outputs = torch.cat([level.flatten(2) for level in levels], 2).mT
    settings = {"threshold": float(official["score_thr"]), "nms_threshold": float(official["nms_iou"])}
    detector = RTMDet(RTMDetNetwork(VARIANTS["nano"]), input_size=320, **settings)
    _, boxes, scores, classes = detector.candidates(outputs)
    assert len(boxes) == official["candidates"]
    np.testing.assert_allclose(boxes[:50], official["boxes_top50"], atol=1e-3)
    np.testing.assert_allclose(scores[:50], official["scores_top50"], atol=1e-6)
    np.testing.assert_array_equal(classes[:50], official["labels_top50"])
    rows = detector.select(outputs)
    np.testing.assert_allclose(rows[:, 1:5], official["kept_boxes"], atol=1e-3)
    np.testing.assert_allclose(rows[:, 5], official["kept_scores"], atol=1e-6)
    np.testing.assert_array_equal(rows[:, 6], official["kept_labels"])


@pytest.mark.parametrize(("name", "side"), [("nano_320", 320), ("tiny_416", 416)])
def test_detector_input(name: str, side: int, shared: Path) -> None:
    official = np.load(shared / "reference" / "models" / "rtmdet_pre.npz")
    photo = cv2.imread(str(shared / "media" / "person.jpg"))
    size = resized_size(photo.shape[:2], side)
    assert size == tuple(official[f"{name}_resized_hw"])
    scale = np.array(size)[::-1] / photo.shape[1::-1]
    np.testing.assert_allclose(scale, official[f"{name}_scale_factor_wh"], atol=1e-6)
    square = to_square(photo, side)
    assert np.abs(square.astype(int) - official[f"{name}_bgr"]).max() <= 1
    tensor = normalise(torch.from_numpy(official[f"{name}_bgr"])[None], MEAN, STD, torch.device("cpu"))
    np.testing.assert_allclose(tensor[0, :, ::8, ::8], official[f"{name}_tensor_every_8th"], atol=1e-5)


@pytest.fixture(scope="module")
def simcc(shared: Path) -> Arrays:
    return np.load(shared / "reference" / "models" / "simcc_codec_256x192.npz")


def test_codec(simcc: Arrays) -> None:
    sigma = tuple(simcc["sigma"].tolist())
    assert official_sigma((256, 192)) == sigma
    codec = create_codec("simcc", input_size=(256, 192), heatmap_size=(64, 48), sigma=sigma)
    (x, y), weights = codec.encode(simcc["encode_keypoints"], simcc["encode_visible"])
    np.testing.assert_allclose(x, simcc["x_labels"], atol=1e-6)
    np.testing.assert_allclose(y, simcc["y_labels"], atol=1e-6)
    np.testing.assert_array_equal(weights, simcc["weights"])
    outputs = simcc["decode_simcc_x"], simcc["decode_simcc_y"]
    keypoints, scores = codec.decode(outputs)
    np.testing.assert_array_equal(keypoints, simcc["decoded_xy"])
    np.testing.assert_array_equal(scores, simcc["decoded_score"])
    flipped = codec.mirrored(tuple(one[:1] for one in outputs), coco17.flip_indices)
    np.testing.assert_array_equal(flipped[0], simcc["flipped_x"])
    np.testing.assert_array_equal(flipped[1], simcc["flipped_y"])


def test_loss(simcc: Arrays) -> None:
    outputs = tuple(torch.tensor(simcc[f"loss_pred_{axis}"], requires_grad=True) for axis in "xy")
    labels = tuple(torch.from_numpy(simcc[f"{axis}_labels"][:4]) for axis in "xy")
    loss = simcc_loss(outputs, labels, torch.from_numpy(simcc["loss_weights"]))
    assert loss.item() == pytest.approx(float(simcc["loss"]), rel=1e-5)
    loss.backward()
    for one, axis in zip(outputs, "xy", strict=True):
        assert _relative(one.grad[:, ::4], simcc[f"loss_grad_{axis}"]) < 1e-5
