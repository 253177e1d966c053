"""Findings: what checks say about a part, how they are made and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal  # Any: a part may be of any type before it is checked

from attrs import field, frozen

from hrkit.errors import one_line

Verdict = Literal["ok", "wrong", "not judged"]


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
    run: Callable[[Any], None]
    advice: str
    vital: bool = field(default=False, kw_only=True)
    """Whether the checks after it are pointless if it fails."""


def _itself(given: Any) -> Any:
    return given


@frozen
class Contract:
    """What a hook asks for, as checks of one kind of part.

    `check` and `examine` take the part, the options that `trial` takes, and `part`, its name in findings.
    """

    kind: str
    checks: Sequence[Check]
    trial: Callable[..., Any] = _itself
    """Makes what the checks are run with from the part and options."""

    def examine(self, given: Any, *, part: str = "", **options: Any) -> Iterator[Finding]:
        """One finding per check, in order, each as soon as it is known; none after a vital check that failed."""
        part, trial = part or self.kind, self.trial(given, **options)
        for check in self.checks:
            try:
                check.run(trial)
            except NotJudged as reason:
                yield Finding(part, check.name, "not judged", str(reason))
            except (Exception, SystemExit) as error:  # code of others may raise anything
                problem = str(error) if isinstance(error, Wrong) else raised(error)
                yield Finding(part, check.name, "wrong", problem, check.advice)
            else:
                yield Finding(part, check.name, "ok")
                continue
            if check.vital:
                return

    def check(self, given: Any, *, part: str = "", **options: Any) -> list[Finding]:
        """The findings of what is wrong; an empty list if nothing is."""
        return wrong(self.examine(given, part=part, **options))


def wrong(findings: Iterable[Finding]) -> list[Finding]:
    """The findings of something wrong."""
    return [finding for finding in findings if finding.verdict == "wrong"]


def describe(findings: Sequence[Finding]) -> str:
    """One line per finding, for people: `assert not findings, describe(findings)`."""
    return "\n".join(f"{finding.part}: {finding}" for finding in findings)


def raised(error: BaseException) -> str:
    """Says that a part raised `error`."""
    return f"raises {type(error).__name__}: {one_line(error)[:300]}"
