"""Findings: what checks say about a part, how they are made and shown."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal  # Any: a part may be of any type before it is checked

from attrs import field, frozen

from hrkit.errors import HrkitError, one_line
from hrkit.testing.watch import Watch

PACKAGE = Path(__file__).parents[1]
"""The files of hrkit."""

Verdict = Literal["ok", "wrong", "not judged"]
Run = Callable[[Any], None]

ONE_LINE = "raise hrkit.HrkitError, or an OSError, in one line that says what to do"
"""The advice for builders that refuse what they are given."""


class Wrong(Exception):  # noqa: N818
    """A check found something wrong; the message says what."""


class NotJudged(Exception):  # noqa: N818
    """A check had nothing to judge; the message says why."""


@frozen(repr=False)
class Finding:
    """The result of one check of one part."""

    part: str
    """Such as "detector backdrop"."""
    check: str
    """What was checked, in words."""
    verdict: Verdict
    problem: str = ""
    """What was wrong, or why nothing could be judged."""
    advice: str = ""
    """What to do about it."""

    def __str__(self) -> str:
        said = "; ".join(part for part in (self.problem, self.advice) if part)
        return f"{self.verdict:11} {self.check}" + (f": {said}" if said else "")

    __repr__ = __str__


@frozen
class Check:
    """One thing to check: `run` raises `Wrong`, `NotJudged`, or whatever the part itself raises."""

    name: str
    advice: str
    run: Run
    vital: bool
    """Whether the checks after it are pointless if it fails."""


Checking = Callable[..., list[Finding]]
"""`check_<kind>`."""
Examining = Callable[..., Iterator[Finding]]
"""`examine_<kind>`."""


@frozen
class Contract:
    """What a hook asks for, as checks of one kind of part.

    `check` and `examine` take the part, the options that `trial` takes, and `part`, its name in findings.
    """

    kind: str
    trial: Callable[..., Any] = lambda given: given
    """Makes what the checks are run with from the part and options."""
    checks: list[Check] = field(factory=list)

    def rule(self, name: str, advice: str, *, vital: bool = False) -> Callable[[Run], Run]:
        """Adds the decorated function as a `Check`."""

        def add(run: Run) -> Run:
            self.checks.append(Check(name, advice, run, vital))
            return run

        return add

    def examine(self, given: Any, *, part: str = "", watch: Watch | None = None, **options: Any) -> Iterator[Finding]:
        """One finding per check, in order, each as soon as it is known; none after a vital check that failed.

        What the part does to the process is told at the end, unless `watch`, which looks after it, is given.
        """
        part, trial = part or self.kind, self.trial(given, **options)
        seen = watch or Watch()
        for check in self.checks:
            finding = _examined(check, trial, part, seen)
            yield finding
            if check.vital and finding.verdict != "ok":
                break
        if watch is None:
            yield from effects(seen, part)

    def check(self, given: Any, *, part: str = "", **options: Any) -> list[Finding]:
        """The findings of what is wrong; an empty list if nothing is."""
        return wrong(self.examine(given, part=part, **options))


def _examined(check: Check, trial: Any, part: str, watch: Watch) -> Finding:
    try:
        with watch.over(part, check.name):
            check.run(trial)
    except NotJudged as reason:
        return Finding(part, check.name, "not judged", str(reason))
    except (Exception, SystemExit) as error:  # code of others may raise anything
        problem = str(error) if isinstance(error, Wrong) else raised(error)
        return Finding(part, check.name, "wrong", problem, check.advice)
    return Finding(part, check.name, "ok")


def effects(watch: Watch, part: str) -> Iterator[Finding]:
    """The findings about the process in which the checks of a part ran."""
    for name, problem, advice in watch.faults():
        yield Finding(part, name, "wrong", problem, advice) if problem else Finding(part, name, "ok")


def expect(met: object, problem: str, otherwise: type[Exception] = Wrong) -> None:
    """Raises `otherwise(problem)` unless `met` is true."""
    if not met:
        raise otherwise(problem)


def refusal(call: Callable[[], Any], given: str) -> str | None:
    """The message of the `HrkitError` or `OSError` that `call` raises; None if it raises nothing.

    Raises `Wrong` if it raises something else, or a message of several lines.
    """
    try:
        call()
    except (HrkitError, OSError) as error:
        lines = len(str(error).strip().splitlines())
        expect(lines < 2, f"given {given} it says more than one line: {one_line(error)[:120]}")
        return str(error)
    except Exception as error:
        raise Wrong(f"given {given} it {raised(error)}") from error
    return None


def wrong(findings: Iterable[Finding]) -> list[Finding]:
    """The findings of something wrong."""
    return [finding for finding in findings if finding.verdict == "wrong"]


def describe(findings: Sequence[Finding]) -> str:
    """One line per finding, for people: `assert not findings, describe(findings)`."""
    return "\n".join(f"{finding.part}: {finding}" for finding in findings)


def raised(error: BaseException) -> str:
    """Says that a part raised `error`, and in which line outside hrkit."""
    steps = traceback.extract_tb(error.__traceback__)
    places = [step for step in steps if not Path(step.filename).is_relative_to(PACKAGE)]
    place = f" ({Path(places[-1].filename).name}:{places[-1].lineno})" if places else ""
    return f"raises {type(error).__name__}: {one_line(error)[:300]}{place}"
