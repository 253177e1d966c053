"""One thread builds the networks and runs them, on all waiting pictures at once."""

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
Answer = Future[Any]  # Any: `Detections` or `Poses`, as the job asks, or the result of a call

WAITING = 256
"""Most pictures that may wait. Further ones are refused."""


@define(eq=False)
class Job:
    """One picture and what to find in it."""

    pipeline: Pipeline
    image: Frame
    """(H,W,3) uint8 BGR."""
    boxes: Detections | None = None
    """The people's boxes; None runs the detector."""
    threshold: float = 0.0
    """Lowest score of a detected box."""
    most_people: int | None = None
    boxes_only: bool = False
    """Whether the answer is `Detections` instead of `Poses`."""
    answer: Answer = field(factory=Future)


class Batcher:
    """The thread that runs all networks. Pictures that wait for the same pipeline go through it in one batch."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._calls: deque[tuple[Answer, Callable[[], object]]] = deque()
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="networks", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], Result]) -> Future[Result]:
        """Calls a function before the pictures that wait, and returns its result to come. Raises `BusyError`.

        Pipelines are built this way: they run a fifth faster in the thread that built them.
        """
        answer: Future[Result] = Future()
        with self._changed:
            if self._closed:
                raise BusyError("the server is shutting down")
            self._calls.append((answer, function))
            self._changed.notify()
        return answer

    def submit(self, *jobs: Job) -> list[Answer]:
        """Returns the answers to come, in order. A job whose answer is cancelled is skipped. Raises `BusyError`."""
        with self._changed:
            if self._closed or len(self._jobs) + len(jobs) > WAITING:
                raise BusyError("too many pictures are waiting; try again in a second")
            self._jobs.extend(jobs)
            self._changed.notify()
        return [job.answer for job in jobs]

    def close(self) -> None:
        """Cancels all that waits, and ends the thread once it has finished its current batch."""
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
        """The number of pictures that wait."""
        return len(self._jobs)

    def _work(self) -> None:
        while task := self._next():
            task()

    def _next(self) -> Callable[[], None] | None:
        """The next call, else the jobs to run with the one that has waited longest; None once closed."""
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


def _call(answer: Answer, function: Callable[[], object]) -> None:
    if answer.set_running_or_notify_cancel():
        try:
            answer.set_result(function())
        except Exception as error:
            answer.set_exception(error)


def _answer_all(batch: list[Job]) -> None:
    """If a batch fails, its jobs run one by one, so that only the faulty job fails."""
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
    """Answers jobs for one pipeline, with one pass of the detector and one of the pose network."""
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
    """The `PoseSource` of one video or camera. Its pictures share batches with those of other callers."""

    def __init__(self, batcher: Batcher, pipeline: Pipeline, *, threshold: float, most_people: int) -> None:
        self.detector, self.skeleton, self.bottom_up = pipeline.detector, pipeline.skeleton, pipeline.bottom_up
        self._batcher, self._pipeline = batcher, pipeline
        self._threshold, self._most_people = threshold, most_people

    def detect(self, images: Sequence[Frame]) -> list[Detections]:
        """As `Pipeline.detect`, but keeps only the best boxes that reach the threshold."""
        return self._ask(images, [None] * len(images), boxes_only=True)

    def predict_batch(
        self, images: Sequence[Frame], boxes: Sequence[Detections] | None, return_heatmaps: bool = False
    ) -> list[Poses]:
        """As `Pipeline.predict_batch`, without heatmaps. If `boxes` is None, only the best people are kept."""
        return self._ask(images, [None] * len(images) if boxes is None else boxes, boxes_only=False)

    # Any: `Detections` if boxes_only, else `Poses`
    def _ask(self, images: Sequence[Frame], boxes: Sequence[Detections | None], *, boxes_only: bool) -> list[Any]:
        jobs = [
            Job(self._pipeline, image, given, self._threshold, self._most_people, boxes_only)
            for image, given in zip(images, boxes, strict=True)
        ]
        try:
            return [answer.result() for answer in self._batcher.submit(*jobs)]
        except CancelledError:
            raise BusyError("the server is shutting down") from None
