"""What is asked at the same time is worked on together: one thread builds the networks, and runs them on what waits."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field

from hrkit.pipeline import FRAMES_AT_ONCE
from hrkit.structures import Detections, Found, Frame, Poses, best
from hrkit_web.errors import BusyError

if TYPE_CHECKING:
    from hrkit.pipeline import Pipeline
    from hrkit_web.metrics import Metrics

Result = TypeVar("Result")

WAITING = 256
"""Pictures at most; who comes then is told to come again."""


@define(eq=False)
class Job:
    """One picture, and what is asked about it."""

    pipeline: Pipeline
    image: Frame
    """(H,W,3) BGR."""
    boxes: Detections | None = None
    """Of its people; None where the detector is to look."""
    threshold: float = 0.0
    """Of what the detector finds."""
    most_people: int | None = None
    boxes_only: bool = False
    """Whether the answer is `Detections`; else it is `Poses`."""
    answer: Future[Any] = field(factory=Future)


class Batcher:
    """The one thread that has to do with networks. What waits for the same pipeline goes through it in one batch."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="networks", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], Result]) -> Future[Result]:
        """What a function gives, which comes before the pictures that wait.

        It builds a pipeline: those are a fifth faster in the thread that made them (`hrkit.runtimes.devices.Replicas`).
        """
        answer: Future[Result] = Future()
        with self._changed:
            if self._closed:
                raise BusyError("the server is going down")
            self._calls.append((answer, function))
            self._changed.notify()
        return answer

    def submit(self, *jobs: Job) -> list[Future[Any]]:
        """The answers to come, in order; one that is cancelled is not worked on. Raises `BusyError`."""
        with self._changed:
            if self._closed or len(self._jobs) + len(jobs) > WAITING:
                raise BusyError("too many pictures wait already; try again in a second")
            self._jobs.extend(jobs)
            self._changed.notify()
        return [job.answer for job in jobs]

    def close(self) -> None:
        """Ends the thread after what it works on; what waits is cancelled."""
        with self._changed:
            self._closed = True
            waiting = [*(answer for answer, _ in self._calls), *(job.answer for job in self._jobs)]
            self._calls.clear()
            self._jobs.clear()
            self._changed.notify()
        for answer in waiting:
            answer.cancel()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """How many pictures wait."""
        return len(self._jobs)

    def _work(self) -> None:
        while task := self._next():
            task()

    def _next(self) -> Callable[[], None] | None:
        """A call; else who waits longest, and those that wait for the same pipeline. None when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._calls or self._jobs or self._closed)
            if self._closed:
                return None
            if self._calls:
                return functools.partial(_call, *self._calls.popleft())
            first = self._jobs[0].pipeline
            most = min(FRAMES_AT_ONCE, first.max_batch_size)
            batch = [job for job in self._jobs if job.pipeline is first][:most]
            for job in batch:
                self._jobs.remove(job)
            return functools.partial(self._answer, batch)

    def _answer(self, batch: list[Job]) -> None:
        batch = [job for job in batch if job.answer.set_running_or_notify_cancel()]
        if batch:
            self._metrics.batch_size.observe(len(batch))
            _answer_all(batch)


def _call(answer: Future[Any], function: Callable[[], Any]) -> None:
    if answer.set_running_or_notify_cancel():
        try:
            answer.set_result(function())
        except Exception as error:
            answer.set_exception(error)


def _answer_all(batch: list[Job]) -> None:
    """Where something goes wrong, each goes alone, so that it goes wrong for the one whose fault it is."""
    try:
        answers = run(batch)
    except Exception as error:
        if len(batch) == 1:
            batch[0].answer.set_exception(error)
            return
        for job in batch:
            _answer_all([job])
        return
    for job, answer in zip(batch, answers, strict=True):
        job.answer.set_result(answer)


def run(batch: Sequence[Job]) -> list[Detections | Poses]:
    """What is asked about pictures for one pipeline, in one pass of the detector and one of the pose network."""
    pipeline = batch[0].pipeline
    if pipeline.bottom_up:
        found = pipeline.predict_batch([job.image for job in batch])
        everybody = [_chosen(job, poses) for job, poses in zip(batch, found, strict=True)]
        return [poses.detections if job.boxes_only else poses for job, poses in zip(batch, everybody, strict=True)]
    looking = [job.image for job in batch if job.boxes is None]
    detected = iter(pipeline.detect(looking) if looking else [])
    boxes = [_chosen(job, next(detected)) if job.boxes is None else job.boxes for job in batch]
    posing = [row for row, job in enumerate(batch) if not job.boxes_only]
    answers: list[Detections | Poses] = [*boxes]
    if posing:
        everybody = pipeline.predict_batch([batch[row].image for row in posing], [boxes[row] for row in posing])
        for row, poses in zip(posing, everybody, strict=True):
            answers[row] = poses
    return answers


def _chosen(job: Job, found: Found) -> Found:
    return best(found[found.scores >= job.threshold], job.most_people)


class SharedPipeline:
    """What a `Follower` asks of a pipeline, worked on together with what others ask."""

    def __init__(self, batcher: Batcher, pipeline: Pipeline, *, threshold: float, most_people: int) -> None:
        self.detector, self.skeleton, self.bottom_up = pipeline.detector, pipeline.skeleton, pipeline.bottom_up
        self._batcher, self._pipeline = batcher, pipeline
        self._threshold, self._most_people = threshold, most_people

    def detect(self, images: Sequence[Frame]) -> list[Detections]:
        """As `Pipeline.detect`; of those above the threshold the best."""
        return self._ask(images, [None] * len(images), boxes_only=True)

    def predict_batch(
        self, images: Sequence[Frame], boxes: Sequence[Detections] | None, return_heatmaps: bool = False
    ) -> list[Poses]:
        """As `Pipeline.predict_batch`, without heatmaps; without boxes, of those above the threshold the best."""
        return self._ask(images, [None] * len(images) if boxes is None else boxes, boxes_only=False)

    # Any: `Detections` with boxes_only, else `Poses`
    def _ask(self, images: Sequence[Frame], boxes: Sequence[Detections | None], *, boxes_only: bool) -> list[Any]:
        jobs = [
            Job(self._pipeline, image, given, self._threshold, self._most_people, boxes_only)
            for image, given in zip(images, boxes, strict=True)
        ]
        try:
            return [answer.result() for answer in self._batcher.submit(*jobs)]
        except CancelledError:
            raise BusyError("the server is going down") from None
