"""Pictures are written whole or not at all, and found by folder, name and pattern."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hrkit.errors import ImageError
from hrkit.images import ENDINGS, WRITABLE, find_images, write_image
from small_pictures import two_colors

# writing


def test_write_makes_the_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "b" / "picture.png", two_colors())
    assert sorted(os.listdir(tmp_path / "a" / "b")) == ["picture.png"]


@pytest.mark.parametrize("name", ["picture.gif", "picture", "picture.txt", "picture.jpg.part"])
def test_endings_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=r"extensions are \.jpg"):
        write_image(tmp_path / name, two_colors())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_frame_is_not_written(tmp_path: Path, frame: NDArray[Any]) -> None:
    with pytest.raises(ImageError, match=r"picture\.png: a frame is"):
        write_image(tmp_path / "picture.png", frame)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("ending", "width"), [(".webp", 17_000), (".jpg", 70_000)])
def test_larger_than_the_format_allows(tmp_path: Path, ending: str, width: int) -> None:
    with pytest.raises(ImageError, match="cannot be written"):
        write_image(tmp_path / f"long{ending}", np.zeros((1, width, 3), np.uint8))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ending", WRITABLE)
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, ending: str) -> None:
    resource = pytest.importorskip("resource")
    before, large = two_colors(), np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    write_image(tmp_path / f"picture{ending}", before)
    content = (tmp_path / f"picture{ending}").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        for name in ("picture", "another"):
            with pytest.raises(OSError, match="File too large"):
                write_image(tmp_path / f"{name}{ending}", large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == [f"picture{ending}"]
    assert (tmp_path / f"picture{ending}").read_bytes() == content


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        write_image(tmp_path / "file" / "picture.png", two_colors())
    assert (tmp_path / "file").read_text() == "in the way"


# finding


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "inside/c.jpg", "[1]/d.jpg", "1/e.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["a.PNG", "b.jpg"]),
        ("b.jpg", ["b.jpg"]),
        ("missing.jpg", ["missing.jpg"]),
        ("*.jpg", ["b.jpg"]),
        ("[ab].*", ["a.PNG", "b.jpg"]),
        ("?.jpg", ["b.jpg"]),
        ("*", ["a.PNG", "b.jpg"]),
        ("*/*", ["1/e.jpg", "[1]/d.jpg", "inside/c.jpg"]),
        ("*/*.jpg", ["1/e.jpg", "[1]/d.jpg", "inside/c.jpg"]),
        ("[1]", ["[1]/d.jpg"]),
        ("[1]/d.jpg", ["[1]/d.jpg"]),
        ("[1]/e.jpg", ["1/e.jpg"]),
    ],
)
@pytest.mark.parametrize("relative", [False, True])
def test_find(folder: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, names: list[str], relative: bool) -> None:
    monkeypatch.chdir(folder)
    base = Path() if relative else folder
    assert find_images(base / pattern) == [base / name for name in names]


def test_what_a_glob_and_a_folder_in_it_stand_for_is_found_once(folder: Path) -> None:
    found = find_images(folder / "**", deep=True)
    assert len(set(found)) == len(found) > 1


@pytest.mark.parametrize("pattern", ["*.bmp", "folder.jpg", "empty", "empty/**.jpg"])
def test_nothing_found(folder: Path, pattern: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ImageError, match=r"no pictures|nvalid pattern"):
        find_images(folder / pattern)


def test_what_is_left_out_of_a_folder_is_said_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "README").touch()
    for _ in range(2):
        find_images(folder)
    find_images(folder / "b.jpg")
    others, folders = "2 files of other kinds are left out (.txt, no extension)", "4 folders in it are not searched"
    assert caplog.messages == [f"{folder}: {others}; {folders}"]


def test_an_empty_name_is_not_the_folder() -> None:
    with pytest.raises(ImageError, match="empty"):
        find_images("")


def test_every_writable_ending_counts_as_a_picture() -> None:
    assert set(WRITABLE) <= set(ENDINGS)
