"""The codec beside a plain version, and on what people may give it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hrkit_rtm.simcc import SimccCodec, official_sigma
from hypothesis import given, settings
from hypothesis import strategies as st

from hrkit.errors import HrkitError
from hrkit.heads.codecs import create_codec
from hrkit.skeletons import coco17


def _codec(size: tuple[int, int] = (256, 192)) -> SimccCodec:
    sizes = {"input_size": size, "heatmap_size": (size[0] // 4, size[1] // 4)}
    codec = create_codec("simcc", **sizes, sigma=official_sigma(size))
    assert isinstance(codec, SimccCodec)
    return codec


@pytest.mark.parametrize(
    ("size", "sigma"), [((256, 192), (4.9, 5.66)), ((384, 288), (6.0, 6.93)), ((256, 256), (5.66, 5.66))]
)
def test_the_deviations_of_published_models(size: tuple[int, int], sigma: tuple[float, float]) -> None:
    assert official_sigma(size) == sigma


def _plain_label(point: float, count: int, sigma: float) -> tuple[np.ndarray, bool]:
    center = np.around(2 * point)
    seen = center - 3 * sigma < count and center + 3 * sigma + 1 >= 0
    return np.exp(-((np.arange(count) - center) ** 2) / (2 * sigma**2)), seen


@pytest.mark.slow
@given(
    points=st.lists(st.tuples(st.floats(-40, 300, width=32), st.floats(-40, 300, width=32)), min_size=17, max_size=17),
    visible=st.lists(st.sampled_from([0, 1, 2]), min_size=17, max_size=17),
)
@settings(max_examples=40, deadline=None)
def test_labels_are_those_of_a_plain_version(points: list, visible: list) -> None:
    codec = _codec()
    (x, y), weights = codec.encode(np.array([points], np.float32), np.array([visible]))
    for joint, (px, py) in enumerate(points):
        label_x, seen_x = _plain_label(px, 384, 4.9)
        label_y, seen_y = _plain_label(py, 512, 5.66)
        weight = float(min(visible[joint], 1) * (seen_x and seen_y))
        assert weights[0, joint] == weight
        np.testing.assert_allclose(x[0, joint], label_x * weight, atol=1e-6)
        np.testing.assert_allclose(y[0, joint], label_y * weight, atol=1e-6)


@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([(256, 192), (384, 288), (64, 96)]))
@settings(max_examples=30, deadline=None)
def test_round_trip_within_half_a_bin(seed: int, size: tuple[int, int]) -> None:
    points = np.random.default_rng(seed).uniform((0, 0), (size[1] - 1, size[0] - 1), (2, 17, 2)).astype(np.float32)
    codec = _codec(size)
    labels, weights = codec.encode(points, np.ones((2, 17)))
    decoded, scores = codec.decode(labels)
    assert (weights == 1).all()
    assert np.abs(decoded - points).max() <= 0.25 + 1e-5
    assert (scores == 1).all()


def test_joints_that_are_nowhere() -> None:
    points = np.array([[[np.nan, 50], [50, 50], [-500, 50]]], np.float32)
    (x, y), weights = _codec().encode(points, np.ones((1, 3)))
    assert weights.tolist() == [[0, 1, 0]]
    assert np.isfinite(x).all()
    assert np.isfinite(y).all()
    keypoints, scores = _codec().decode((np.full((1, 2, 384), -1.0), np.full((1, 2, 512), np.nan)))
    assert (keypoints == -0.5).all()
    assert (scores <= 0).all()


def test_tensors_keep_their_kind_and_mirroring_twice_is_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, 17, 384, generator=generator), torch.randn(3, 17, 512, generator=generator)
    codec = _codec()
    arrays = codec.decode(tuple(one.numpy() for one in outputs))
    for tensor, array in zip(codec.decode(outputs), arrays, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), array)
    twice = codec.mirrored(codec.mirrored(outputs, coco17.flip_indices), coco17.flip_indices)
    assert all(torch.equal(one, other) for one, other in zip(twice, outputs, strict=True))


@pytest.mark.parametrize(
    "outputs",
    [
        np.zeros((1, 17, 64, 48), np.float32),
        (np.zeros((1, 17, 512), np.float32), np.zeros((1, 17, 384), np.float32)),
        (np.zeros((1, 17, 384), np.float32),),
    ],
    ids=["heatmaps", "swapped", "one"],
)
def test_other_outputs_are_refused(outputs: object) -> None:
    with pytest.raises(HrkitError, match=r"simcc reads two distributions|distributions have shapes"):
        _codec().decode(outputs)


def test_wrong_deviations() -> None:
    with pytest.raises(HrkitError, match=r"sigma must be from 0\.001 to 1000"):
        create_codec("simcc", input_size=(256, 192), heatmap_size=(64, 48), sigma=(4.9, 0.0))
