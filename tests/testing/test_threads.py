"""Threads that take turns harm what is not safe in them, and come to an end."""

from __future__ import annotations

import functools
import threading

import pytest

from faulty_detectors import SOUND, SharedBuffer
from hrkit.testing.detectors import unlike
from hrkit.testing.scenes import painted, player
from hrkit.testing.threads import side_by_side


@pytest.mark.slow
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
