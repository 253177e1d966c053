"""The oracle: ground truth, cropped, encoded, decoded and evaluated. What is lost here no network can win back."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from hrkit import geometry
from hrkit.evaluation import coco
from hrkit.heads.codecs import create_codec

INPUT, HEATMAP, SIGMA = (256, 192), (64, 48), 2.0
BATCH = 64


def _crop_points(content: dict, udp: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,2,3) maps frame px -> crop px, (N,17,2) keypoints in crop px, (N,17) visibility."""
    people = content["annotations"]
    labels = np.array([person["keypoints"] for person in people]).reshape(-1, 17, 3)
    to_crop = geometry.crop_transform([person["bbox"] for person in people], INPUT, udp=udp)
    return to_crop, geometry.apply_affine(to_crop, labels[..., :2]), labels[..., 2]


def _oracle_ap(content: dict, decoder: str) -> float:
    codec = create_codec(decoder, input_size=INPUT, heatmap_size=HEATMAP, sigma=SIGMA)
    to_crop, points, visible = _crop_points(content, codec.udp)
    decoded = [
        codec.decode(codec.encode(points[start : start + BATCH], visible[start : start + BATCH])[0])
        for start in range(0, len(points), BATCH)
    ]
    found, scores = (np.concatenate(parts) for parts in zip(*decoded, strict=True))
    in_frame = geometry.apply_affine(geometry.invert_affine(to_crop), found * codec.decoded_scale)
    results = coco.coco_results(
        [person["image_id"] for person in content["annotations"]],
        np.concatenate([in_frame, scores[..., None]], axis=2),
        np.ones(len(points)),
        INPUT[0] * INPUT[1] / np.linalg.det(to_crop[:, :, :2]),
    )
    return coco.coco_ap(content, results)["AP"]


def _only_inside(content: dict) -> dict:
    """A copy in which keypoints outside their crop count as not labelled."""
    _, points, visible = _crop_points(content, udp=False)
    inside = ((points >= 0) & (points <= np.array(INPUT[::-1]) - 1)).all(2)
    copied = copy.deepcopy(content)
    for person, flags in zip(copied["annotations"], np.where(inside, visible, 0), strict=True):
        person["keypoints"][2::3] = flags.tolist()
        person["num_keypoints"] = int((flags > 0).sum())
    return copied


@pytest.fixture(scope="module")
def content(shared: Path) -> dict:
    return json.loads((shared / "data" / "coco_val" / "person_keypoints_val.json").read_text())


@pytest.mark.slow
@pytest.mark.needs_shared
@pytest.mark.parametrize(
    ("decoder", "everything", "inside"),
    [("msra", 0.965, 0.993), ("dark", 0.965, 0.998), ("udp", 0.965, 0.998)],
)
def test_the_ceiling(content: dict, decoder: str, everything: float, inside: float) -> None:
    figures = {"all": _oracle_ap(content, decoder), "inside": _oracle_ap(_only_inside(content), decoder)}
    print(decoder, figures)
    assert figures["all"] >= everything
    assert figures["inside"] >= inside
