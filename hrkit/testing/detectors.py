"""A detector against the contract of `hrkit.hookspecs.register_detectors`."""

from __future__ import annotations

import copy
import functools
import inspect
import itertools
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from attrs import field, frozen
from numpy.typing import ArrayLike, NDArray
from torch import nn

from hrkit.detectors.base import Detector, check_frame
from hrkit.structures import Detections, Frame
from hrkit.testing.conventions import changes, other_convention, strong
from hrkit.testing.report import Check, Finding, NotJudged, Wrong, examine, raised, wrong
from hrkit.testing.scenes import PHOTO_PEOPLE, awkward, nobody, noise, painted, photo, player
from hrkit.testing.threads import side_by_side


def check_detector(
    detector: Any, *, frame: Frame | None = None, expected: ArrayLike | None = None, part: str = "detector"
) -> list[Finding]:
    """What is wrong with an object that has `detect(images)`; an empty list if nothing is.

    It looks at a photo of people, a painted person, noise and empty frames. `frame` is one more, (H,W,3) uint8 BGR, and
    `expected` (M,4) xyxy, frame px, are people that must be found in it, each by a box with an IoU of a half or more.
    Without `frame` they are in `hrkit.testing.photo()`. `part` is what findings call it.

    Raises `ImageError` and `BoxError` for a frame and boxes that are none.
    """
    return wrong(examine_detector(detector, frame=frame, expected=expected, part=part))


def examine_detector(
    detector: Any,
    *,
    frame: Frame | None = None,
    expected: ArrayLike | None = None,
    trained: bool = False,
    part: str = "detector",
) -> Iterator[Finding]:
    """As `check_detector`, with what is right too, each as soon as it is known.

    Of what is `trained` to find people, a box must be about somebody in the photo, if there is any.
    """
    boxes = None if expected is None else Detections.from_boxes(expected).xyxy
    scenes = {}
    if frame is not None:
        check_frame(frame)
        scenes["the given frame"] = frame
    scenes |= {"a photo": photo(), "half of the photo": player(), "a painted person": painted()}
    yield from examine(part, _Trial(detector, scenes, boxes, trained), CHECKS)


@frozen(eq=False)
class _Trial:
    """A detector, ordinary frames by name, and what was found so far, each frame alone."""

    detector: Any
    scenes: dict[str, Frame]
    expected: NDArray[np.float32] | None
    trained: bool
    seen: dict[str, Detections] = field(factory=dict)

    @property
    def frames(self) -> dict[str, Frame]:
        """Whatever may be in `seen`."""
        return {**self.scenes, **nobody(), **awkward()}

    @property
    def fullest(self) -> str:
        """The ordinary frame in which most was found."""
        return max(self.scenes, key=lambda name: len(self.seen[name]))

    def look_at(self, frames: dict[str, Frame]) -> None:
        """Each alone; remembers what was found."""
        for name, frame in frames.items():
            try:
                self.seen[name] = self.detect(frame)
            except Wrong as problem:
                raise Wrong(f"{name}: {problem}") from None
            except Exception as error:
                raise Wrong(f"{name}: {raised(error)}") from error

    def detect(self, frame: Frame) -> Detections:
        """What is found in one frame."""
        return _detect(self.detector, [frame])[0]


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
        slack = 1e-4 * max(height, width)  # of rounding
        outside = (found.xyxy < -slack) | (found.xyxy > np.array([width, height, width, height]) + slack)
        if outside.any():
            raise Wrong(f"{name}, {width} wide and {height} high: a box is {_numbers(found.xyxy[outside.any(1)][0])}")


def _with_area(trial: _Trial) -> None:
    for name, found in trial.seen.items():
        if len(found) and found.areas.min() <= 0:
            raise Wrong(f"{name}: a box has no area: {_numbers(found.xyxy[found.areas.argmin()])}")


def _scores(trial: _Trial) -> None:
    for name, found in trial.seen.items():
        slack = 1e-4  # of rounding
        if not ((found.scores >= -slack) & (found.scores <= 1 + slack)).all():  # which NaN is not
            raise Wrong(f"{name}: scores are not from 0 to 1: {_numbers(found.scores[:5])}")
        if (np.diff(found.scores) > 0).any():
            raise Wrong(f"{name}: scores are not in order: {_numbers(found.scores[:5])}")
        if (found.class_ids < 0).any():
            raise Wrong(f"{name}: a class is {found.class_ids.min()}")


def _expected(trial: _Trial) -> None:
    name = next(iter(trial.scenes))
    if trial.expected is None:
        _near_somebody(trial)
        return
    boxes = trial.seen[name].xyxy
    for person in trial.expected:
        if _iou(boxes, person).max(initial=0) < 0.5:
            raise Wrong(f"{name}: nobody is found at {_numbers(person)}; {_boxes(boxes)}")


def _near_somebody(trial: _Trial) -> None:
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
        for change in changes(frame):  # of which one begins where another ends
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
            raise Wrong(f"a frame of {frame.shape[0]}x{frame.shape[1]} is not what it was")


def _twice(trial: _Trial) -> None:
    name = trial.fullest
    first, *again = (trial.detect(trial.scenes[name]) for _ in range(3))  # two alone may be alike by chance
    for one in again:
        difference = unlike(first, one, px=0.05, score=1e-3)
        if difference:
            raise Wrong(f"{name}, again and again: {difference}")


def _no_memory(trial: _Trial) -> None:
    name = trial.fullest
    frame = trial.scenes[name]
    trial.detect(noise(*frame.shape[:2]))
    difference = unlike(trial.seen[name], trial.detect(frame), px=0.05, score=1e-3)
    if difference:
        raise Wrong(f"{name}, before and after another frame: {difference}")


def _batch(trial: _Trial) -> None:
    frames = {name: frame for name, frame in trial.frames.items() if name in trial.seen}
    for name, found in zip(frames, _detect(trial.detector, list(frames.values())), strict=True):
        difference = unlike(trial.seen[name], found, px=1, score=0.01)
        if difference:
            raise Wrong(f"{name}, alone and in a batch of {len(frames)}: {difference}")


def _process_stays(trial: _Trial) -> None:
    random, threads = np.random.get_state(), torch.get_num_threads()
    try:
        with torch.enable_grad():
            np.random.seed(12345)  # unlike what anybody sets
            torch.set_num_threads(threads + 1)
            before = _process()
            trial.detect(trial.scenes[trial.fullest])
            after = _process()
    finally:
        np.random.set_state(random)
        torch.set_num_threads(threads)
    for what, value in before.items():
        if after[what] != value:
            raise Wrong(f"{what} is another afterwards")


def _process() -> dict[str, Any]:
    """What detect could change for everybody, by name."""
    return {
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
        "torch.get_num_threads()": torch.get_num_threads(),
        "the state of np.random": pickle.dumps(np.random.get_state()),
    }


def _threads(trial: _Trial) -> None:
    fullest = trial.fullest
    names = (fullest, next(name for name in trial.scenes if name != fullest))
    # as in a pipeline on two devices: a network is copied, any other object stays the one it is
    another = copy.deepcopy(trial.detector) if isinstance(trial.detector, nn.Module) else trial.detector
    calls = [
        functools.partial(_detect, detector, [trial.scenes[name]])
        for detector, name in zip((trial.detector, another), names, strict=True)
    ]
    rounds = [side_by_side(calls) for _ in range(2)]  # a busy machine may keep threads from meeting once
    for name, (found,) in zip(2 * names, itertools.chain(*rounds), strict=True):
        difference = unlike(trial.seen[name], found, px=1, score=0.01)
        if difference:
            raise Wrong(f"{name}, while another thread has {names[name == fullest]}: {difference}")


def _prepared(trial: _Trial) -> None:
    if not hasattr(trial.detector, "prepared"):
        raise NotJudged("it has no prepared(device, precision, runtime), and needs none")
    name = trial.fullest
    frame, seen = trial.scenes[name], trial.seen[name]
    for device in _here():
        for runtime in ("eager", "auto"):
            fast = trial.detector.prepared(torch.device(device), "float32", runtime)
            difference = unlike(seen, _detect(fast, [frame])[0], px=8, score=0.05)
            if difference:
                raise Wrong(f"{name}, prepared for {device} with runtime {runtime}: {difference}")
        _detect(trial.detector.prepared(torch.device(device), "auto", "auto"), [frame])
    difference = unlike(seen, trial.detect(frame), px=0.05, score=1e-3)
    if difference:
        raise Wrong(f"{name}, before and after another was prepared: {difference}")


def _here() -> tuple[str, ...]:
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def _devices(trial: _Trial) -> None:
    if not isinstance(trial.detector, nn.Module):
        raise NotJudged("it is no torch.nn.Module, and stays where it is")
    name = trial.fullest
    for device in _here():
        found = _detect(copy.deepcopy(trial.detector).to(device), [trial.scenes[name]])[0]
        difference = unlike(trial.seen[name], found, px=8, score=0.05)
        if difference:
            raise Wrong(f"{name}, by a copy on {device}: {difference}")


def unlike(one: Detections, other: Detections, *, px: float, score: float) -> str | None:
    """What tells two results of one frame apart: more than `px` a coordinate or `score`; None if nothing does.

    One box in twenty may be anywhere: where an untrained network sees hundreds of boxes that are all alike, rounding
    decides which of them stay.
    """
    for here, there in ((one, other), (other, one)):
        alone = [row for row in range(len(here)) if not _again(here, row, there, px, score)]
        if len(alone) > len(here) / 20:
            box = f"{_numbers(here.xyxy[alone[0]])} (score {here.scores[alone[0]]:.3f})"
            return f"{len(here)} boxes and {len(there)}, of which {len(alone)} are not alike, the first {box}"
    return None


def _again(one: Detections, row: int, other: Detections, px: float, score: float) -> bool:
    """Whether a box of `one` is among those of `other`."""
    near = (np.abs(other.xyxy - one.xyxy[row]).max(1) <= px) & (np.abs(other.scores - one.scores[row]) <= score)
    return bool((near & (other.class_ids == one.class_ids[row])).any())


def _iou(boxes: NDArray[Any], box: NDArray[Any]) -> NDArray[Any]:
    """(N,4) and (4,) -> (N,)."""
    corners = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    shared = np.clip(corners, 0, None).prod(1)
    return shared / ((boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - shared)


def _boxes(xyxy: NDArray[Any]) -> str:
    return f"boxes are {xyxy[:5].round(1).tolist()}" if len(xyxy) else "there are no boxes"


def _numbers(values: NDArray[Any]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


CHECKS: tuple[Check[_Trial], ...] = (
    Check("it is a detector", _is_a_detector, "give an object with detect(images)", vital=True),
    Check(
        "one Detections a frame", _looks, "return a list with one hrkit.Detections for each frame, in order", vital=True
    ),
    Check("no frames", _no_frames, "an empty list of frames gives an empty list"),
    Check("nobody in the frame", _nobody, "where nobody is, return Detections.empty()"),
    Check("frames of awkward sizes", _awkward_sizes, "frames may have any size, one pixel too"),
    Check("boxes are inside the frame", _inside, "clip boxes (hrkit.geometry.clip_boxes); they are in frame px"),
    Check("boxes have an area", _with_area, "leave boxes out that have none, after they were clipped"),
    Check("scores from 0 to 1, best first", _scores, "sort boxes by falling score; class 0 is person"),
    Check(
        "expected people are found",
        _expected,
        "see that boxes are left, top, right, bottom in frame px, and frames BGR",
    ),
    Check(
        "boxes are x1, y1, x2, y2 in frame px", _frame_px, "return left, top, right, bottom, in px of the frame given"
    ),
    Check("frames are not modified", _frames_stay, "work on a copy of the frame, and of the list"),
    Check(
        "the process stays as it is",
        _process_stays,
        "use with torch.inference_mode(), numpy.random.default_rng(), and as many threads as are set",
    ),
    Check("same result twice", _twice, "take out what depends on chance; set a network to eval()"),
    Check("nothing is kept between calls", _no_memory, "keep nothing of a frame on the object"),
    Check("a batch is its frames alone", _batch, "let no frame depend on its neighbours, and keep their order"),
    Check("threads", _threads, "share no buffer between calls, which may come from several threads at once"),
    Check("copies on devices", _devices, "make a detector with a network a torch.nn.Module, its tensors buffers"),
    Check("prepared for devices", _prepared, "give a copy that finds the same (hrkit.runtimes.prepare.prepare)"),
)
