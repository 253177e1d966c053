"""Steps of a stream that run side by side, in order, with a bounded number of items between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_END: Any = object()


def ahead(items: Iterable[Item], depth: int = 4) -> Generator[Item, None, None]:
    """The items, made by a thread of their own that is at most `depth` ahead.

    What making them raises is raised here, after the items before. Closing this iterator closes that of the items.
    """
    iterator = iter(items)
    pool = ThreadPoolExecutor(1, "hrkit-ahead")
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


def behind(function: Callable[[Item], Result], items: Iterable[Item], depth: int = 2) -> Generator[Result, None, None]:
    """`function(item)` for every item, in order, by a thread of its own while the next items are made here.

    A result comes as soon as it is there; at most `depth` are waited for. What `function` raises is raised here, and
    what making items raises is raised after the results of the items before.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(1, "hrkit-behind")
    iterator, failure = iter(items), None
    try:
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            waiting.append(pool.submit(function, item))
            while waiting and (waiting[0].done() or len(waiting) > depth):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(cancel_futures=True)
