"""Calls side by side, in threads that take turns at every line of Python."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, TypeVar  # Any: what sys.settrace passes

Result = TypeVar("Result")

PATIENCE = 0.1
"""Seconds that a thread waits for its turn: another may be in a long operation, or wait for a lock of this one."""


def side_by_side(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of calls that all run at once. Raises what the first failing call raises.

    Left alone, threads rarely meet in the few lines where they could harm each other. Here each thread runs one line
    and lets the next go ahead, so that such lines do meet.
    """
    turns = _Turns()
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Result]) -> Result:
        def at_a_line(frame: FrameType, event: str, argument: Any) -> Any:
            turns.pass_on()
            return at_a_line

        turns.join()
        start.wait()
        before = sys.gettrace()
        sys.settrace(at_a_line)
        try:
            return call()
        finally:
            sys.settrace(before)
            turns.leave()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


class _Turns:
    """Whose turn it is among the threads that are between two lines."""

    def __init__(self) -> None:
        self._there: list[int] = []
        self._turn = 0
        self._condition = threading.Condition()

    def join(self) -> None:
        with self._condition:
            self._there.append(threading.get_ident())

    def leave(self) -> None:
        me = threading.get_ident()
        with self._condition:
            if me in self._there:
                self._give_to_the_next(me)
                self._there.remove(me)

    def pass_on(self) -> None:
        """Lets the next thread go ahead, and waits for the turn of this one."""
        me = threading.get_ident()
        with self._condition:
            if me not in self._there:
                self._there.append(me)
            self._give_to_the_next(me)
            if not self._condition.wait_for(lambda: self._turn == me, PATIENCE):
                self._there = [one for one in self._there if one != self._turn]  # until it reaches a line again
                self._turn = me

    def _give_to_the_next(self, me: int) -> None:
        self._turn = self._there[(self._there.index(me) + 1) % len(self._there)]
        self._condition.notify_all()
