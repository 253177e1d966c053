"""Ids that stay: crossings, gaps, leaving and coming, and many people at once."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hrkit.errors import HrkitError
from hrkit.skeletons import coco17, mpii16
from hrkit.structures import Detections, Poses
from hrkit.tracking.tracker import PoseTracker
from walkers import Walker, idf1, look, poses_of, straight, watch

CROSSING = [straight((100, 200), (150, 0)), straight((700, 210), (-150, 0))]


def track(
    frames: Iterable[tuple[float, Poses, list[int]]], tracker: PoseTracker | None = None
) -> tuple[list[int], list[int]]:
    """Who the rows are, and their ids."""
    tracker, truth, ids = tracker or PoseTracker(), [], []
    for time, poses, people in frames:
        found = tracker.update(poses, time).track_ids
        assert found is not None
        truth += people
        ids += found.tolist()
    return truth, ids


def ids_of(person: int, truth: list[int], ids: list[int]) -> list[int]:
    """The ids a person had, in order, each once; without -1."""
    return list(dict.fromkeys(i for who, i in zip(truth, ids, strict=True) if who == person and i >= 0))


def seen_by(  # type: ignore[no-untyped-def]
    walkers: list[Walker],
    seconds: float,
    fps: float,
    hidden: dict[int, tuple[float, float]] | None = None,
    seed: int = 0,
):
    """What is seen of walkers, but for those who are hidden from one time to another."""
    random = np.random.default_rng(seed)
    for time, poses, people in watch(walkers, seconds, fps, random, missed=0):
        kept = [
            row
            for row, who in enumerate(people)
            if not (hidden and who in hidden and hidden[who][0] <= time < hidden[who][1])
        ]
        yield time, poses[kept], [people[row] for row in kept]


@pytest.mark.slow
@pytest.mark.parametrize("fps", [10, 30])
@pytest.mark.parametrize("hidden", [None, {1: (1.8, 2.2)}, {0: (1.7, 2.3)}])
@pytest.mark.parametrize("seed", range(3))
def test_two_people_cross(fps: float, hidden: dict[int, tuple[float, float]] | None, seed: int) -> None:
    truth, ids = track(seen_by(CROSSING, 4, fps, hidden, seed))
    assert {tuple(ids_of(person, truth, ids)) for person in (0, 1)} == {(1,), (2,)}


@pytest.mark.slow
@pytest.mark.parametrize("fps", [10, 30])
def test_somebody_is_missed_for_a_second(fps: float) -> None:
    walkers = [straight((100, 200), (80, 0)), straight((100, 500), (60, 10))]
    truth, ids = track(seen_by(walkers, 4, fps, {0: (1.5, 2.5)}))
    assert {tuple(ids_of(person, truth, ids)) for person in (0, 1)} == {(1,), (2,)}


@pytest.mark.parametrize("seed", range(3))
def test_frames_at_odd_times_keep_ids(seed: int) -> None:
    random = np.random.default_rng(seed)
    walkers = [*CROSSING, straight((400, 600), (60, -20))]
    times = np.cumsum(random.uniform(1 / 60, 1 / 5, 60))
    frames = [(float(time), *look(walkers, float(time), random)) for time in times]
    truth, ids = track(frames)
    assert {tuple(ids_of(person, truth, ids)) for person in range(3)} == {(1,), (2,), (3,)}


@pytest.mark.slow
@pytest.mark.parametrize("fps", [10, 30])
def test_who_comes_new_gets_a_new_id(fps: float) -> None:
    walkers = [straight((100, 200), (100, 0), end=2.0), straight((900, 600), (-100, 0), start=2.5)]
    truth, ids = track(seen_by(walkers, 5, fps))
    assert ids_of(0, truth, ids) == [1]
    assert ids_of(1, truth, ids) == [2]


def test_who_is_away_for_too_long_is_somebody_new() -> None:
    walkers = [straight((300, 300), (0, 0))]
    truth, ids = track(seen_by(walkers, 5, 10, {0: (1.0, 2.0)}), PoseTracker(memory=0.5))
    assert ids_of(0, truth, ids) == [1, 2]
    truth, ids = track(seen_by(walkers, 5, 10, {0: (1.0, 2.0)}))
    assert ids_of(0, truth, ids) == [1]


@pytest.mark.parametrize("fps", [1 / 3600, 1 / 3, 0.45, 1, 2, 240, 1000])
def test_ids_stay_at_any_frame_rate(fps: float) -> None:
    walkers = [straight((200 + 300 * person, 300), (0, 0)) for person in range(4)]
    hidden = {1: (9.5 / fps, 11.5 / fps)}  # in two frames
    truth, ids = track(seen_by(walkers, 30 / fps, fps, hidden))
    assert len(ids) > 100
    assert {tuple(ids_of(person, truth, ids)) for person in range(4)} == {(1,), (2,), (3,), (4,)}
    assert min(ids) > 0


@pytest.mark.parametrize("fps", [1 / 3, 1])
def test_who_comes_later_gets_an_id_at_low_rates_too(fps: float) -> None:
    walkers = [straight((200, 300), (0, 0)), straight((800, 300), (0, 0), start=5 / fps)]
    truth, ids = track(seen_by(walkers, 20 / fps, fps))
    assert (ids_of(0, truth, ids), ids_of(1, truth, ids)) == ([1], [2])


@pytest.mark.slow
@pytest.mark.parametrize("people", [8, 15])
@pytest.mark.parametrize("fps", [10, 30])
@pytest.mark.parametrize("seed", range(5))
def test_a_fifth_of_all_detections_missed(people: int, fps: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    walkers = [
        straight(
            (random.uniform(0, 1500), random.uniform(100, 900)),
            (random.choice([-1, 1]) * random.uniform(40, 160), random.uniform(-20, 20)),
            height=random.uniform(120, 260),
            growth=random.uniform(-0.05, 0.05),
            phase=random.uniform(0, 6),
        )
        for _ in range(people)
    ]
    truth, ids = track(watch(walkers, 10, fps, random, missed=0.2))
    assert idf1(truth, ids) >= 0.97


@pytest.mark.slow
@given(st.permutations(range(6)), st.integers(0, 100))
@example([1, 2, 3, 0, 4, 5], 91)  # two of them stand almost in one place
@settings(deadline=None, max_examples=20)
def test_the_order_of_rows_does_not_matter(order: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    places = random.uniform(0, 1000, (6, 2))
    walkers = [straight((x, y), tuple(random.uniform(-50, 50, 2))) for x, y in places]  # type: ignore[arg-type]
    one, other = PoseTracker(), PoseTracker()
    names: dict[int, int] = {}
    for frame in range(8):
        poses, _ = look(walkers, frame / 10)
        first = one.update(poses, frame / 10).track_ids
        second = other.update(poses[order], frame / 10).track_ids
        assert first is not None
        assert second is not None
        for left, right in zip(first[order].tolist(), second.tolist(), strict=True):
            assert names.setdefault(left, right) == right


@pytest.mark.slow
@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=10)
def test_rows_may_be_in_another_order_in_every_frame(seed: int) -> None:
    random = np.random.default_rng(seed)
    walkers = [*CROSSING, straight((400, 300), (0, 40)), straight((450, 320), (0, 40))]
    one, other = PoseTracker(), PoseTracker()
    names: dict[int, int] = {-1: -1}
    for time, poses, _ in watch(walkers, 4, 10, random):
        order = random.permutation(len(poses))
        first, second = one.update(poses, time).track_ids, other.update(poses[order], time).track_ids
        assert first is not None
        assert second is not None
        for left, right in zip(first[order].tolist(), second.tolist(), strict=True):
            assert names.setdefault(left, right) == right
    assert len(set(names.values())) == len(names)


def test_new_people_get_an_id_when_they_were_seen_often_enough() -> None:
    tracker = PoseTracker(min_hits=3)
    walker = [straight((300, 300), (0, 0))]
    first = tracker.update(Poses.empty(coco17), 0.0).track_ids
    assert first is not None
    assert len(first) == 0
    ids = [tracker.update(look(walker, 0.1 * n)[0], 0.1 * n).track_ids.tolist() for n in range(1, 5)]  # type: ignore[union-attr]
    assert ids == [[-1], [-1], [1], [1]]


def test_people_of_low_score_go_on_but_begin_nothing() -> None:
    tracker = PoseTracker(min_hits=1)
    joints, boxes = (np.stack([part(w, 0.0) for w in CROSSING]) for part in (Walker.joints, Walker.box))
    surely = poses_of(joints[:1], boxes[:1])
    assert tracker.update(surely, 0.0).track_ids.tolist() == [1]  # type: ignore[union-attr]
    faintly = poses_of(joints, boxes, score=tracker.min_score - 0.1)
    assert tracker.update(faintly, 0.1).track_ids.tolist() == [1, -1]  # type: ignore[union-attr]


def test_it_goes_on_from_a_state_to_the_same_ids_and_numbers() -> None:
    random = np.random.default_rng(3)
    frames = list(watch([*CROSSING, straight((400, 600), (10, -50))], 4, 10, random))
    whole, first, second = PoseTracker(), PoseTracker(), PoseTracker()
    expected = track(frames, whole)
    begun = track(frames[:17], first)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    went_on = track(frames[17:], second)
    assert begun[1] + went_on[1] == expected[1]
    assert second.state_dict() == whole.state_dict()


def test_nothing_else_of_the_poses_changes() -> None:
    poses, _ = look(CROSSING, 0.0)
    poses = poses.replace(heatmaps=np.zeros((2, 17, 4, 3)))
    tracked = PoseTracker().update(poses, 0.0)
    assert poses.track_ids is None
    for name in ("keypoints", "keypoint_scores", "heatmaps"):
        np.testing.assert_array_equal(getattr(tracked, name), getattr(poses, name))


def test_what_is_not_finite_counts_as_not_seen() -> None:
    tracker = PoseTracker()
    poses, _ = look(CROSSING, 0.0)
    keypoints, scores = poses.keypoints.copy(), poses.keypoint_scores.copy()
    keypoints[0, :9], scores[1, 3:] = np.nan, np.nan
    damaged = poses.replace(keypoints=keypoints, keypoint_scores=scores)
    for time in (0.0, 0.1, 0.2):
        assert tracker.update(damaged, time).track_ids.tolist() == [1, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize("times", [[0.0, 0.0, 0.0], [1.0, 0.5, 0.2]])
def test_a_clock_that_stands_still_or_goes_back(times: list[float]) -> None:
    tracker = PoseTracker()
    for time in times:
        assert tracker.update(look(CROSSING, 0.0)[0], time).track_ids.tolist() == [1, 2]  # type: ignore[union-attr]


def test_boxes_without_area() -> None:
    poses = Poses(np.zeros((2, 17, 2)), np.zeros((2, 17)), Detections.from_boxes([[5, 5, 5, 5], [5, 5, 9, 5]]), coco17)
    tracker = PoseTracker()
    for time in (0.0, 0.1):
        assert len(tracker.update(poses, time)) == 2


@pytest.mark.parametrize("options", [{"min_hits": 0}, {"memory": -1}, {"min_score": 2}, {"min_similarity": np.nan}])
def test_options_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(HrkitError):
        PoseTracker(**options)  # type: ignore[arg-type]


def test_what_cannot_be_tracked() -> None:
    tracker = PoseTracker()
    tracker.update(look(CROSSING, 0.0)[0], 0.0)
    with pytest.raises(HrkitError, match="finite"):
        tracker.update(look(CROSSING, 0.0)[0], float("nan"))
    people = Poses(np.zeros((1, 16, 2)), np.zeros((1, 16)), Detections.from_boxes([[0, 0, 9, 9]]), mpii16)
    with pytest.raises(HrkitError, match="joints"):
        tracker.update(people, 0.1)
    with pytest.raises(HrkitError, match="state"):
        tracker.load_state_dict({"time": 0})
