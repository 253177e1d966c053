"""What a check says: findings, and how they are made and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Literal, TypeVar

from attrs import field, frozen

from hrkit.errors import one_line

Verdict = Literal["ok", "wrong", "not judged"]
Trial = TypeVar("Trial")


class Wrong(Exception):  # noqa: N818
    """A check found something wrong; the message is what."""


class NotJudged(Exception):  # noqa: N818
    """A check had nothing to judge; the message is why."""


@frozen(repr=False)
class Finding:
    """What one check of one part came to."""

    part: str
    """As "detector backdrop"."""
    check: str
    """What was looked at, in words."""
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
class Check(Generic[Trial]):
    """One thing to look at: `run(trial)` raises `Wrong`, `NotJudged`, or whatever the part itself raises."""

    name: str
    run: Callable[[Trial], None]
    advice: str
    vital: bool = field(default=False, kw_only=True)
    """Whether the checks that follow have nothing to look at where this one fails."""


def examine(part: str, trial: Trial, checks: Iterable[Check[Trial]]) -> Iterator[Finding]:
    """One finding a check, in order, each as soon as it is there; none after a vital check that failed."""
    for check in checks:
        try:
            check.run(trial)
        except NotJudged as reason:
            yield Finding(part, check.name, "not judged", str(reason))
        except Wrong as problem:
            yield Finding(part, check.name, "wrong", str(problem), check.advice)
        except (Exception, SystemExit) as error:  # a stranger's code: whatever it raises is a finding
            yield Finding(part, check.name, "wrong", raised(error), check.advice)
        else:
            yield Finding(part, check.name, "ok")
            continue
        if check.vital:
            return


def wrong(findings: Iterable[Finding]) -> list[Finding]:
    """Those that found something wrong."""
    return [finding for finding in findings if finding.verdict == "wrong"]


def describe(findings: Sequence[Finding]) -> str:
    """One line a finding, for people: `assert not findings, describe(findings)`."""
    return "\n".join(f"{finding.part}: {finding}" for finding in findings)


def raised(error: BaseException) -> str:
    """In words: that a part raised `error`."""
    text = one_line(error)
    return f"raises {type(error).__name__}: {text[:300]}"
