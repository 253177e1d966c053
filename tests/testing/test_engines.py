"""The kit finds what is wrong with engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hrkit.extraction.manifest import Result
from hrkit.testing import check_engine, describe

FAULTS: dict[str, tuple[Callable[..., Any], str]] = {
    "it raises": (lambda names, job: 1 / 0, "each input once"),
    "the last is left out": (lambda names, job: job.load()(names[:-1]), "each input once"),
    "some twice": (lambda names, job: job.load()([*names, *names[:1]]), "each input once"),
    "failures are hidden": (lambda names, job: [Result(name, frames=1) for name in names], "results as they are"),
    "somebody where nobody is": (lambda names, job: job.load()(names or ["a.jpg"]), "no inputs"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    broken, check = FAULTS[fault]
    findings = check_engine(broken)
    assert [finding.check for finding in findings] == [check], describe(findings)
