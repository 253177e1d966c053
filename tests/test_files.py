"""Output files appear whole, with the permissions of any other file; damaged JSON is described in one line."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest

from hrkit.errors import DatasetError, HrkitError
from hrkit.files import (
    atomic_path,
    beside,
    cache_dir,
    check_outputs,
    json_text,
    leads_out,
    read_json,
    read_toml,
    reserved,
    without_secrets,
)


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


def test_json_has_no_nan() -> None:
    told = {"a": [float("nan"), 1.5, float("-inf")], "nan": "NaN"}
    assert json_text(told) == '{"a": [null, 1.5, null], "nan": "NaN"}'


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


@pytest.mark.parametrize("name", ["a.csv", "b" * 251 + ".csv", "c" * 255, "d." + "e" * 253, ("é" * 125) + ".json"])
def test_a_link_stays_and_names_may_be_long(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(Path("elsewhere", name))
    for content in ("first", "second"):
        with atomic_path(tmp_path / "link") as temporary:
            temporary.write_text(content)
        assert (tmp_path / "elsewhere" / name).read_text() == content
    assert (tmp_path / "link").is_symlink()
    assert os.listdir(tmp_path / "elsewhere") == [name]


@pytest.mark.parametrize("name", ["a.csv", "b" * 255, "é" * 127, "c" * 246, "c" * 245])
def test_a_name_beside_fits(name: str) -> None:
    names = [beside(f"/x/{one}", ".part.json").name for one in (name, name[:-1] + "!")]
    assert all(len(os.fsencode(one)) <= 255 and one.endswith(".part.json") for one in names)
    assert names[0].startswith(name[:9])
    assert len(set(names)) == 2
    assert (names[0] == f"{name}.part.json") == (len(os.fsencode(name)) <= 245)


def test_an_output_belongs_to_one_run(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a.csv")
    (tmp_path / "a.csv.lock").touch()  # what a killed run left
    with reserved(tmp_path / "a.csv"):
        for name in ("a.csv", "./a.csv", "link"):
            with pytest.raises(HrkitError, match="another run is writing there"), reserved(tmp_path / name):
                pass
        with reserved(tmp_path / "b.csv"):
            pass
    assert os.listdir(tmp_path) == ["link"]
    with reserved(tmp_path / "link"):
        assert sorted(os.listdir(tmp_path)) == ["a.csv.lock", "link"]
    (tmp_path / "file").touch()
    with pytest.raises(HrkitError, match="cannot be written"), reserved(tmp_path / "file" / "a.csv"):
        pass


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_of_any_editor(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a").write_bytes("x = 1 # é\r\n".encode(encoding))
    assert read_toml(tmp_path / "a") == {"x": 1}
    (tmp_path / "a").write_bytes('{"x": "é"}'.encode(encoding))
    assert read_json(tmp_path / "a") == {"x": "é"}


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://user:secret@host:554/live", "rtsp://host:554/live"),
        ("rtsp://user:sec/ret@host/live", "rtsp://host/live"),
        ("rtsp://user:sec?ret@host/live", "rtsp://host/live"),
        ("rtsp://user:s@e@cret@host/live", "rtsp://host/live"),
        ("http://host/clip.mp4?user=me&password=secret#secret", "http://host/clip.mp4"),
        ("rtsp://[::1]:8554/live", "rtsp://[::1]:8554/live"),
        ("http://host:80/a@b.mp4", "http://host:80/a@b.mp4"),
        ("street.mp4", "street.mp4"),
        ("what?.mp4#1", "what?.mp4#1"),
    ],
)
def test_addresses_are_shown_without_secrets(address: str, shown: str) -> None:
    assert without_secrets(address) == shown


@pytest.mark.parametrize("name", ["../x", "/etc/hostname", "a/../../x", "", ".", "a/..", "a\0b", "../folder2/x"])
def test_names_that_lead_out_of_a_folder(tmp_path: Path, name: str) -> None:
    assert leads_out(tmp_path / "folder", name)


@pytest.mark.parametrize("name", ["x", "a/b", "a/../x", "..x", "~x", " "])
def test_names_that_stay_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, "folder", "", "/"):
        assert not leads_out(folder, name)
    assert not leads_out(tmp_path, str(tmp_path / "x"))


def test_toml_that_is_nested_too_deeply(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("x = " + "[" * 5000)
    with pytest.raises(HrkitError, match=r"a\.toml: is no TOML \("):
        read_toml(tmp_path / "a.toml")
