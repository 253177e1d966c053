"""Networks, crops and decoding give what transformers and MMPose give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch

from hrkit import create_pose_model, geometry
from hrkit.heads.codecs import create_codec
from hrkit.pose_model import PoseModel
from seeded import seeded_state

pytestmark = pytest.mark.needs_shared

SIZE = (256, 192)
SIZES = {"input_size": SIZE, "heatmap_size": (64, 48), "sigma": 2.0}
NETWORKS = {
    "vitpose_s_simple_256x192": "vitpose_simple",
    "vitpose_s_classic_256x192": "vitpose_classic",
    "mmpose_vitpose_s_simple_256x192": "vitpose_simple",
}


def apart(found: torch.Tensor, official: np.ndarray) -> float:
    """The relative error."""
    return float(np.linalg.norm(found.numpy() - official) / np.linalg.norm(official))


@pytest.mark.slow
@pytest.mark.parametrize(("reference", "head"), NETWORKS.items())
def test_networks(shared: Path, tmp_path: Path, reference: str, head: str) -> None:
    folder = shared / "reference" / "models"
    official = np.load(folder / f"{reference}.npz")
    state = seeded_state(json.loads((folder / f"{reference}.keys.json").read_text()), float(official["gain"]))
    file = tmp_path / "model.safetensors"
    if reference.startswith("mmpose"):
        file = tmp_path / "model.pth"
        torch.save({"meta": {}, "state_dict": state}, file)
    else:
        safetensors.torch.save_file(state, file)
    model = create_pose_model("vitpose_s", head=head, weights=file, num_joints=None)
    assert (model.spec.codec, model.spec.num_joints) == ("udp", 17)

    images = torch.from_numpy(np.random.RandomState(7).randn(1, 3, *SIZE).astype(np.float32))
    with torch.inference_mode():
        (features,), heatmaps = model.backbone(images), model(images)
        fast = model.prepared("cpu", "float32")(images)
    assert apart(heatmaps, official["heatmaps"]) <= 1e-5
    assert apart(fast, official["heatmaps"]) <= 1e-5
    if "tokens_every_8th" in official:
        assert apart(features.flatten(2).transpose(1, 2)[:, ::8], official["tokens_every_8th"]) <= 1e-5
        mirrored = model.create_codec("vitpose").mirrored(heatmaps, model.skeleton.flip_indices)
        assert apart(mirrored[..., ::4, ::4], official["heatmaps_with_flip_pairs_every_4th"]) <= 1e-5


@pytest.fixture(scope="module")
def official(shared: Path) -> Mapping[str, np.ndarray]:
    return np.load(shared / "reference" / "models" / "vitpose_pre_post_256x192.npz")


@pytest.fixture
def transforms(official: Mapping[str, np.ndarray]) -> np.ndarray:
    return geometry.crop_transform(official["boxes_xywh"], SIZE, udp=create_codec("vitpose", **SIZES).udp)


def test_crops(official: Mapping[str, np.ndarray], transforms: np.ndarray, shared: Path, model: PoseModel) -> None:
    assert np.abs(transforms - official["affines"]).max() <= 3e-5
    photo = cv2.imread(str(shared / "media" / "person.jpg"))
    crops = geometry.warp_crops(photo, transforms, SIZE)
    places = np.stack(np.meshgrid(np.arange(0, 192, 2), np.arange(0, 256, 2)), axis=-1).reshape(-1, 2)
    samples = geometry.apply_affine(geometry.invert_affine(transforms), places).reshape(-1, 128, 96, 2)
    last = np.array([photo.shape[1] - 1, photo.shape[0] - 1])
    inside, outside = ((samples >= 0) & (samples <= last)).all(-1), ((samples < -1) | (samples > last + 1)).any(-1)
    difference = np.abs(crops[:, ::2, ::2, ::-1].astype(int) - official["crops_every_2nd"]).max(-1)
    assert inside.mean() > 0.5
    assert difference[inside | outside].max() <= 1

    pixels = model.normalise(torch.from_numpy(crops))[:, :, ::8, ::8].numpy()
    level = 1 / 255 / min(model.spec.std)
    sure = (inside | outside)[:, ::4, ::4]
    assert np.abs(pixels - official["pixel_values_every_8th"]).max(1)[sure].max() <= 1.01 * level


@pytest.fixture(scope="module")
def model() -> PoseModel:
    return create_pose_model("hrnet_w2")  # its input is normalised as ViTPose's is


def test_decoding(official: Mapping[str, np.ndarray], transforms: np.ndarray) -> None:
    codec = create_codec("vitpose", **SIZES)
    points, scores = codec.decode(official["gauss_heatmaps"].astype(np.float32))
    assert np.abs(in_cells(points) - official["gauss_cells"])[SEEN].max() <= 0.01
    np.testing.assert_array_equal(scores[SEEN], official["gauss_scores"].reshape(scores.shape)[SEEN])
    to_frame = geometry.invert_affine(transforms)
    to_frame[:, :, :2] *= codec.decoded_scale
    assert np.abs(geometry.apply_affine(to_frame, points) - official["gauss_keypoints_xy"])[SEEN].max() <= 0.01
    points, _ = codec.decode(official["noise_heatmaps_first"].astype(np.float32))
    assert np.abs(in_cells(points) - official["noise_cells_first"]).max() <= 0.01  # some peaks lie on a border


def test_how_far_udp_decodes_from_transformers(official: Mapping[str, np.ndarray]) -> None:
    points, _ = create_codec("udp", **SIZES).decode(official["gauss_heatmaps"].astype(np.float32))
    inner = ((official["true_cells"] > 6) & (official["true_cells"] < (41, 57))).all(-1)
    difference = np.abs(in_cells(points) - official["gauss_cells"])[inner & SEEN]
    assert 0.02 < difference.mean() < 0.05
    assert difference.max() < 0.16


SEEN = np.ones((4, 17), bool)
SEEN[0, 0] = False  # nothing above 0 there: the official answer lies beside the map


def in_cells(points: np.ndarray) -> np.ndarray:
    """Decoded points in heatmap cells."""
    return points * np.array(create_codec("udp", **SIZES).decoded_scale) * (47 / 191, 63 / 255)
