"""Output files appear whole, with the permissions of any other file; damaged JSON is described in one line."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest

from hrkit.errors import DatasetError, HrkitError
from hrkit.files import atomic_path, cache_dir, check_outputs, read_json


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


def test_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"name": "Ä"}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"name": "Ä"}
    assert read_json(str(tmp_path / "a.json")) == {"name": "Ä"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"images": [', "damaged at line 1, column 13: Expecting value; the file is cut short"),
        (b'[1,\n "ab', "damaged at line 2, column 2: Unterminated string starting at; the file is cut short"),
        (b"", "damaged at line 1, column 1: Expecting value; the file is cut short"),
        (b"[1,\n 2 3]\n", "damaged at line 2, column 4: Expecting ',' delimiter"),
        (b"[] []", "damaged at line 1, column 4: Extra data"),
        (b'"\xff"', "cannot be read ('utf-8' codec can't decode byte 0xff in position 1: invalid start byte)"),
        (b"[" * 200_000, "cannot be read ("),
        (None, "cannot be read ([Errno 2] No such file or directory"),
    ],
)
def test_damaged_json_is_named_in_one_line(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    for error in (HrkitError, DatasetError):
        with pytest.raises(error, match=re.escape(f"{path}: {says}")) as caught:
            read_json(path, error)
        assert type(caught.value) is error
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith("cut short") == says.endswith("cut short")


def test_cache_dir_is_hrkit_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HRKIT_HOME", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("HRKIT_HOME")
    assert cache_dir().name == "hrkit"


def test_an_output_is_no_input(tmp_path: Path) -> None:
    video = tmp_path / "a.mkv"
    video.touch()
    (tmp_path / "b.mkv").symlink_to(video)
    (tmp_path / "folder").symlink_to(tmp_path)
    strange = [None, "0", "auto", "rtsp://host/a.mkv", "a\0.mkv"]
    check_outputs([tmp_path / "new.csv", tmp_path / "b.mkv"], [*strange, tmp_path, tmp_path / "new.csv"])
    for output in (video, tmp_path / "b.mkv", tmp_path / "folder" / "a.mkv", f"{tmp_path}/./a.mkv"):
        with pytest.raises(HrkitError, match=r"is the input .*a\.mkv itself; name another output"):
            check_outputs([tmp_path / "new.csv", output], [*strange, video])
    with pytest.raises(HrkitError, match="is the input"):
        check_outputs([tmp_path / "folder"], [tmp_path])


def test_a_member_stands_for_its_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    with pytest.raises(HrkitError, match=r"a\.zip is the input .*a\.zip@photo\.jpg itself"):
        check_outputs([tmp_path / "a.zip"], [f"{tmp_path}/a.zip@photo.jpg"])
