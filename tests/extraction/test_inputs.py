"""Which files are meant, and what they are called."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrkit.errors import HrkitError
from hrkit.extraction.inputs import find_inputs, in_batches, is_picture, read_list, with_lists

FILES = ("b/x.mp4", "a/x.mp4", "a/x.jpg", "a/x.png", "a/deep/y.JPG", "a/notes.txt", "a/.hidden.jpg", ".cache/z.jpg")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with files that nobody looks into."""
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "root", "names"),
    [
        (["."], "", ["a/x.jpg", "a/x.mp4", "a/x.png", "a/deep/y.JPG", "b/x.mp4"]),
        (["a"], "a", ["x.jpg", "x.mp4", "x.png", "deep/y.JPG"]),
        (["b", "a/deep"], "", ["b/x.mp4", "a/deep/y.JPG"]),
        (["*/x.mp4"], "", ["a/x.mp4", "b/x.mp4"]),
        (["a/*"], "a", ["deep/y.JPG", "x.jpg", "x.mp4", "x.png"]),
        (["a/x.???"], "a", ["x.jpg", "x.mp4", "x.png"]),
        (["**/*.mp4"], "", ["a/x.mp4", "b/x.mp4"]),
        (["a/x.mp4", "./a/../a/x.mp4"], "a", ["x.mp4"]),
        (["a/notes.txt", "a/missing.mp4"], "a", ["notes.txt", "missing.mp4"]),
        (["a/.hidden.jpg"], "a", [".hidden.jpg"]),
    ],
)
def test_sources(folder: Path, sources: Sequence[str], root: str, names: Sequence[str]) -> None:
    found = find_inputs(sources)
    assert Path(found.root) == folder / root
    assert found.names == names


def test_a_name_stays_when_there_are_more_files(folder: Path) -> None:
    before = find_inputs(["a"])
    (folder / "a" / "deeper").mkdir()
    (folder / "a" / "deeper" / "w.png").touch()
    (folder / "a" / "x.jpeg").touch()
    after = find_inputs(["a"])
    assert after.root == before.root
    assert set(before.names) < set(after.names)


@pytest.mark.parametrize(
    "sources", [["*.mp4"], ["a/deep/*.mp4"], [], ["empty"], ["empty", "*.mp4"], ["*.mp4", "*.mp4"]]
)
def test_nothing_is_an_error(folder: Path, sources: Sequence[str]) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(HrkitError, match=r"no pictures or videos there|there are no inputs"):
        find_inputs(sources)


def test_one_source_that_stands_for_nothing_is_an_input_that_fails(folder: Path) -> None:
    (folder / "empty").mkdir()
    assert find_inputs(["b", "none*.mp4", "empty"]).names == ["b/x.mp4", "none*.mp4", "empty"]
    assert find_inputs(["b", "none*.mp4", "none*.mp4"]).names == ["b/x.mp4", "none*.mp4"]


def test_photos_alone_and_of_one_folder(folder: Path) -> None:
    assert find_inputs(["a"], photos=True, deep=False).names == ["x.jpg", "x.png"]
    assert find_inputs(["a"], photos=True).names == ["x.jpg", "x.png", "deep/y.JPG"]
    assert find_inputs(["a/x.mp4", "a/*"], photos=True, deep=False).names == ["x.mp4", "x.jpg", "x.png"]
    with pytest.raises(HrkitError, match="b: no pictures there"):
        find_inputs(["b"], photos=True)


def test_signs_of_globs_in_the_name_of_the_working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    working = folder / "set[1]*"
    shutil.copytree(folder / "a", working / "a")
    monkeypatch.chdir(working / "a")
    for source, root, names in (
        ("*.jpg", working / "a", ["x.jpg"]),
        ("./*/*.JPG", working / "a", ["deep/y.JPG"]),
        ("../*/x.???", working, ["a/x.jpg", "a/x.mp4", "a/x.png"]),
        ("**", working / "a", ["x.jpg", "x.mp4", "x.png", "deep/y.JPG"]),
        (f"{folder}/b/*.mp4", folder / "b", ["x.mp4"]),
    ):
        found = find_inputs([source])
        assert (Path(found.root), sorted(found.names)) == (root, sorted(names))


def test_links_to_folders_are_followed_once(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "deep").mkdir()
    for name in ("w.jpg", "deep/v.png", "notes.txt"):
        (elsewhere / name).touch()
    before = find_inputs(["a"]).names
    for link, to in {
        "aaa": "deep",  # of which the files have names already
        "again": "b",
        "b": elsewhere,
        "deep/loop": "..",
        ".hidden": elsewhere,
    }.items():
        (folder / "a" / link).symlink_to(to, target_is_directory=True)
    (elsewhere / "deep" / "back").symlink_to(elsewhere, target_is_directory=True)
    assert find_inputs(["a"]).names == [*before, "again/w.jpg", "again/deep/v.png"]
    (folder / "whole").symlink_to("a", target_is_directory=True)
    assert find_inputs(["whole"]).names == find_inputs(["a"]).names


def test_an_empty_name_is_not_the_working_folder() -> None:
    for sources in ([""], ["a", ""]):
        with pytest.raises(HrkitError, match=r"^the name of an input is empty$"):
            find_inputs(sources)


def test_a_list_of_an_editor_of_windows() -> None:
    Path("list.txt").write_bytes(b"\xef\xbb\xbfa/x.jpg\r\na/\xff.png\r\n")
    assert read_list("list.txt") == ["a/x.jpg", os.fsdecode(b"a/\xff.png")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_in_any_encoding(encoding: str) -> None:
    Path("list.txt").write_bytes("a/x.jpg\r\n\r\ncafé.png".encode(encoding))
    assert read_list("list.txt") == ["a/x.jpg", "café.png"]


def test_a_list_is_read_line_by_line(folder: Path) -> None:
    strange = os.fsencode("b/café ") + b"\xff.jpg"
    Path("list.txt").write_bytes(b"a/x.jpg\r\n\n" + strange + b"\n  \na/x.png")
    names = read_list("list.txt")
    assert names == ["a/x.jpg", os.fsdecode(strange), "a/x.png"]
    with pytest.raises(HrkitError, match=r"missing\.txt: cannot be read"):
        read_list("missing.txt")


@given(st.lists(st.sampled_from(["a.jpg", "b.PNG", "c.mp4", "d"])), st.integers(1, 5))
def test_batches_are_pictures_or_one_video_in_order(names: list[str], size: int) -> None:
    batches = list(in_batches(names, size))
    assert [name for batch in batches for name in batch] == names
    for batch in batches:
        assert 1 <= len(batch) <= size
        assert len(batch) == 1 or all(map(is_picture, batch))
    pictures = [all(map(is_picture, batch)) for batch in batches]
    for batch, now, following in zip(batches, pictures, pictures[1:], strict=False):
        assert len(batch) == size or not (now and following), "a batch that is not full though the next would fit"


def test_sources_may_be_listed_in_a_table() -> None:
    Path("headless.csv").write_text("a.jpg,3\nb.jpg\n")
    Path("named.CSV").write_text('score,File\n1,"x, y.mp4"\n2,"x, y.mp4"\n3\n')
    Path("list.txt").write_text("0\nrtsp://host/live\n")
    assert with_lists(["headless.csv", "c.jpg", "list.txt"]) == ["a.jpg", "b.jpg", "c.jpg", "0", "rtsp://host/live"]
    assert with_lists(["missing.txt"]) == ["missing.txt"]
    assert with_lists(["named.CSV"]) == ["x, y.mp4"]
    Path("empty.csv").write_text("\n")
    with pytest.raises(HrkitError, match=r"empty\.csv: lists nothing"):
        with_lists(["empty.csv"])
