"""Output files appear whole, with the permissions of any other file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from hrkit.files import atomic_path


def test_the_process_keeps_its_umask_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ordinary").touch()

    def refuse(mask: int) -> int:
        raise AssertionError("for a moment every thread would make files that are open to everybody")

    monkeypatch.setattr(os, "umask", refuse)
    with atomic_path(tmp_path / "written") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("before")
    with contextlib.suppress(ZeroDivisionError), atomic_path(tmp_path / "there") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "there").read_text() == "before"
    assert os.listdir(tmp_path) == ["there"]
