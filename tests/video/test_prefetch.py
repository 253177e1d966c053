"""Steps side by side: in order, bounded, and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from hrkit.video.prefetch import in_background, prefetched


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("hrkit-")}


@pytest.mark.parametrize("depth", [1, 3, 20])
def test_items_come_in_order(depth: int) -> None:
    assert list(prefetched(range(10), depth)) == list(range(10))
    assert list(in_background(lambda n: n * n, range(10), depth)) == [n * n for n in range(10)]
    assert threads() == set()


def test_nothing_is_nothing() -> None:
    assert list(prefetched([])) == []
    assert list(in_background(str, [])) == []


def test_reading_ahead_is_bounded() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for n in range(100):
            made.append(n)
            yield n

    items = prefetched(numbers(), 3)
    for n in range(50):
        assert next(items) == n
        assert len(made) <= n + 1 + 3
    items.close()
    assert len(made) <= 50 + 3
    assert threads() == set()


def test_closing_closes_what_is_read() -> None:
    closed = []

    def numbers() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    items = prefetched(numbers())
    next(items)
    items.close()
    assert closed == [True]


def test_errors_come_after_the_items_before() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("no more")

    items = prefetched(numbers(), 5)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(OSError, match="no more"):
        next(items)

    results = in_background(str, numbers(), 5)
    assert [next(results), next(results)] == ["1", "2"]
    with pytest.raises(OSError, match="no more"):
        next(results)

    results = in_background(lambda n: str(1 // n), [1, 1, 0], 5)
    with pytest.raises(ZeroDivisionError):
        list(results)
    assert threads() == set()


def test_both_work_beside_the_caller() -> None:
    names = {next(iter(prefetched(iter(threading.current_thread, None)))).name}
    names |= {thread.name for thread in in_background(lambda _: threading.current_thread(), [1])}
    assert threading.current_thread().name not in names
    assert len(names) == 2


def test_results_are_waited_for_only_so_far() -> None:
    release = threading.Event()
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for n in range(10):
            made.append(n)
            if n == 3:
                release.set()  # the fourth item is asked for while the first result is still waited for
            yield n

    def slow(n: int) -> int:
        assert release.wait(60)
        return n

    assert list(in_background(slow, numbers(), 3)) == list(range(10))
    assert made == list(range(10))
