"""The kit passes detectors that are sound, and finds what is wrong with others."""

from __future__ import annotations

import copy
import functools
import threading
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from hrkit import Detections
from hrkit.geometry import letterbox_transform, xyxy_to_xywh
from hrkit.synthetic import SyntheticDetector
from hrkit.testing import check_detector, describe, detectors, examine_detector
from hrkit.testing.conventions import CONVENTIONS, Change, changes, other_convention
from hrkit.testing.detectors import unlike
from hrkit.testing.scenes import painted, photo, player
from hrkit.testing.threads import side_by_side

SOUND = SyntheticDetector()
PERSON = [[26, 36, 145, 175]]
"""Of `painted()`."""


class Fault:
    """A detector that is sound but for what a subclass does to its boxes."""

    def detect(self, images: Any) -> Any:
        return [self.changed(image, SOUND.detect([image])[0]) for image in images]

    def changed(self, image: Any, found: Detections) -> Any:
        return found


class NoMethod:
    pass


class NotAList(Fault):
    def detect(self, images):
        return iter(super().detect(images))


class OneTooFew(Fault):
    def detect(self, images):
        return [found for found in super().detect(images) if len(found)]


class Arrays(Fault):
    """The wrong type, and dtype."""

    def changed(self, image, found):
        return found.xyxy.astype(np.float64)


class Flat(Fault):
    """The wrong shape."""

    def changed(self, image, found):
        return Detections(found.xyxy.ravel(), found.scores, found.class_ids)


class NanBoxes(Fault):
    def changed(self, image, found):
        return Detections(found.xyxy * np.nan, found.scores, found.class_ids)


class NanScores(Fault):
    def changed(self, image, found):
        return Detections(found.xyxy, found.scores * np.nan, found.class_ids)


class Inverted(Fault):
    def changed(self, image, found):
        return Detections(found.xyxy[:, [2, 3, 0, 1]], found.scores, found.class_ids)


class Unsorted(Fault):
    def changed(self, image, found):
        scores = np.linspace(0.5, 0.9, len(found))
        return Detections(found.xyxy, scores, found.class_ids)


class Percent(Fault):
    def changed(self, image, found):
        return Detections(found.xyxy, found.scores * 100, found.class_ids)


class NoBackground(Fault):
    """Classes counted from -1."""

    def changed(self, image, found):
        return Detections(found.xyxy, found.scores, found.class_ids - 1)


class WidthAndHeight(Fault):
    """xywh for xyxy; a box that would be inverted is left out, so that nothing but its movement tells."""

    def changed(self, image, found):
        boxes = np.maximum(xyxy_to_xywh(found.xyxy), 0)
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
        return Detections.from_boxes(boxes)


class Centres(Fault):
    """Centre x, centre y, width, height."""

    def changed(self, image, found):
        boxes = xyxy_to_xywh(found.xyxy)
        boxes[:, :2] += boxes[:, 2:] / 2
        return Detections.from_boxes(boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)])


class NetworkPx(Fault):
    """px of a 64x64 input, never taken back to the frame."""

    def changed(self, image, found):
        scale_x, scale_y, left, top = letterbox_transform(image.shape[:2], (64, 64))
        boxes = found.xyxy * [scale_x, scale_y, scale_x, scale_y] + [left, top, left, top]
        boxes = np.clip(boxes, 0, [*image.shape[1::-1], *image.shape[1::-1]])
        return Detections.from_boxes(boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)])


class LetterboxBorder(Fault):
    """The border of the letterbox is not taken off."""

    def changed(self, image, found):
        height, width = image.shape[:2]
        border = np.tile([max(height - width, 0), max(width - height, 0)], 2) / 2
        boxes = np.clip(found.xyxy + border, 0, [width, height, width, height])
        return Detections.from_boxes(boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)])


class HeightFirst(Fault):
    """y before x."""

    def changed(self, image, found):
        boxes = np.clip(found.xyxy[:, [1, 0, 3, 2]], 0, [*image.shape[1::-1], *image.shape[1::-1]])
        return Detections.from_boxes(boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)])


class Mirrored(Fault):
    def changed(self, image, found):
        boxes = found.xyxy[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [image.shape[1], 0, image.shape[1], 0]
        return Detections.from_boxes(boxes)


class Outside(Fault):
    def changed(self, image, found):
        return Detections(found.xyxy + [0, 0, 100, 100], found.scores, found.class_ids)


class NoArea(Fault):
    def changed(self, image, found):
        return Detections(found.xyxy[:, [0, 1, 0, 3]], found.scores, found.class_ids)


class Scribbles(Fault):
    def changed(self, image, found):
        image[:2] = 0
        return found


class EmptiesTheList(Fault):
    def detect(self, images):
        found = super().detect(images)
        images.clear()
        return found


class NoFrames(Fault):
    def detect(self, images):
        return super().detect(list(np.stack(images[:1]))) + super().detect(images[1:])


class NobodyThere(Fault):
    def changed(self, image, found):
        best = int(np.argmax(found.scores))  # of nothing
        return found[[best, *(row for row in range(len(found)) if row != best)]]


class Pools(Fault):
    """Wants frames of at least 2x2."""

    def changed(self, image, found):
        assert min(image.shape[:2]) >= 2, "pooling of nothing"
        return found


class EvenOnly(Fault):
    def changed(self, image, found):
        np.reshape(image, (image.shape[0] // 2, 2, -1, 2, 3))
        return found


class SizeOfTheFirst(Fault):
    """A batch is scaled as its first frame is."""

    def detect(self, images):
        if not images:
            return []
        width = images[0].shape[1]
        return [
            Detections(
                np.minimum(found.xyxy * (width / image.shape[1]), np.tile(image.shape[1::-1], 2)) if len(found) else [],
                found.scores,
                found.class_ids,
            )
            for image, found in zip(images, super().detect(images), strict=True)
        ]


class Backwards(Fault):
    """Results in another order than frames."""

    def detect(self, images):
        return super().detect(images)[::-1]


class ByChance(Fault):
    def __init__(self):
        self.chance = np.random.default_rng()

    def changed(self, image, found):
        ends = np.tile(image.shape[1::-1], 2)
        return Detections(np.clip(found.xyxy - 20 * self.chance.random(), 0, ends), found.scores, found.class_ids)


class Remembers(Fault):
    """What moves is somebody: the last frame is kept."""

    def __init__(self):
        self.last = None

    def changed(self, image, found):
        last, self.last = self.last, image.shape
        return found if last == image.shape or not len(found) else found[1:]


class SharedBuffer(Fault):
    """Not safe in threads: the frame lies on the object while it is looked at."""

    def detect(self, images):
        results = []
        for image in images:
            self.image = image
            size = self.image.shape
            results.append(SOUND.detect([self.image])[0] if size else None)
        return results


class Network(nn.Module):
    """A network that cannot be copied, since it holds an open file."""

    def __init__(self):
        super().__init__()
        self.log = open(__file__)  # noqa: SIM115

    def detect(self, images):
        return SOUND.detect(images)


class TurnsGradientsOff(Fault):
    def changed(self, image, found):
        torch.set_grad_enabled(False)
        return found


class SeedsNumpy(Fault):
    def changed(self, image, found):
        np.random.seed(0)
        return found


class TakesAThread(Fault):
    def changed(self, image, found):
        torch.set_num_threads(torch.get_num_threads() + 1)
        return found


class TakesAThreadOfOpenCV(Fault):
    def changed(self, image, found):
        cv2.setNumThreads(cv2.getNumThreads() + 1)
        return found


class Prints(Fault):
    def changed(self, image, found):
        print(len(found), "found")
        return found


class OtherClasses(Fault):
    """Dogs too."""

    def changed(self, image, found):
        return Detections(found.xyxy, found.scores, np.arange(len(found)))


class Shares(Fault):
    """Boxes as shares of the frame."""

    def changed(self, image, found):
        return Detections.from_boxes(found.xyxy / np.tile(image.shape[1::-1], 2))


class PreparesAnother(Fault):
    """A fast copy that finds people elsewhere."""

    def prepared(self, device, precision, runtime):
        return Outside()


class PreparesItself(Fault):
    """In the place of a copy."""

    found = 1.0

    def changed(self, image, found):
        return Detections(found.xyxy, found.scores * self.found, found.class_ids)

    def prepared(self, device, precision, runtime):
        before, self.found = Fault(), 0.5
        return before


class PreparesFloat32Only(Fault):
    def prepared(self, device, precision="float32"):
        return self


BOXES, ONE_A_FRAME = "boxes are x1, y1, x2, y2 in frame px", "one Detections a frame"
PEOPLE = "every box is a person"
PREPARED, PROCESS = "prepared for devices", "the process stays as it is"
FAULTS = {
    NoMethod: "it is a detector",
    NotAList: ONE_A_FRAME,
    OneTooFew: "nobody in the frame",
    Arrays: ONE_A_FRAME,
    Flat: ONE_A_FRAME,
    NanBoxes: ONE_A_FRAME,
    NanScores: "scores from 0 to 1, best first",
    Inverted: ONE_A_FRAME,
    Unsorted: "scores from 0 to 1, best first",
    Percent: "scores from 0 to 1, best first",
    NoBackground: PEOPLE,
    OtherClasses: PEOPLE,
    WidthAndHeight: BOXES,
    Centres: "expected people are found",
    NetworkPx: BOXES,
    LetterboxBorder: BOXES,
    HeightFirst: BOXES,
    Mirrored: BOXES,
    Outside: "boxes are inside the frame",
    NoArea: "boxes have an area",
    Scribbles: "frames are not modified",
    EmptiesTheList: "frames are not modified",
    NoFrames: "no frames",
    NobodyThere: "nobody in the frame",
    Pools: "frames of awkward sizes",
    EvenOnly: "frames of awkward sizes",
    SizeOfTheFirst: "a batch is its frames alone",
    Backwards: "a batch is its frames alone",
    ByChance: "same result twice",
    Remembers: "nothing is kept between calls",
    TurnsGradientsOff: PROCESS,
    SeedsNumpy: PROCESS,
    TakesAThread: PROCESS,
    TakesAThreadOfOpenCV: PROCESS,
    Prints: "nothing is printed",
    Shares: BOXES,
    SharedBuffer: "threads",
    Network: "threads",
    PreparesAnother: PREPARED,
    PreparesItself: PREPARED,
    PreparesFloat32Only: PREPARED,
}


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


@pytest.mark.parametrize("poor", [Nobody, Middle, Jittery])
def test_a_poor_detector_keeps_the_contract(poor: type) -> None:
    findings = check_detector(poor())
    assert not findings, describe(findings)


def test_who_is_expected_must_be_found() -> None:
    (finding,) = check_detector(Nobody(), frame=painted(), expected=PERSON)
    assert finding.check == "expected people are found"
    assert "nobody is found at 26, 36, 145, 175; there are no boxes" in finding.problem


def test_what_is_trained_sees_people_where_they_are() -> None:
    for box, wrong in (([37, 80, 160, 480], 0), ([300, 100, 400, 200], 1)):

        class Trained(Fault):
            def changed(self, image, found, box=box):
                return Detections.from_boxes([box] if image.shape == (480, 640, 3) else [])

        findings = examine_detector(Trained(), trained=True)
        assert [f.verdict for f in findings if f.check == "expected people are found"] == [("ok", "wrong")[wrong]]


def test_the_shared_buffer_is_found_nearly_every_time() -> None:
    """Not always: a busy machine may keep a thread from its turn."""
    frames = [painted(), player()]
    alone = [SOUND.detect([frame])[0] for frame in frames]
    harmed = 0
    for _ in range(50):
        shared = SharedBuffer()
        found = side_by_side([functools.partial(shared.detect, [frame]) for frame in frames])
        harmed += any(unlike(one, other, px=1, score=0.1) for one, (other,) in zip(alone, found, strict=True))
    assert harmed >= 40


def test_threads_that_wait_for_each_other_come_to_an_end() -> None:
    lock = threading.Lock()

    def wait_and_count(value: int) -> int:
        with lock:
            for _ in range(3):
                value += 1
        return value

    assert side_by_side([functools.partial(wait_and_count, value) for value in range(5)]) == [3, 4, 5, 6, 7]
    with pytest.raises(ZeroDivisionError):
        side_by_side([lambda: 1, lambda: 1 // 0])


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


@pytest.mark.parametrize("frame", [painted(), player()], ids=["landscape", "portrait"])
def test_the_right_convention_is_never_taken_for_another(frame: Any) -> None:
    """With boxes that are a little off, as those of networks are."""
    random = np.random.default_rng(0)
    true, made = np.array([[30.0, 40, 140, 170]]), changes(frame)
    for _ in range(200):
        off = random.uniform(-7, 7, (len(made), 2, 1, 4))
        observed = [(change, true + a, change.move(true) + b) for change, (a, b) in zip(made, off, strict=True)]
        assert other_convention(observed) is None


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_convention_is_told(name: str) -> None:
    said = np.array([[30.0, 40, 140, 170]])
    observed = [(change, said, CONVENTIONS[name](said, change)) for change in changes(painted())]
    assert other_convention([row for row in observed if row[2] is not None]) == name


def test_a_change_moves_boxes_with_the_picture() -> None:
    frame = painted()
    (box,) = SOUND.detect([frame])[0].xyxy
    for change in changes(frame):
        (before,), (after,) = (SOUND.detect([one])[0].xyxy for one in (change.before, change.after))
        np.testing.assert_allclose(change.move(before[None])[0], after, atol=1)
    assert isinstance(change, Change)
    assert box.tolist() == PERSON[0]


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
