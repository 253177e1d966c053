"""A detector against the contract of `hrkit.hookspecs.register_detectors`."""

from __future__ import annotations

import copy
import functools
import inspect
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any  # the object under test may be of any type

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from hrkit.detectors.base import Detector
from hrkit.images import check_frame
from hrkit.ops.suppression import box_iou
from hrkit.ops.tensors import as_tensor
from hrkit.structures import Detections, Frame
from hrkit.testing.conventions import changes, other_convention, strong
from hrkit.testing.report import ONE_LINE, Checking, Contract, Examining, NotJudged, Wrong, expect, raised, refusal
from hrkit.testing.scenes import PHOTO_PEOPLE, awkward, nobody, noise, painted, photo, player
from hrkit.testing.threads import side_by_side

Builder = Callable[..., Any]

EXACTLY, ABOUT, ROUGHLY = (0.05, 1e-3), (1.0, 0.01), (8.0, 0.05)
"""How much two results may differ per coordinate, px, and score."""


class _Trial:
    """A detector, ordinary frames by name, and what was found so far, in each frame alone."""

    def __init__(
        self, detector: Any, *, frame: Frame | None = None, expected: ArrayLike | None = None, trained: bool = False
    ) -> None:
        self.detector, self.trained = detector, trained
        self.expected = None if expected is None else Detections.from_boxes(expected).xyxy
        self.scenes = {"a photo": photo(), "half of the photo": player(), "a painted person": painted()}
        if frame is not None:
            check_frame("the given frame", frame)
            self.scenes = {"the given frame": frame, **self.scenes}
        self.frames = {**self.scenes, **nobody(), **awkward()}
        self.seen: dict[str, Detections] = {}
        self.devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)

    @property
    def fullest(self) -> str:
        """The ordinary frame in which most was found."""
        return max(self.scenes, key=lambda name: len(self.seen[name]))

    def look_at(self, names: Iterable[str]) -> None:
        """Looks at frames one by one, and keeps what was found."""
        for name in names:
            try:
                self.seen[name] = self.detect(self.frames[name])
            except Wrong as problem:
                raise Wrong(f"{name}: {problem}") from None
            except Exception as error:
                raise Wrong(f"{name}: {raised(error)}") from error

    def detect(self, frame: Frame | None = None) -> Detections:
        """What the detector finds in one frame, by default the fullest."""
        return self.found_by(self.detector, frame)

    def found_by(self, detector: Any, frame: Frame | None = None) -> Detections:
        """What another detector finds there."""
        return _detect(detector, self.frames[self.fullest] if frame is None else frame)[0]

    def compare(self, found: Detections, when: str, bounds: tuple[float, float], name: str | None = None) -> None:
        """Raises `Wrong` unless `found` is what was found in the frame `name`, by default the fullest, at first."""
        name = name or self.fullest
        difference = unlike(self.seen[name], found, *bounds)
        expect(not difference, f"{name}, {when}: {difference}")


def _detect(detector: Any, *frames: Frame) -> list[Detections]:
    found = detector.detect([frame.copy() for frame in frames])
    expect(isinstance(found, list), f"detect returns {type(found).__name__}, not a list")
    expect(len(found) == len(frames), f"{len(found)} results for {len(frames)} frames")
    for one in found:
        expect(isinstance(one, Detections), f"a result is {type(one).__name__}, not hrkit.Detections")
    return found


BUILDER = Contract("detector")


@BUILDER.rule(
    "builder takes weights, threshold and nms_threshold",
    "take these three by keyword, even if unused; None is the detector's own default",
    vital=True,
)
def _takes_settings(build: Builder) -> None:
    build(weights=None, threshold=None, nms_threshold=0.45)  # as a pipeline calls it


@BUILDER.rule("damaged weights", ONE_LINE)
def _damaged_weights(build: Builder) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "damaged.pth"
        file.write_bytes(b"these are no weights")
        refusal(lambda: build(weights=file, threshold=None, nms_threshold=None), "a damaged weights file")


THRESHOLD = Contract("detector")


@THRESHOLD.rule("threshold", "leave out boxes with scores below the threshold")
def _threshold(build: Builder) -> None:
    detector, looks = build(threshold=0.05), []
    for frame in (photo(), player(), painted()):
        scores = _detect(detector, frame)[0].scores
        looks.append((float(np.ptp(scores)) if len(scores) else -1, scores, frame))
        if looks[-1][0] >= 0.01:
            break
    _, before, frame = max(looks, key=lambda look: look[0])
    expect(len(before), "it finds nobody in the photo and in the painted picture", NotJudged)
    lowest, highest = float(before.min()), float(before.max())
    top = highest if highest - lowest >= 0.01 else 1.0  # scores that are all the same are below a threshold, or at it
    expect(top - lowest >= 0.01, "all it finds has a score of 1", NotJudged)
    threshold = (lowest + top) / 2
    after = _detect(build(threshold=threshold), frame)[0].scores
    below = after[after < threshold - 1e-3]
    expect(not len(below), f"with a threshold of {threshold:.3f} a box has score {below.min(initial=1):.3f}")
    counts = f"with a threshold of 0.05 there are {len(before)} boxes, with {threshold:.3f} {len(after)}"
    expect(len(after) <= len(before), counts)


CONTRACT: Contract = Contract("detector", _Trial)


@CONTRACT.rule("it is a detector", "give an object with detect(images)", vital=True)
def _is_a_detector(trial: _Trial) -> None:
    kind = trial.detector if inspect.isclass(trial.detector) else type(trial.detector)
    detects = isinstance(trial.detector, Detector) and kind is not trial.detector
    expect(detects, f"{kind.__name__} is no object with detect(images)")


@CONTRACT.rule("one Detections a frame", "return a list with one hrkit.Detections per frame", vital=True)
def _looks(trial: _Trial) -> None:
    trial.look_at(trial.scenes)


@CONTRACT.rule("no frames", "return an empty list for an empty list of frames")
def _no_frames(trial: _Trial) -> None:
    _detect(trial.detector)


@CONTRACT.rule("nobody in the frame", "return Detections.empty() for a frame without people")
def _nobody(trial: _Trial) -> None:
    trial.look_at(nobody())


@CONTRACT.rule("frames of awkward sizes", "take frames of any size, one pixel too")
def _awkward_sizes(trial: _Trial) -> None:
    trial.look_at(awkward())


@CONTRACT.rule("boxes are inside the frame", "clip boxes (hrkit.geometry.clip_boxes); they are in frame px")
def _inside(trial: _Trial) -> None:
    for name, found in trial.seen.items():
        height, width = trial.frames[name].shape[:2]
        slack = 1e-4 * max(height, width)  # for rounding
        outside = (found.xyxy < -slack) | (found.xyxy > np.array([width, height, width, height]) + slack)
        for box in found.xyxy[outside.any(1)]:
            raise Wrong(f"{name}, {width} wide and {height} high: a box is {_numbers(box)}")


@CONTRACT.rule("boxes have an area", "leave out boxes that have no area once they are clipped")
def _with_area(trial: _Trial) -> None:
    for name, found in trial.seen.items():
        for box in found.xyxy[found.areas <= 0]:
            raise Wrong(f"{name}: a box has no area: {_numbers(box)}")


@CONTRACT.rule("scores from 0 to 1, best first", "sort boxes by falling score")
def _scores(trial: _Trial) -> None:
    for name, found in trial.seen.items():
        slack, said = 1e-4, _numbers(found.scores[:5])  # for rounding
        in_range = (found.scores >= -slack) & (found.scores <= 1 + slack)  # false for NaN
        expect(in_range.all(), f"{name}: scores are not from 0 to 1: {said}")
        expect((np.diff(found.scores) <= 0).all(), f"{name}: scores are not in order: {said}")


@CONTRACT.rule("every box is a person", "leave other classes out, unless the caller asks for them; class 0 is person")
def _people(trial: _Trial) -> None:
    for name, found in trial.seen.items():
        for other in found.class_ids[found.class_ids != 0]:
            raise Wrong(f"{name}: a box has the class {other}")


@CONTRACT.rule("expected people are found", "give left, top, right, bottom in frame px; frames are BGR")
def _expected(trial: _Trial) -> None:
    name, people = "a photo", PHOTO_PEOPLE
    if trial.expected is not None:
        name, people = next(iter(trial.scenes)), trial.expected
    boxes = trial.seen[name].xyxy
    missed = people[~(box_iou(as_tensor(boxes), as_tensor(people)) >= 0.5).any(0).numpy()]
    said = f"boxes are {boxes[:5].round(1).tolist()}" if len(boxes) else "there are no boxes"
    if trial.expected is not None:
        for person in missed:
            raise Wrong(f"{name}: nobody is found at {_numbers(person)}; {said}")
        return
    expect(trial.trained, "not known to be trained; name people by frame= and expected= of check_detector", NotJudged)
    expect(len(boxes), "it finds nobody in the photo", NotJudged)
    expect(len(missed) < len(people), f"in the photo people are at {people.tolist()}; {said}")


@CONTRACT.rule("boxes are x1, y1, x2, y2 in frame px", "return px of the given frame, not of the network")
def _frame_px(trial: _Trial) -> None:
    judged, seen = False, np.concatenate([trial.seen[name].xyxy for name in trial.scenes])
    largest = seen.max(initial=0)
    expect(not len(seen) or largest > 1.5, f"no box is beyond {largest:.3g}, as if they were shares of the frame")
    for name, frame in trial.scenes.items():
        if strong(trial.seen[name]) is None:
            continue
        boxes = {id(frame): strong(trial.seen[name])}
        observed = []
        for change in changes(frame):  # the last begins where the one before it ends
            boxes[id(change.after)] = strong(trial.detect(change.after))
            before, after = boxes[id(change.before)], boxes[id(change.after)]
            if before is not None and after is not None and len(before) == len(after):
                observed.append((change, before, after))
        other = other_convention(observed)
        expect(other is None, f"when {name} is moved and enlarged, boxes change as if they were {other}")
        judged |= bool(observed)
    expect(judged, "it finds nobody to follow", NotJudged)


@CONTRACT.rule("frames are not modified", "work on a copy of the frame, and of the list")
def _frames_stay(trial: _Trial) -> None:
    frames = list(trial.scenes.values())
    given = [frame.copy() for frame in frames]
    trial.detector.detect(given)
    expect(len(given) == len(frames), f"the list of {len(frames)} frames has {len(given)} afterwards")
    for frame, after in zip(frames, given, strict=True):
        changed = f"a frame of {frame.shape[0]}x{frame.shape[1]} is changed by the call"
        expect(np.array_equal(frame, after), changed)


@CONTRACT.rule("same result twice", "let chance decide nothing; set a network to eval()")
def _twice(trial: _Trial) -> None:
    first, *again = (trial.detect() for _ in range(3))  # two may be alike by chance
    for one in again:
        difference = unlike(first, one, *EXACTLY)
        expect(not difference, f"{trial.fullest}, again and again: {difference}")


@CONTRACT.rule("nothing is kept between calls", "keep nothing of a frame on the object")
def _no_memory(trial: _Trial) -> None:
    trial.detect(noise(*trial.frames[trial.fullest].shape[:2]))
    trial.compare(trial.detect(), "before and after another frame", EXACTLY)


@CONTRACT.rule("a batch is its frames alone", "let no frame depend on the others, and keep their order")
def _batch(trial: _Trial) -> None:
    found = _detect(trial.detector, *(trial.frames[name] for name in trial.seen))
    for name, one in zip(trial.seen, found, strict=True):
        trial.compare(one, f"alone and in a batch of {len(found)}", ABOUT, name)


@CONTRACT.rule("threads", "share no buffer between calls, which may come from several threads at once")
def _threads(trial: _Trial) -> None:
    names = (trial.fullest, next(name for name in trial.scenes if name != trial.fullest))
    # a pipeline on two devices copies networks, and shares any other object
    another = copy.deepcopy(trial.detector) if isinstance(trial.detector, nn.Module) else trial.detector
    pairs = zip((trial.detector, another), names, strict=True)
    calls = [functools.partial(trial.found_by, detector, trial.frames[name]) for detector, name in pairs]
    for _ in range(2):  # on a busy machine the threads of one round may not meet
        for name, other, found in zip(names, reversed(names), side_by_side(calls), strict=True):
            trial.compare(found, f"while another thread has {other}", ABOUT, name)


@CONTRACT.rule("copies on devices", "make a detector with a network a torch.nn.Module, its tensors buffers")
def _devices(trial: _Trial) -> None:
    is_module = isinstance(trial.detector, nn.Module)
    expect(is_module, "it is no torch.nn.Module, and stays where it is", NotJudged)
    for device in trial.devices:
        found = trial.found_by(copy.deepcopy(trial.detector).to(device))
        trial.compare(found, f"by a copy on {device}", ROUGHLY)


@CONTRACT.rule("prepared for devices", "give a copy that finds the same (hrkit.runtimes.prepare.prepare)")
def _prepared(trial: _Trial) -> None:
    needs_none = "it has no prepared(device, precision, runtime), and needs none"
    expect(hasattr(trial.detector, "prepared"), needs_none, NotJudged)
    for device in map(torch.device, trial.devices):
        for runtime in ("eager", "auto"):
            found = trial.found_by(trial.detector.prepared(device, "float32", runtime))
            trial.compare(found, f"prepared for {device} with runtime {runtime}", ROUGHLY)
        trial.found_by(trial.detector.prepared(device, "auto", "auto"))
    trial.compare(trial.detect(), "before and after another was prepared", EXACTLY)


def unlike(one: Detections, other: Detections, px: float, score: float) -> str | None:
    """How two results of one frame differ by more than `px` per coordinate or `score`; None if they do not.

    One box in twenty may be anywhere: where an untrained network sees hundreds of boxes that are all alike, rounding
    decides which of them stay.
    """
    for here, there in ((one, other), (other, one)):
        near = np.abs(here.xyxy[:, None] - there.xyxy).max(2) <= px
        near &= np.abs(here.scores[:, None] - there.scores) <= score
        near &= here.class_ids[:, None] == there.class_ids
        alone = np.flatnonzero(~near.any(1))
        if len(alone) > len(here) / 20:
            box = f"{_numbers(here.xyxy[alone[0]])} (score {here.scores[alone[0]]:.3f})"
            return f"{len(here)} boxes and {len(there)}; {len(alone)} have no counterpart, the first {box}"
    return None


def _numbers(values: NDArray[np.float32]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


check_detector: Checking = CONTRACT.check
"""`check_detector(detector, *, frame=None, expected=None, part="detector")`: what is wrong with an object that has
`detect(images)`.

It looks at a photo of people, a painted person, noise and empty frames. `frame` is one more, (H,W,3) uint8 BGR, and
`expected` (M,4) xyxy, frame px, are people that must be found in it, each by a box with an IoU of at least 0.5. Without
`frame` they are in `hrkit.testing.photo()`. A detector that is `trained=True` must find one of the people in that
photo, if it finds anything there. Raises `ImageError` for an invalid frame and `BoxError` for invalid boxes.
"""
examine_detector: Examining = CONTRACT.examine
