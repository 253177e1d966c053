"""Pictures that arrive at the same time go through the networks together."""

import asyncio
import threading
from concurrent.futures import CancelledError

import pytest
from hrkit_web.errors import BusyError
from hrkit_web.metrics import Metrics
from hrkit_web.networks.batching import WAITING, Batcher, Job, SharedPipeline


class Gated:
    """A pipeline that waits at a gate and records its batches."""

    max_batch_size, bottom_up = 4, False

    def __init__(self, pipeline):
        self.detector, self.skeleton = pipeline.detector, pipeline.skeleton
        self._pipeline = pipeline
        self.gate, self.entered, self.batches = threading.Event(), threading.Event(), []

    def detect(self, images):
        self.entered.set()
        self.gate.wait(30)
        self.batches.append(len(images))
        return self._pipeline.detect(images)

    def predict_batch(self, images, boxes):
        if any(image.shape == (1, 1, 3) for image in images):
            raise ValueError("this one is bad")
        return self._pipeline.predict_batch(images, boxes)


@pytest.fixture
def batcher():
    one = Batcher(Metrics())
    yield one
    one.close()


@pytest.mark.slow
def test_waiting_pictures_go_together_in_order(batcher, synthetic, painted):
    pipeline = Gated(synthetic)
    frames = [painted(float(shift))[0] for shift in range(11)]
    (first,) = batcher.submit(Job(pipeline, frames[0]))
    assert pipeline.entered.wait(30)
    rest = batcher.submit(*(Job(pipeline, frame) for frame in frames[1:]))
    assert batcher.waiting == 10
    pipeline.gate.set()
    answers = [answer.result(30) for answer in (first, *rest)]
    assert pipeline.batches == [1, 4, 4, 2]
    for frame, answer in zip(frames, answers, strict=True):
        assert answer.to_dict() == synthetic.predict(frame).to_dict()


def test_pipelines_do_not_mix(batcher, synthetic, painted):
    one, other = Gated(synthetic), Gated(synthetic)
    frame = painted()[0]
    (first,) = batcher.submit(Job(one, frame))
    assert one.entered.wait(30)
    rest = batcher.submit(*(Job(pipeline, frame) for pipeline in (other, one, other, one)))
    one.gate.set()
    other.gate.set()
    assert [len(answer.result(30)) for answer in (first, *rest)] == [2] * 5
    assert (one.batches, other.batches) == ([1, 2], [2])


class BottomUp:
    """A pipeline whose network finds all people at once and takes no boxes."""

    max_batch_size, bottom_up, detector = 4, True, None

    def __init__(self, pipeline):
        self.skeleton, self._pipeline = pipeline.skeleton, pipeline

    def predict_batch(self, images):
        return self._pipeline.predict_batch(images)


def test_bottom_up_networks(batcher, synthetic, painted):
    pipeline, frame = BottomUp(synthetic), painted()[0]
    everybody = synthetic.predict(frame)
    shared = SharedPipeline(batcher, pipeline, threshold=0.1, most_people=1)
    (poses,) = shared.predict_batch([frame], None)
    assert poses.to_dict() == everybody[:1].to_dict()
    (boxes,) = shared.detect([frame])
    assert boxes.to_dict() == everybody[:1].detections.to_dict()


def test_a_bad_one_fails_alone(batcher, synthetic, painted):
    pipeline = Gated(synthetic)
    frame = painted()[0]
    (first,) = batcher.submit(Job(pipeline, frame))
    assert pipeline.entered.wait(30)
    good, bad, fine = batcher.submit(*(Job(pipeline, image) for image in (frame, frame[:1, :1], frame)))
    pipeline.gate.set()
    assert [len(answer.result(30)) for answer in (first, good, fine)] == [2, 2, 2]
    with pytest.raises(ValueError, match="this one is bad"):
        bad.result(30)


def test_cancelled_jobs_are_skipped(batcher, synthetic, painted):
    pipeline = Gated(synthetic)
    batcher.submit(Job(pipeline, painted()[0]))
    assert pipeline.entered.wait(30)
    gone, stays = batcher.submit(Job(pipeline, painted()[0]), Job(pipeline, painted()[0]))
    assert gone.cancel()
    pipeline.gate.set()
    assert len(stays.result(30)) == 2
    assert pipeline.batches == [1, 1]


def test_the_number_of_waiting_pictures_is_limited(synthetic, painted):
    batcher, pipeline = Batcher(Metrics()), Gated(synthetic)
    (first,) = batcher.submit(Job(pipeline, painted()[0]))
    assert pipeline.entered.wait(30)
    waiting = batcher.submit(*(Job(pipeline, painted()[0]) for _ in range(WAITING)))
    with pytest.raises(BusyError):
        batcher.submit(Job(pipeline, painted()[0]))
    pipeline.gate.set()
    batcher.close()
    assert first.done()
    assert waiting[-1].cancelled()
    with pytest.raises(CancelledError):
        waiting[-1].result(0)
    with pytest.raises(BusyError):
        batcher.submit(Job(pipeline, painted()[0]))


def test_networks_are_built_where_they_run(batcher, synthetic, painted):
    pipeline = Gated(synthetic)
    batcher.submit(Job(pipeline, painted()[0]))
    assert pipeline.entered.wait(30)
    (waits,) = batcher.submit(Job(pipeline, painted()[0]))
    built, broken = batcher.call(threading.current_thread), batcher.call(lambda: 1 / 0)
    assert not built.done()
    pipeline.gate.set()
    assert built.result(30).name == "networks"
    assert isinstance(broken.exception(30), ZeroDivisionError)
    assert len(waits.result(30)) == 2
    batcher.close()
    with pytest.raises(BusyError):
        batcher.call(threading.current_thread)


@pytest.mark.slow
def test_a_follower_finds_the_same_as_with_a_pipeline_of_its_own(batcher, synthetic, painted):
    from hrkit.tracking.follower import Follower
    from hrkit.video.files import VideoFrame

    frames = [VideoFrame(index, index / 25, painted(3.0 * index)[0]) for index in range(6)]
    shared = SharedPipeline(batcher, synthetic, threshold=0.1, most_people=50)
    for every in (1, 3):
        together, alone = (Follower(pipeline, detect_every=every) for pipeline in (shared, synthetic))
        for frame in frames:
            assert together.step([frame])[0].to_dict() == alone.step([frame])[0].to_dict()
    (best,) = SharedPipeline(batcher, synthetic, threshold=0.1, most_people=1).detect([frames[0].image])
    assert len(best) == 1


@pytest.mark.slow
def test_many_callers_at_once(serve, synthetic, painted, encoded, load_tool):
    """A short run of tools/load.py."""
    with serve() as site:
        load = load_tool.load(site.address, encoded(painted()[0]), clients=10, seconds=2)
        result = asyncio.run(load)
        assert set(result["statuses"]) == {"200"}
        assert result["statuses"]["200"] >= 10
        assert result["pictures_in_a_batch"] > 1
        assert all(megabytes > 0 for megabytes in result["resident_mb"])
        assert site.services.batcher.waiting == 0
        assert site.services.memory.taken == 0
