"""Pictures as frames: folders in natural order, animations at their times, pages."""

from __future__ import annotations

import logging
from pathlib import Path

import PIL.Image
import PIL.TiffImagePlugin
import pytest

from hrkit.errors import ImageError, VideoError
from hrkit.images import read_image, write_image
from hrkit.video.cameras import open_source
from hrkit.video.pictures import PictureFolder
from made_videos import number_of, numbered


def numbers(path: Path) -> list[int]:
    with open_source(path) as source:
        return [number_of(frame.image) for frame in source]


def test_pictures_come_in_natural_order(tmp_path: Path) -> None:
    for number in (1, 2, 10, 11, 100):
        write_image(tmp_path / f"frame{number}.png", numbered(number))
    with open_source(tmp_path) as source:
        frames = list(source)
        assert source.info.frames == 5
    assert [number_of(frame.image) for frame in frames] == [1, 2, 10, 11, 100]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert numbers(tmp_path / "frame1*.png") == [1, 10, 11, 100]
    assert numbers(tmp_path / "frame2.png") == [2]


def test_a_picture_that_cannot_be_read_costs_itself_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (0, 1, 3):
        write_image(tmp_path / f"{number}.png", numbered(number))
    (tmp_path / "2.png").write_text("no picture")
    with PictureFolder(tmp_path) as folder, caplog.at_level(logging.WARNING, "hrkit"):
        frames = list(folder)
        assert folder.broken == 1
    assert [number_of(frame.image) for frame in frames] == [0, 1, 3]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.04, 0.12])
    assert caplog.messages == [f"{tmp_path / '2.png'}: is no picture, or of a kind that cannot be read"]


def test_a_folder_without_a_readable_picture(tmp_path: Path) -> None:
    (tmp_path / "2.png").write_text("no picture")
    with pytest.raises(VideoError, match=r"2\.png: is no picture"):
        list(PictureFolder(tmp_path))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ImageError, match="no pictures there"):
        open_source(tmp_path / "nothing")


SAVED = {
    "a.gif": {"duration": [100, 300, 50], "loop": 0},
    "a.webp": {"duration": [100, 300, 50], "lossless": True},
    "a.png": {"duration": [100, 300, 50]},
    "a.avif": {"duration": [100, 300, 50], "quality": 90},
    "a.tif": {},
    "a.heic": {"quality": 90},
}


def animation(path: Path, count: int = 3) -> Path:
    if path.suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    first, *others = (PIL.Image.fromarray(numbered(number)[:, :, ::-1]) for number in range(count))
    first.save(path, save_all=True, append_images=others, **SAVED[path.name])
    return path


@pytest.mark.parametrize("name", list(SAVED))
def test_every_frame_of_an_animation_or_page(tmp_path: Path, name: str) -> None:
    with open_source(animation(tmp_path / name)) as source:
        frames = list(source)
        assert source.info.frames == 3
        lasting = "duration" in SAVED[name]
        assert source.info.fps == (pytest.approx(3 / 0.45) if lasting else 25)
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.4] if lasting else [0, 0.04, 0.08])


@pytest.mark.parametrize("name", list(SAVED))
def test_a_photo_is_the_first_of_them_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    path = animation(tmp_path / name)
    assert number_of(read_image(path)) == 0
    assert caplog.messages == [f"{path}: has 3 frames or pages; the first is taken"]


def picture(number: int, width: int = 128, height: int = 96) -> PIL.Image.Image:
    return PIL.Image.fromarray(numbered(number, width, height)[:, :, ::-1])


def test_previews_are_no_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(5).save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[picture(5, 32, 24)])
    with PIL.TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "pyramid.tif"), new=True) as pages:
        picture(5, 32, 24).save(pages, "TIFF", tiffinfo={254: 1})
        pages.newFrame()
        picture(5).save(pages, "TIFF")
        pages.newFrame()
        picture(5, 64, 48).save(pages, "TIFF", tiffinfo={254: 1})
    for name in ("phone.jpg", "pyramid.tif"):
        with PIL.Image.open(tmp_path / name) as file:
            assert file.n_frames > 1
        assert read_image(tmp_path / name).shape == (96, 128, 3)
        assert numbers(tmp_path / name) == [5]
    assert caplog.messages == []


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("name", "share", "count"), [("a.gif", 0.9, 2), ("a.png", 0.9, 2), ("a.tif", 0.9, 2)])
def test_an_animation_that_is_cut_short(tmp_path: Path, name: str, share: float, count: int) -> None:
    path = animation(tmp_path / name)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    seen = []
    with open_source(path) as source, pytest.raises(VideoError, match=name):
        seen.extend(number_of(frame.image) for frame in source)
    assert seen == list(range(count))
