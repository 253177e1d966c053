"""A detector against the contract of `hrkit.hookspecs.register_detectors`."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from collections.abc import Iterable, Sequence
from typing import Any  # the object under test may be of any type

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from hrkit.detectors.base import Detector, check_frame
from hrkit.structures import Detections, Frame
from hrkit.testing.conventions import changes, other_convention, strong
from hrkit.testing.report import Check, Contract, NotJudged, Wrong, raised
from hrkit.testing.scenes import PHOTO_PEOPLE, awkward, nobody, noise, painted, photo, player
from hrkit.testing.threads import side_by_side


class _Trial:
    """A detector, ordinary frames by name, and what was found so far, in each frame alone.

    A detector that is `trained` to find people must find one of those in the photo, if it finds anything there.
    """

    def __init__(
        self, detector: Any, *, frame: Frame | None = None, expected: ArrayLike | None = None, trained: bool = False
    ) -> None:
        self.detector, self.trained = detector, trained
        self.expected = None if expected is None else Detections.from_boxes(expected).xyxy
        self.scenes = {"a photo": photo(), "half of the photo": player(), "a painted person": painted()}
        if frame is not None:
            check_frame(frame)
            self.scenes = {"the given frame": frame, **self.scenes}
        self.frames = {**self.scenes, **nobody(), **awkward()}
        self.seen: dict[str, Detections] = {}

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

    def detect(self, frame: Frame) -> Detections:
        """What is found in one frame."""
        return _detect(self.detector, [frame])[0]

    def compare(self, name: str, found: Detections, when: str, *, px: float = 1, score: float = 0.01) -> None:
        """Raises `Wrong` unless `found` is what was found in the frame `name` first."""
        difference = unlike(self.seen[name], found, px=px, score=score)
        if difference:
            raise Wrong(f"{name}, {when}: {difference}")


def _detect(detector: Any, frames: Sequence[Frame]) -> list[Detections]:
    found = detector.detect([frame.copy() for frame in frames])
    if not isinstance(found, list):
        raise Wrong(f"detect returns {type(found).__name__}, not a list")
    if len(found) != len(frames):
        raise Wrong(f"{len(found)} results for {len(frames)} frames")
    for one in found:
        if not isinstance(one, Detections):
            raise Wrong(f"a result is {type(one).__name__}, not hrkit.Detections")
    return found


def _is_a_detector(trial: _Trial) -> None:
    if not isinstance(trial.detector, Detector) or inspect.isclass(trial.detector):
        kind = trial.detector if inspect.isclass(trial.detector) else type(trial.detector)
        raise Wrong(f"{kind.__name__} is no object with detect(images)")


def _looks(trial: _Trial) -> None:
    trial.look_at(trial.scenes)


def _no_frames(trial: _Trial) -> None:
    _detect(trial.detector, [])


def _nobody(trial: _Trial) -> None:
    trial.look_at(nobody())


def _awkward_sizes(trial: _Trial) -> None:
    trial.look_at(awkward())


def _inside(trial: _Trial) -> None:
    for name, found in trial.seen.items():
        height, width = trial.frames[name].shape[:2]
        slack = 1e-4 * max(height, width)  # for rounding
        outside = (found.xyxy < -slack) | (found.xyxy > np.array([width, height, width, height]) + slack)
        if outside.any():
            raise Wrong(f"{name}, {width} wide and {height} high: a box is {_numbers(found.xyxy[outside.any(1)][0])}")


def _with_area(trial: _Trial) -> None:
    for name, found in trial.seen.items():
        if len(found) and found.areas.min() <= 0:
            raise Wrong(f"{name}: a box has no area: {_numbers(found.xyxy[found.areas.argmin()])}")


def _scores(trial: _Trial) -> None:
    for name, found in trial.seen.items():
        slack = 1e-4  # for rounding
        if not ((found.scores >= -slack) & (found.scores <= 1 + slack)).all():  # false for NaN
            raise Wrong(f"{name}: scores are not from 0 to 1: {_numbers(found.scores[:5])}")
        if (np.diff(found.scores) > 0).any():
            raise Wrong(f"{name}: scores are not in order: {_numbers(found.scores[:5])}")
        if (found.class_ids < 0).any():
            raise Wrong(f"{name}: a class is {found.class_ids.min()}")


def _expected(trial: _Trial) -> None:
    name = next(iter(trial.scenes))
    if trial.expected is not None:
        boxes = trial.seen[name].xyxy
        for person in trial.expected:
            if _iou(boxes, person).max(initial=0) < 0.5:
                raise Wrong(f"{name}: nobody is found at {_numbers(person)}; {_boxes(boxes)}")
        return
    boxes = trial.seen["a photo"].xyxy
    if not trial.trained:
        raise NotJudged("not known to be trained, and no people were named")
    if not len(boxes):
        raise NotJudged("it finds nobody in the photo")
    if max(_iou(boxes, person).max() for person in PHOTO_PEOPLE) < 0.5:
        raise Wrong(f"in the photo people are at {PHOTO_PEOPLE.tolist()}; {_boxes(boxes)}")


def _frame_px(trial: _Trial) -> None:
    judged = False
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
        if other is not None:
            raise Wrong(f"when {name} is moved and enlarged, boxes change as if they were {other}")
        judged |= bool(observed)
    if not judged:
        raise NotJudged("it finds nobody to follow")


def _frames_stay(trial: _Trial) -> None:
    frames = list(trial.scenes.values())
    given = [frame.copy() for frame in frames]
    trial.detector.detect(given)
    if len(given) != len(frames):
        raise Wrong(f"the list of {len(frames)} frames has {len(given)} afterwards")
    for frame, after in zip(frames, given, strict=True):
        if not np.array_equal(frame, after):
            raise Wrong(f"a frame of {frame.shape[0]}x{frame.shape[1]} is changed by the call")


def _twice(trial: _Trial) -> None:
    name = trial.fullest
    first, *again = (trial.detect(trial.frames[name]) for _ in range(3))  # two may be alike by chance
    for one in again:
        difference = unlike(first, one, px=0.05, score=1e-3)
        if difference:
            raise Wrong(f"{name}, again and again: {difference}")


def _no_memory(trial: _Trial) -> None:
    name = trial.fullest
    frame = trial.frames[name]
    trial.detect(noise(*frame.shape[:2]))
    trial.compare(name, trial.detect(frame), "before and after another frame", px=0.05, score=1e-3)


def _batch(trial: _Trial) -> None:
    found = _detect(trial.detector, [trial.frames[name] for name in trial.seen])
    for name, one in zip(trial.seen, found, strict=True):
        trial.compare(name, one, f"alone and in a batch of {len(found)}")


def _process_stays(trial: _Trial) -> None:
    random, threads = np.random.get_state(), torch.get_num_threads()
    try:
        with torch.enable_grad():
            np.random.seed(12345)  # a state that no detector would set
            torch.set_num_threads(threads + 1)
            before = _process()
            trial.detect(trial.frames[trial.fullest])
            after = _process()
    finally:
        np.random.set_state(random)
        torch.set_num_threads(threads)
    for name, value in before.items():
        if after[name] != value:
            raise Wrong(f"{name} is changed by the call")


def _process() -> dict[str, object]:
    """Settings of the process that detect might change, by name."""
    return {
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
        "torch.get_num_threads()": torch.get_num_threads(),
        "the state of np.random": pickle.dumps(np.random.get_state()),
    }


def _threads(trial: _Trial) -> None:
    fullest = trial.fullest
    names = (fullest, next(name for name in trial.scenes if name != fullest))
    # a pipeline on two devices copies networks, and shares any other object
    another = copy.deepcopy(trial.detector) if isinstance(trial.detector, nn.Module) else trial.detector
    calls = [
        functools.partial(_detect, detector, [trial.frames[name]])
        for detector, name in zip((trial.detector, another), names, strict=True)
    ]
    for _ in range(2):  # on a busy machine the threads of one round may not meet
        for name, other, (found,) in zip(names, reversed(names), side_by_side(calls), strict=True):
            trial.compare(name, found, f"while another thread has {other}")


def _prepared(trial: _Trial) -> None:
    if not hasattr(trial.detector, "prepared"):
        raise NotJudged("it has no prepared(device, precision, runtime), and needs none")
    name = trial.fullest
    frame = trial.frames[name]
    for device in map(torch.device, _devices_here()):
        for runtime in ("eager", "auto"):
            fast = trial.detector.prepared(device, "float32", runtime)
            when = f"prepared for {device} with runtime {runtime}"
            trial.compare(name, _detect(fast, [frame])[0], when, px=8, score=0.05)
        _detect(trial.detector.prepared(device, "auto", "auto"), [frame])
    trial.compare(name, trial.detect(frame), "before and after another was prepared", px=0.05, score=1e-3)


def _devices_here() -> tuple[str, ...]:
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def _devices(trial: _Trial) -> None:
    if not isinstance(trial.detector, nn.Module):
        raise NotJudged("it is no torch.nn.Module, and stays where it is")
    name = trial.fullest
    for device in _devices_here():
        found = _detect(copy.deepcopy(trial.detector).to(device), [trial.frames[name]])[0]
        trial.compare(name, found, f"by a copy on {device}", px=8, score=0.05)


def unlike(one: Detections, other: Detections, *, px: float, score: float) -> str | None:
    """How two results of one frame differ by more than `px` per coordinate or `score`; None if they do not.

    One box in twenty may be anywhere: where an untrained network sees hundreds of boxes that are all alike, rounding
    decides which of them stay.
    """
    for here, there in ((one, other), (other, one)):
        alone = [row for row in range(len(here)) if not _again(here, row, there, px, score)]
        if len(alone) > len(here) / 20:
            box = f"{_numbers(here.xyxy[alone[0]])} (score {here.scores[alone[0]]:.3f})"
            return f"{len(here)} boxes and {len(there)}; {len(alone)} have no counterpart, the first {box}"
    return None


def _again(one: Detections, row: int, other: Detections, px: float, score: float) -> bool:
    """Whether a box of `one` is among those of `other`."""
    near = (np.abs(other.xyxy - one.xyxy[row]).max(1) <= px) & (np.abs(other.scores - one.scores[row]) <= score)
    return bool((near & (other.class_ids == one.class_ids[row])).any())


def _iou(boxes: NDArray[np.float32], box: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,4) and (4,) -> (N,)."""
    corners = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    shared = np.clip(corners, 0, None).prod(1)
    return shared / ((boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - shared)


def _boxes(xyxy: NDArray[np.float32]) -> str:
    return f"boxes are {xyxy[:5].round(1).tolist()}" if len(xyxy) else "there are no boxes"


def _numbers(values: NDArray[np.float32]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


CONTRACT = Contract(
    "detector",
    (
        Check("it is a detector", _is_a_detector, "give an object with detect(images)", vital=True),
        Check("one Detections a frame", _looks, "return a list with one hrkit.Detections per frame", vital=True),
        Check("no frames", _no_frames, "return an empty list for an empty list of frames"),
        Check("nobody in the frame", _nobody, "return Detections.empty() for a frame without people"),
        Check("frames of awkward sizes", _awkward_sizes, "take frames of any size, one pixel too"),
        Check("boxes are inside the frame", _inside, "clip boxes (hrkit.geometry.clip_boxes); they are in frame px"),
        Check("boxes have an area", _with_area, "leave out boxes that have no area once they are clipped"),
        Check("scores from 0 to 1, best first", _scores, "sort boxes by falling score; class 0 is person"),
        Check("expected people are found", _expected, "give left, top, right, bottom in frame px; frames are BGR"),
        Check("boxes are x1, y1, x2, y2 in frame px", _frame_px, "return px of the given frame, not of the network"),
        Check("frames are not modified", _frames_stay, "work on a copy of the frame, and of the list"),
        Check(
            "the process stays as it is",
            _process_stays,
            "use with torch.inference_mode() and numpy.random.default_rng(), and set no number of threads",
        ),
        Check("same result twice", _twice, "let chance decide nothing; set a network to eval()"),
        Check("nothing is kept between calls", _no_memory, "keep nothing of a frame on the object"),
        Check("a batch is its frames alone", _batch, "let no frame depend on the others, and keep their order"),
        Check("threads", _threads, "share no buffer between calls, which may come from several threads at once"),
        Check("copies on devices", _devices, "make a detector with a network a torch.nn.Module, its tensors buffers"),
        Check("prepared for devices", _prepared, "give a copy that finds the same (hrkit.runtimes.prepare.prepare)"),
    ),
    _Trial,
)

check_detector = CONTRACT.check
"""`check_detector(detector, *, frame=None, expected=None, part="detector")`: what is wrong with an object that has
`detect(images)`.

It looks at a photo of people, a painted person, noise and empty frames. `frame` is one more, (H,W,3) uint8 BGR, and
`expected` (M,4) xyxy, frame px, are people that must be found in it, each by a box with an IoU of at least 0.5. Without
`frame` they are in `hrkit.testing.photo()`. A detector that is `trained=True` must find one of the people in that
photo, if it finds anything there. Raises `ImageError` for an invalid frame and `BoxError` for invalid boxes.
"""
examine_detector = CONTRACT.examine
