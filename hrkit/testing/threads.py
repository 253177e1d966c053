"""Calls side by side, in threads that take turns at every line of Python."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar  # Any: what sys.settrace passes

Result = TypeVar("Result")

PATIENCE = 0.1
"""Seconds that a thread waits for its turn: another may be in a long operation, or wait for a lock of this one."""


def side_by_side(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of calls that all run at once. Raises what the first failing call raises.

    Left alone, threads rarely meet in the few lines where they could harm each other. Here each thread runs one line
    and lets the next go ahead, so that such lines do meet.
    """
    start, turns = threading.Barrier(len(calls)), threading.Condition()
    queue: list[int] = []  # threads that are between two lines; the first has its turn

    def at_a_line(*_: Any) -> Any:
        me = threading.get_ident()
        with turns:
            queue[:] = [*(one for one in queue if one != me), me]
            turns.notify_all()
            if not turns.wait_for(lambda: queue[:1] == [me], PATIENCE):
                queue[:] = [me, *(one for one in queue[1:] if one != me)]  # the first is out until its next line
        return at_a_line

    def run(call: Callable[[], Result]) -> Result:
        queue.append(threading.get_ident())
        start.wait()
        before = sys.gettrace()
        sys.settrace(at_a_line)
        try:
            return call()
        finally:
            sys.settrace(before)
            with turns:
                queue[:] = [one for one in queue if one != threading.get_ident()]
                turns.notify_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))
