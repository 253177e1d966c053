"""Work that runs in a background thread: items in order, with a bounded number of them waiting."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_END: Any = object()  # stands for an item of any type


def prefetched(items: Iterable[Item], depth: int = 4) -> Generator[Item, None, None]:
    """The items, produced in a background thread at most `depth` ahead.

    An error while producing an item is raised after the items before it. Closing this iterator closes that of `items`.
    """
    iterator = iter(items)
    pool = ThreadPoolExecutor(1, "hrkit-prefetched")
    try:
        waiting = deque(pool.submit(next, iterator, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, iterator, _END))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


def in_background(
    function: Callable[[Item], Result], items: Iterable[Item], depth: int = 2
) -> Generator[Result, None, None]:
    """`function(item)` for each item, in order, computed in a background thread while the caller makes the next items.

    Each result is given as soon as it is ready; at most `depth` of them are pending. An error of `function` is raised
    in its place, and an error of `items` after the results of the items before it.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(1, "hrkit-background")

    def started() -> Iterator[Future[Result]]:
        try:
            yield from (pool.submit(function, item) for item in items)
        except Exception as error:
            failed: Future[Result] = Future()
            failed.set_exception(error)
            yield failed

    try:
        for future in started():
            waiting.append(future)
            while waiting and (waiting[0].done() or len(waiting) > depth):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
