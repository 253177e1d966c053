"""What `hrkit bench` measures is what it says; how fast it is no test can say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hrkit.benchmark import inference
from hrkit.benchmark.inference import Pair, Speed, Timing, crowd, interleaved, measure, page

SMALL = Pair("hrnet_w2", (64, 64), "synthetic")


@pytest.mark.slow
def test_pieces_of_work_take_turns_after_a_round_to_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    now = iter(np.cumsum([0, 90, 90, 3, 0, 1, 0, 1, 0, 1, 0, 5, 0, 1]).tolist())
    monkeypatch.setattr(inference.time, "perf_counter", lambda: next(now))
    timings = interleaved({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, rounds=3)
    assert done == ["a", "b"] * 4
    assert timings == {"a": Timing(median=3, low=1, high=5), "b": Timing(1, 1, 1)}
    assert str(timings["a"]) == "3000.00 (1000.00 to 5000.00)"


@pytest.mark.parametrize("people", [1, 2, 3, 16, 64])
def test_a_crowd_stands_inside_the_frame(people: int) -> None:
    ((frame, found),) = crowd(people)
    boxes = found.xyxy
    assert frame.shape == (720, 1280, 3)
    assert len(boxes) == people
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= [1280, 720]).all()
    size = boxes[:, 2:] - boxes[:, :2]
    np.testing.assert_allclose(size[:, 1], 2 * size[:, 0], rtol=1e-4)
    assert len(np.unique(boxes, axis=0)) == people


@pytest.fixture(scope="module")
def speed() -> Speed:
    return measure([SMALL], people=[1, 4], rounds=1, say=lambda line: None, device="cpu")


@pytest.mark.slow
def test_every_part_is_measured(speed: Speed) -> None:
    assert [(part.of, part.people) for part in speed.parts] == [(str(SMALL), 1), (str(SMALL), 4)]
    wanted = {"detector", "crops", "pose network", "decoding", "drawing", "end to end"}
    for part in speed.parts:
        assert set(part.seconds) == wanted
        for timing in part.seconds.values():
            assert 0 < timing.low <= timing.median <= timing.high
        posing = sum(part.seconds[name].median for name in ("crops", "pose network", "decoding"))
        assert speed.per_person[str(SMALL)][part.people] == pytest.approx(posing / part.people)
    (figure,) = speed.figures
    assert (figure.what, figure.unit) == ("end to end, a photo of 640x480, 2 people", "photos/s")
    assert figure.value > 0


@pytest.mark.slow
def test_the_page(speed: Speed) -> None:
    text = page(speed, "hrkit bench")
    assert text.startswith("# Speed\n\n`hrkit bench` on ")
    assert "| pose network |" in text
    assert f"torch {torch.__version__}" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)
    assert "|  | 1 person | 4 people |" in rows
