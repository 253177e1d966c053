"""Calm where people rest, quick where they move, and never a joint that is not there."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from hrkit.errors import HrkitError
from hrkit.skeletons import coco17
from hrkit.structures import Detections, Poses
from hrkit.tracking.smoother import GAP, PoseSmoother


def poses_at(points: Sequence[NDArray[np.float64]], ids: Sequence[int] = (1,), height: float = 200) -> Poses:
    """People whose 17 joints are all at one point each."""
    keypoints = np.tile(np.reshape(points, (-1, 1, 2)), (1, 17, 1))
    boxes = Detections.from_boxes([[0, 0, height / 2, height]] * len(keypoints))
    return Poses(keypoints, np.ones((len(keypoints), 17)), boxes, coco17, ids)


def smoothed(points: NDArray[np.float64], times: NDArray[np.float64], **options: float) -> NDArray[np.float64]:
    """(F,2) the first joint of somebody who is at `points` (F,2)."""
    smoother = PoseSmoother(**options)
    return np.array(
        [smoother.update(poses_at([at]), time).keypoints[0, 0] for at, time in zip(points, times, strict=True)]
    )


def lag(given: NDArray[np.float64], got: NDArray[np.float64], times: NDArray[np.float64], hertz: float) -> float:
    """Seconds that a sine comes later, by its phase, which is the delay of the best cross-correlation."""
    turn = np.exp(-2j * np.pi * hertz * times)
    phase = np.angle((given - given.mean()) @ turn) - np.angle((got - got.mean()) @ turn)
    return float(phase / (2 * np.pi * hertz))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("fps", "less"), [(10, 2), (30, 3), (60, 3.5)])
def test_a_still_person_jitters_less(fps: int, less: float, seed: int) -> None:
    times = np.arange(20 * fps) / fps
    noise = np.random.default_rng(seed).normal(0, 2, (len(times), 2))
    settled = 2 * fps
    assert noise[settled:].std() / smoothed(100 + noise, times)[settled:].std() >= less


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0, 2])
@pytest.mark.parametrize("fps", [10, 30, 60])
def test_a_waving_wrist_lags_little(fps: int, noise: float) -> None:
    times = np.arange(20 * fps) / fps
    waving = np.stack([100 + 50 * np.sin(2 * np.pi * times), np.full(len(times), 100.0)], axis=1)
    random = np.random.default_rng(0)
    got = smoothed(waving + random.normal(0, noise, waving.shape), times)
    settled = slice(2 * fps, None)
    assert 0 < lag(waving[settled, 0], got[settled, 0], times[settled], 1.0) < 0.05
    assert got[settled, 0].std() / waving[settled, 0].std() == pytest.approx(1, abs=0.06)


def test_size_does_not_matter() -> None:
    times = np.arange(60) / 30
    walk = np.stack([100 * times + np.sin(9 * times), 3 * times], axis=1)
    small, large = PoseSmoother(), PoseSmoother()
    for at, time in zip(walk, times, strict=True):
        one = small.update(poses_at([at]), time).keypoints
        ten = large.update(poses_at([10 * at], height=2000), time).keypoints
        np.testing.assert_allclose(10 * one, ten, rtol=1e-5)


def test_frames_at_odd_times_do_not_matter() -> None:
    random = np.random.default_rng(1)
    times = np.sort(random.uniform(0, 4, 120))
    times = np.r_[0.0, times[times > 0.02], 4.0]
    even = np.arange(121) / 30

    def drifting(time: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([80 * time, np.full(len(time), 50.0)], axis=1)

    assert smoothed(drifting(times), times)[-1] == pytest.approx(smoothed(drifting(even), even)[-1], abs=1.0)


@pytest.mark.slow
def test_strength_is_the_trade_off() -> None:
    times = np.arange(300) / 30
    noise = np.random.default_rng(0).normal(0, 2, (len(times), 2))
    waving = np.stack([50 * np.sin(2 * np.pi * times), np.zeros(len(times))], axis=1)
    spreads = [smoothed(noise, times, strength=strength)[60:].std() for strength in (0, 0.5, 1, 2)]
    lags = [lag(waving[60:, 0], smoothed(waving, times, strength=s)[60:, 0], times[60:], 1.0) for s in (0, 0.5, 1, 2)]
    assert spreads == sorted(spreads, reverse=True)
    assert lags == sorted(lags)
    np.testing.assert_array_equal(smoothed(noise, times, strength=0), noise.astype(np.float32))


def test_a_missing_joint_is_never_moved() -> None:
    smoother = PoseSmoother()
    for frame in range(20):
        at = np.array([10.0 * frame, 5.0])
        poses = poses_at([at])
        scores, keypoints = poses.keypoint_scores.copy(), poses.keypoints.copy()
        scores[0, 3], keypoints[0, 4], scores[0, 5] = 0.1, [np.nan, 7.0], np.nan
        got = smoother.update(poses.replace(keypoints=keypoints, keypoint_scores=scores), frame / 30).keypoints
        np.testing.assert_array_equal(got[0, 3:6], keypoints[0, 3:6])
        if frame > 2:
            assert (got[0, [0, 16], 0] < at[0]).all()


def test_a_joint_that_comes_back_begins_anew() -> None:
    back = np.array([90.0, 90.0])
    for away, anew in ((GAP + 0.1, True), (GAP / 2, False)):
        smoother = PoseSmoother()
        smoother.update(poses_at([np.zeros(2)]), 0.0)
        for time in np.arange(1, 30 * away) / 30:
            smoother.update(poses_at([], ids=()), float(time))
        found = smoother.update(poses_at([back]), away).keypoints[0, 0]
        assert (found == pytest.approx(back)) is anew
        assert anew or (found < back).all()


@pytest.mark.parametrize("fps", [1 / 3600, 1 / 3, 0.5, 1, 1.9, 2.1, 5])
def test_smoothing_at_any_frame_rate(fps: float) -> None:
    times = np.arange(60) / fps
    noise = np.random.default_rng(0).normal(0, 2, (len(times), 2))
    calm = smoothed(noise, times)
    assert calm[10:].std() < noise[10:].std()
    assert fps < 0.1 or calm[10:].std() < 0.95 * noise[10:].std()


@pytest.mark.parametrize("fps", [1 / 3, 1, 30])
def test_a_joint_may_be_missing_in_one_frame(fps: float) -> None:
    smoother, back = PoseSmoother(), np.array([90.0, 90.0])
    smoother.update(poses_at([np.zeros(2)]), 0.0)
    smoother.update(poses_at([], ids=()), 1 / fps)
    state = json.loads(json.dumps(smoother.state_dict()))
    assert (smoother.update(poses_at([back]), 2 / fps).keypoints[0, 0] < back).all()
    resumed = PoseSmoother()
    resumed.load_state_dict(state)
    assert (resumed.update(poses_at([back]), 2 / fps).keypoints[0, 0] < back).all()


def test_everybody_has_a_filter_of_their_own() -> None:
    together, alone = PoseSmoother(), PoseSmoother()
    random = np.random.default_rng(2)
    for frame in range(10):
        one, other = random.normal(0, 5, (2, 2))
        order = [0, 1] if frame % 2 else [1, 0]
        both = poses_at([one, other], ids=(3, 7))[order]
        got = together.update(both, frame / 30).keypoints[order.index(0)]
        np.testing.assert_array_equal(got, alone.update(poses_at([one], ids=(3,)), frame / 30).keypoints[0])


def test_who_has_no_id_is_left_as_is() -> None:
    smoother = PoseSmoother()
    for frame in range(5):
        at = np.array([10.0 * frame, 0.0])
        np.testing.assert_array_equal(smoother.update(poses_at([at], ids=(-1,)), frame / 30).keypoints[0, 0], at)


def test_it_goes_on_from_a_state_to_the_same_numbers() -> None:
    random = np.random.default_rng(4)
    points = random.normal(0, 3, (20, 2, 2))
    whole, first, second = PoseSmoother(), PoseSmoother(), PoseSmoother()
    expected = [whole.update(poses_at(at, ids=(1, 2)), n / 30).keypoints for n, at in enumerate(points)]
    for n, at in enumerate(points[:9]):
        first.update(poses_at(at, ids=(1, 2)), n / 30)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for n, at in enumerate(points[9:], 9):
        np.testing.assert_array_equal(second.update(poses_at(at, ids=(1, 2)), n / 30).keypoints, expected[n])


def test_nobody_and_time_that_stands_still() -> None:
    smoother = PoseSmoother()
    nobody = Poses.empty(coco17).replace(track_ids=[])
    assert len(smoother.update(nobody, 0.0)) == 0
    smoother.update(poses_at([np.zeros(2)]), 1.0)
    assert np.isfinite(smoother.update(poses_at([np.ones(2)]), 1.0).keypoints).all()
    assert np.isfinite(smoother.update(poses_at([np.ones(2)]), 0.5).keypoints).all()


def test_mistakes() -> None:
    with pytest.raises(HrkitError, match="strength"):
        PoseSmoother(-1)
    with pytest.raises(HrkitError, match="PoseTracker"):
        PoseSmoother().update(Poses.empty(coco17), 0.0)
    with pytest.raises(HrkitError, match="finite"):
        PoseSmoother().update(poses_at([np.zeros(2)]), float("inf"))
    with pytest.raises(HrkitError, match="state"):
        PoseSmoother().load_state_dict({})
