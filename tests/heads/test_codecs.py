"""Round trips and the properties of every codec."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve1d

from hrkit.errors import HrkitError
from hrkit.heads.codecs import _log_blurred, create_codec, peaks

NAMES = ["msra", "dark", "udp"]
SIZES = [((256, 192), 2.0), ((384, 288), 3.0), ((256, 256), 2.0)]


def _codec(name: str, size: tuple[int, int] = (256, 192), sigma: float = 2.0):
    return create_codec(name, input_size=size, heatmap_size=(size[0] // 4, size[1] // 4), sigma=sigma)


@pytest.mark.parametrize(("size", "sigma"), SIZES)
@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_round_trip_within_half_a_cell(name: str, size: tuple[int, int], sigma: float, seed: int) -> None:
    codec = _codec(name, size, sigma)
    height, width = size
    # near a border the blur of dark and udp sees zeros outside, as in MMPose, and pulls peaks inwards
    margin = 0 if name == "msra" else 4 * 4
    low, high = (margin, margin), (width - 4 - margin, height - 4 - margin)
    points = np.random.default_rng(seed).uniform(low, high, (2, 17, 2)).astype(np.float32)
    heatmaps, weights = codec.encode(points, np.ones((2, 17)))
    decoded, scores = codec.decode(heatmaps)
    assert (weights == 1).all()
    assert np.abs(decoded - points).max() <= 2 + 1e-3  # half of 4 crop px
    assert (scores > 0.5).all()


@pytest.mark.parametrize(("size", "sigma"), SIZES)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_dark_round_trip_within_a_tenth_of_a_cell(size: tuple[int, int], sigma: float, seed: int) -> None:
    codec = _codec("dark", size, sigma)
    inner = 6 * 4
    points = np.random.default_rng(seed).uniform((inner, inner), (size[1] - inner, size[0] - inner), (2, 17, 2))
    decoded, _ = codec.decode(codec.encode(points, np.ones((2, 17)))[0])
    assert np.abs(decoded - points).max() <= 0.4


@pytest.mark.parametrize("name", NAMES)
def test_unlabelled_and_far_joints_have_no_weight(name: str) -> None:
    points = np.array([[[50, 50], [-500, 50], [50, 5000], [60, 60]]], np.float32)
    heatmaps, weights = _codec(name).encode(points, np.array([[1, 1, 1, 0]]))
    assert weights.tolist() == [[1, 0, 0, 0]]
    assert heatmaps[0, 1:].max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_nothing_above_zero_is_the_first_cell(name: str) -> None:
    keypoints, scores = _codec(name).decode(np.full((1, 1, 64, 48), -0.5, np.float32))
    assert keypoints.tolist() == [[[0, 0]]]
    assert scores.tolist() == [[-0.5]]


@pytest.mark.parametrize("name", NAMES)
def test_nan_cells_are_no_peaks(name: str) -> None:
    codec = _codec(name)
    heatmaps, _ = codec.encode(np.array([[[100.0, 80.0]]]), np.ones((1, 1)))
    heatmaps[0, 0, 50, 10:20] = np.nan
    keypoints, scores = codec.decode(heatmaps)
    assert np.abs(keypoints - [100, 80]).max() <= 2
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", NAMES)
def test_nobody(name: str) -> None:
    codec = _codec(name)
    heatmaps, weights = codec.encode(np.zeros((0, 17, 2)), np.zeros((0, 17)))
    assert heatmaps.shape == (0, 17, 64, 48)
    assert weights.shape == (0, 17)
    keypoints, scores = codec.decode(heatmaps)
    assert keypoints.shape == (0, 17, 2)
    assert scores.shape == (0, 17)


@pytest.mark.parametrize("name", NAMES)
def test_arrays_in_arrays_out_tensors_in_tensors_out(name: str) -> None:
    codec = _codec(name)
    points = np.random.default_rng(1).uniform(20, 150, (2, 3, 2)).astype(np.float32)
    heatmaps, _ = codec.encode(points, np.ones((2, 3)))
    tensors, _ = codec.encode(torch.from_numpy(points), torch.ones(2, 3))
    assert isinstance(heatmaps, np.ndarray)
    assert torch.is_tensor(tensors)
    np.testing.assert_array_equal(heatmaps, tensors.numpy())
    before = heatmaps.copy()
    decoded, _ = codec.decode(heatmaps)
    assert isinstance(decoded, np.ndarray)
    np.testing.assert_array_equal(heatmaps, before)
    np.testing.assert_array_equal(decoded, codec.decode(tensors)[0].numpy())


@pytest.mark.parametrize("name", NAMES)
def test_batch_equals_single(name: str) -> None:
    codec = _codec(name)
    heatmaps = np.random.default_rng(2).random((5, 17, 64, 48), np.float32)
    together, _ = codec.decode(heatmaps)
    alone = np.concatenate([codec.decode(heatmaps[i : i + 1])[0] for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-3)


@given(
    st.sampled_from([("dark", 11), ("dark", 17), ("udp", 11)]),
    st.sampled_from([(16, 12), (7, 5), (24, 20)]),
    st.integers(0, 2**32 - 1),
)
def test_patches_give_what_the_whole_blurred_map_gives(
    how: tuple[str, int], size: tuple[int, int], seed: int
) -> None:
    """The blurred log-map about each peak, against the whole map blurred by SciPy and scaled to its old peak."""
    name, kernel = how
    low, high, reach = (1e-10, np.inf, 2) if name == "dark" else (1e-3, 50.0, 1)
    maps = np.random.default_rng(seed).uniform(-0.2, 1, (2, 3, *size)) ** 3
    taps = np.exp(-((np.arange(kernel) - kernel // 2) ** 2) / (2 * (0.3 * ((kernel - 1) * 0.5 - 1) + 0.8) ** 2))
    taps /= taps.sum()
    whole = convolve1d(convolve1d(maps, taps, 2, mode="constant"), taps, 3, mode="constant")
    whole *= maps.max((2, 3), keepdims=True) / whole.max((2, 3), keepdims=True)
    logs = np.log(np.clip(whole, low, high))
    points, _ = peaks(torch.from_numpy(maps))
    at = _log_blurred(torch.from_numpy(maps), points, kernel, reach=reach, low=low, high=high)
    x, y = points.long().numpy().transpose(2, 0, 1)
    people, joints = np.indices(x.shape)
    middle = logs[people, joints, y, x]
    for dx, dy in itertools.product(range(-reach, reach + 1), repeat=2):
        there = logs[people, joints, (y + dy).clip(0, size[0] - 1), (x + dx).clip(0, size[1] - 1)]
        np.testing.assert_allclose((at(dx, dy) - at(0, 0)).numpy(), there - middle, atol=1e-8)


def test_mirroring_twice_is_nothing_and_the_shift_moves_right() -> None:
    maps = torch.rand(2, 3, 4, 5)
    swap = np.array([0, 2, 1])
    unshifted = _codec("udp").mirrored(maps, swap)
    torch.testing.assert_close(_codec("udp").mirrored(unshifted, swap), maps)
    shifted = _codec("msra").mirrored(maps, swap)
    torch.testing.assert_close(shifted[..., 1:], unshifted[..., :-1])
    torch.testing.assert_close(shifted[..., 0], unshifted[..., 0])
    np.testing.assert_array_equal(_codec("msra").mirrored(maps.numpy(), swap), shifted.numpy())


@pytest.mark.parametrize("name", NAMES)
def test_joints_that_are_nowhere_and_coco_visibility(name: str) -> None:
    points = np.array([[[np.nan, np.nan], [np.nan, 5], [50, 50]]], np.float32)
    heatmaps, weights = _codec(name).encode(points, np.array([[0, 1, 2]]))
    assert np.isfinite(heatmaps).all()
    assert weights.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("name", NAMES)
def test_heatmaps_of_another_size_are_refused(name: str) -> None:
    with pytest.raises(HrkitError, match="wanted"):
        _codec(name).decode(np.zeros((1, 17, 32, 24), np.float32))
    for sigma in (0, 1e-300, 1e300):
        with pytest.raises(HrkitError, match=r"sigma must be from 0\.001 to 1000"):
            _codec(name, sigma=sigma)


@pytest.mark.parametrize("name", NAMES)
def test_decoding_in_inference_mode_leaves_nothing_behind(name: str) -> None:
    codec = create_codec(name, input_size=(72, 56), heatmap_size=(18, 14), sigma=2.0)
    with torch.inference_mode():
        codec.decode(torch.rand(1, 2, 18, 14))
    heatmaps = torch.rand(1, 2, 18, 14, requires_grad=True)
    keypoints, _ = codec.decode(heatmaps * 2)
    assert keypoints.shape == (1, 2, 2)


def test_udp_stays_within_a_cell_at_the_border() -> None:
    codec = _codec("udp")
    points = np.random.default_rng(0).uniform((0, 0), (191, 255), (50, 17, 2)).astype(np.float32)
    decoded, _ = codec.decode(codec.encode(points, np.ones((50, 17)))[0])
    assert np.abs(decoded * codec.decoded_scale - points).max() < 4


def test_the_kernel_of_dark() -> None:
    points = np.random.default_rng(0).uniform(60, 220, (2, 17, 2)).astype(np.float32)
    sizes = {"input_size": (384, 288), "heatmap_size": (96, 72), "sigma": 3.0}
    noise = np.random.default_rng(1).normal(0, 0.02, (2, 17, 96, 72)).astype(np.float32)
    heatmaps = create_codec("dark", **sizes).encode(points, np.ones((2, 17)))[0] + noise
    wide, by_default, narrow = (
        create_codec("dark", **sizes, **options).decode(heatmaps)[0] for options in ({"kernel": 17}, {}, {"kernel": 11})
    )
    np.testing.assert_array_equal(by_default, wide)
    assert 0.01 < np.abs(narrow - wide).max() < 4
    with pytest.raises(HrkitError, match="kernel of dark must be an odd number, not 4"):
        create_codec("dark", **sizes, kernel=4)
    with pytest.raises(HrkitError, match=r"DarkCodec takes one sigma, not \(4.9, 5.66\); keep the codec"):
        create_codec("dark", **{**sizes, "sigma": (4.9, 5.66)})
