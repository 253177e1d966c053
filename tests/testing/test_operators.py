"""The kit on native operators: what is right passes, each planted fault is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from hrkit.ops.native import Library
from hrkit.testing import check_operators, examine_operators


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """One with a source, and a home of its own."""
    monkeypatch.setenv("HRKIT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "csrc"
    folder.mkdir()
    (folder / "one.cpp").write_text("int one() { return 1; }")
    return Library("one", folder)


def wrong(given: object) -> list[str]:
    return [finding.check for finding in check_operators(lambda: given)]


def test_what_is_right_passes(library: Library) -> None:
    verdicts = [finding.verdict for finding in examine_operators(lambda: library)]
    assert verdicts == ["ok", "ok", "ok", "not judged"]


def test_planted_faults_are_found(library: Library, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert wrong("a library") == ["it is a library"]
    (finding,) = check_operators(lambda: Library("one", library.folder))
    assert "another one each time" in finding.problem
    assert wrong(Library("../one", library.folder)) == ["its name can be that of a file"]
    assert wrong(Library("one", tmp_path / "nowhere")) == ["its sources are there"]
    library.path().parent.mkdir(parents=True)
    library.path().write_bytes(b"no library")
    assert wrong(library) == ["it loads"]
    assert "one cannot be used" in caplog.text
