"""One way through a pipeline: batches, streams, devices and threads give what each frame alone gives."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch

from hrkit import Pipeline, Poses
from hrkit.errors import HrkitError, ImageError
from hrkit.geometry import MAX_SIDE
from painted import TWO_PEOPLE, nobody, one_person, two_people
from synthetic_pipelines import assert_same, boxes_of, pipeline


@pytest.fixture(scope="module")
def people() -> Pipeline:
    return pipeline()


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_batches_across_frames(people: Pipeline, size: int) -> None:
    frames = [two_people(), nobody(), one_person(), two_people()]
    batch = pipeline(max_batch_size=size).predict_batch(frames, return_heatmaps=True)
    for poses, frame in zip(batch, frames, strict=True):
        alone = people.predict(frame, return_heatmaps=True)
        assert_same(poses, alone, atol=1e-3)
        np.testing.assert_allclose(poses.heatmaps, alone.heatmaps, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_stream_is_frames_alone(people: Pipeline, size: int) -> None:
    frames = [two_people(), nobody(), one_person(), two_people()]
    streamed = list(people.stream(iter(frames), batch_size=size))
    assert len(streamed) == len(frames)
    for poses, frame in zip(streamed, frames, strict=True):
        assert_same(poses, people(frame), atol=1e-3)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_stream_needs_a_batch(people: Pipeline, batch_size: int) -> None:
    with pytest.raises(HrkitError, match="batch_size must be a whole number of at least 1"):
        list(people.stream([nobody()], batch_size=batch_size))


def test_a_stream_is_of_pictures_not_of_rows(people: Pipeline) -> None:
    for frames in (nobody(), "photo.jpg"):
        with pytest.raises(HrkitError, match="for one picture call predict"):
            people.stream(frames)


@pytest.mark.parametrize("input_size", [(256, 192), (64, 64)])
def test_heatmaps(input_size: tuple[int, int]) -> None:
    network = pipeline(input_size=input_size, num_joints=5)
    for poses, count in zip(network.predict_batch([two_people(), nobody()], None, True), (2, 0), strict=True):
        assert poses.heatmaps is not None
        assert poses.heatmaps.shape == (count, 5, input_size[0] // 4, input_size[1] // 4)
        assert poses.heatmaps.dtype == np.float32
        np.testing.assert_array_equal(poses.heatmaps.max((2, 3), initial=-1), poses.keypoint_scores)
    assert network(two_people()).heatmaps is None


@pytest.mark.slow
@pytest.mark.parametrize("flip_test", [False, True])
def test_arguments_are_not_changed(flip_test: bool) -> None:
    frames, boxes = [two_people(), nobody()], [boxes_of(TWO_PEOPLE), boxes_of(TWO_PEOPLE)]
    pipeline(flip_test=flip_test).predict_batch(frames, boxes)
    assert len(frames) == len(boxes) == 2
    np.testing.assert_array_equal(frames, [two_people(), nobody()])
    np.testing.assert_array_equal(boxes, [boxes_of(TWO_PEOPLE)] * 2)
    for frame in frames:
        frame.flags.writeable = False
    assert len(pipeline(flip_test=flip_test)(frames)[0]) == 2


def test_two_runs_are_equal(people: Pipeline) -> None:
    assert_same(people(two_people()), people(two_people()))


@pytest.mark.slow
def test_two_devices_are_one(people: Pipeline) -> None:
    frames = [two_people(), nobody(), one_person()] * 4
    both = pipeline(device="cpu,cpu", max_batch_size=2)
    assert repr(both).endswith("on cpu,cpu)")
    for one, other in zip(both(frames), people(frames), strict=True):
        assert_same(one, other, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_many_threads(device: str) -> None:
    network = pipeline(device=device)
    frames = [two_people(), nobody(), one_person()] * 4
    alone = [network(frame) for frame in frames]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(network, frames))
    for one, other in zip(together, alone, strict=True):
        assert_same(one, other)


@pytest.mark.slow
def test_two_hundred_threads_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    network, frame = pipeline(input_size=(64, 48)), two_people()
    alone, model = network(frame), network.pose_model
    inside, most = [0], [0]
    forward = type(model).forward

    def counted(self: Any, images: torch.Tensor) -> torch.Tensor:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        result = forward(self, images)
        inside[0] -= 1
        return result

    monkeypatch.setattr(type(model), "forward", counted)
    start = Barrier(200)

    def together(_: int) -> Poses:
        start.wait()
        return network(frame)

    with ThreadPoolExecutor(200) as pool:
        for poses in pool.map(together, range(200)):
            assert_same(poses, alone)
    assert most == [1]


MEMORY_OF_THREADS = """
import numpy as np
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from hrkit import Pipeline
from hrkit.runtimes.allocator import return_freed_memory

def held():
    return_freed_memory()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

pipeline = Pipeline.from_names("hrnet_w8", weights=None, device="cpu")
frame = np.zeros((300, 200, 3), np.uint8)
with ThreadPoolExecutor(1) as pool:  # also the thread of the device starts before the first measurement
    list(pool.map(lambda _: pipeline([frame] * 4), range(3)))
before, start = held(), Barrier(24)
with ThreadPoolExecutor(24) as pool:
    list(pool.map(lambda _: (start.wait(), pipeline([frame] * 4)), range(24)))
print(held() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_dozen_threads_need_no_more_memory_than_one() -> None:
    ended = subprocess.run([sys.executable, "-c", MEMORY_OF_THREADS], capture_output=True, text=True, check=True)
    assert float(ended.stdout) < 40  # MB; memory kept in each thread alone would be 75 and more


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_one_bad_picture_does_not_block_the_next(device: str) -> None:
    network = pipeline(device=device)
    with pytest.raises(ImageError):
        network([two_people(), np.full((MAX_SIDE + 1, 3, 3), 255, np.uint8)])
    assert len(network(two_people())) == 2
