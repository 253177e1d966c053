"""The kit passes detectors that are sound, and finds what is wrong with others."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from faulty_detectors import (
    BOXES,
    FAULTS,
    PERSON,
    PREPARED,
    SOUND,
    Fault,
    HeightFirst,
    LetterboxBorder,
    Mirrored,
    NetworkPx,
    SharedBuffer,
    Shares,
    WidthAndHeight,
)
from hrkit import Detections
from hrkit.testing import check_detector, describe, detectors, examine_detector
from hrkit.testing.detectors import unlike
from hrkit.testing.scenes import painted, photo, player


@pytest.fixture
def small_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sixteenth of the photo's pixels, which is quicker."""
    for scene in (photo, player):
        small = np.ascontiguousarray(scene()[::4, ::4])
        monkeypatch.setattr(detectors, scene.__name__, lambda small=small: small)


@pytest.mark.parametrize(("broken", "check"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found(broken: type, check: str, small_scenes: None) -> None:
    findings = check_detector(broken(), frame=painted(), expected=PERSON)
    assert check in [finding.check for finding in findings], describe(findings)
    (found,) = [finding for finding in findings if finding.check == check]
    assert found.problem
    assert found.advice
    assert "\n" not in str(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (WidthAndHeight, "x, y, width, height"),
        (NetworkPx, "px of the network's input"),
        (LetterboxBorder, "px of a letterbox"),
        (HeightFirst, "y1, x1, y2, x2"),
        (Mirrored, "x counted from the right"),
        (Shares, "shares of the frame"),
    ],
)
def test_boxes_that_move_wrongly_tell_their_convention(broken: type, name: str) -> None:
    findings = check_detector(broken())
    problems = [finding.problem for finding in findings if finding.check == BOXES]
    assert len(problems) == 1, describe(findings)
    assert f"as if they were {name}" in problems[0]


@pytest.mark.slow
def test_a_sound_detector_passes() -> None:
    findings = list(examine_detector(SOUND, frame=painted(), expected=PERSON))
    optional = ("copies on devices", PREPARED)
    assert {finding.verdict for finding in findings if finding.check not in optional} == {"ok"}
    assert check_detector(Fault()) == []


class Nobody:
    def detect(self, images):
        return [Detections.empty() for _ in images]


class Middle:
    """The same place whatever is in the frame."""

    def detect(self, images):
        return [Detections.from_boxes([np.tile(image.shape[1::-1], 2) * [0.25, 0.25, 0.75, 0.75]]) for image in images]


class Jittery(Fault):
    """Real networks put a box a little elsewhere when the picture moves."""

    def changed(self, image, found):
        sides = found.xyxy[:, 2:] - found.xyxy[:, :2]
        off = 0.06 * np.random.default_rng(int(image.sum()) % 2**32).uniform(-1, 1, found.xyxy.shape)
        boxes = found.xyxy + off * np.tile(sides, 2)
        return Detections(np.clip(boxes, 0, np.tile(image.shape[1::-1], 2)), found.scores, found.class_ids)


@pytest.mark.slow
@pytest.mark.parametrize("poor", [Nobody, Middle, Jittery])
def test_a_poor_detector_keeps_the_contract(poor: type) -> None:
    findings = check_detector(poor())
    assert not findings, describe(findings)


def test_who_is_expected_must_be_found() -> None:
    (finding,) = check_detector(Nobody(), frame=painted(), expected=PERSON)
    assert finding.check == "expected people are found"
    assert "nobody is found at 26, 36, 145, 175; there are no boxes" in finding.problem


@pytest.mark.slow
def test_what_is_trained_sees_people_where_they_are() -> None:
    for box, wrong in (([37, 80, 160, 480], 0), ([300, 100, 400, 200], 1)):

        class Trained(Fault):
            def changed(self, image, found, box=box):
                return Detections.from_boxes([box] if image.shape == (480, 640, 3) else [])

        findings = examine_detector(Trained(), trained=True)
        assert [f.verdict for f in findings if f.check == "expected people are found"] == [("ok", "wrong")[wrong]]


def test_copies_of_networks_may_run_side_by_side() -> None:
    """A network is copied to each device, so that a buffer of its own is no fault."""

    class Buffered(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))
            self.shared = SharedBuffer()

        def detect(self, images):
            return self.shared.detect(images)

    assert check_detector(Buffered()) == []


def test_what_two_results_have_apart() -> None:
    one = Detections([[0, 0, 10, 10], [5, 5, 20, 20]], [0.9, 0.4], [0, 0])
    assert unlike(one, one, px=0, score=0) is None
    assert unlike(one, one[[1, 0]], px=0, score=0) is None
    assert unlike(Detections.empty(), Detections.empty(), px=0, score=0) is None
    for other in (one[:1], Detections.empty(), Detections(one.xyxy + 2, one.scores, one.class_ids)):
        assert unlike(one, other, px=1, score=0.1)
        assert unlike(other, one, px=1, score=0.1)
    assert unlike(one, Detections(one.xyxy, one.scores - 0.2, one.class_ids), px=1, score=0.1)
    assert unlike(one, Detections(one.xyxy, one.scores, one.class_ids + 1), px=1, score=0.1)


def test_the_detector_itself_stays_as_it_is() -> None:
    network = nn.Conv2d(3, 3, 1)
    network.detect = SOUND.detect  # type: ignore[assignment]
    before = copy.deepcopy(network.state_dict())
    check_detector(network)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
