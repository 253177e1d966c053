"""Files as people bring them, which were once read wrongly: what is seen is what a player shows."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from hrkit import Pipeline
from hrkit.images import read_image
from hrkit.structures import Frame
from hrkit.video import open_source
from made_videos import serve_files

pytestmark = pytest.mark.needs_shared


@pytest.fixture
def cases(shared: Path) -> Path:
    return shared / "cases" / "media"


@pytest.fixture
def photo(shared: Path) -> Frame:
    """What most of the files show."""
    return read_image(shared / "media" / "person.jpg")


def alike(image: Frame, other: Frame, most: float = 8.0) -> bool:
    """Whether two pictures show the same, at the size of the first."""
    resized = cv2.resize(other, image.shape[1::-1], interpolation=cv2.INTER_AREA)
    return float(np.abs(image.astype(int) - resized).mean()) < most


def frames(path: Path | str) -> list[Frame]:
    with open_source(path) as source:
        return [frame.image for frame in source]


def test_the_photo_of_a_phone_has_all_its_tiles(cases: Path, photo: Frame) -> None:
    image = read_image(cases / "iphone_grid.heic")
    assert image.shape == (424, 640, 3)
    assert alike(image, photo, 4)
    assert (frames(cases / "iphone_grid.heic")[0] == image).all()


@pytest.mark.parametrize("name", ["photo.avif", "photo.jfif", "three_pages.tif", "three_frames.gif"])
def test_pictures_of_other_endings(cases: Path, photo: Frame, name: str) -> None:
    image = read_image(cases / name)
    assert image.shape == (212, 320, 3)
    assert alike(image, photo, 12)


@pytest.mark.parametrize("name", ["three_pages.tif", "three_frames.gif"])
def test_pages_and_frames(cases: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    seen = frames(cases / name)
    assert len(seen) == 3
    assert not caplog.messages
    assert (read_image(cases / name) == seen[0]).all()
    assert "has 3 frames or pages" in caplog.messages[0]


def test_greys_of_32_bits_are_not_black(cases: Path, photo: Frame) -> None:
    image = read_image(cases / "int32_0_to_255.tif")
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    assert alike(image[:, :, 0], grey)


@pytest.mark.parametrize(("name", "code"), [("hflip", 1), ("vflip", 0), ("transpose", None)])
def test_mirrored_videos(cases: Path, photo: Frame, name: str, code: int | None) -> None:
    image = frames(cases / f"mat_{name}.mp4")[0]
    upright = cv2.transpose(image) if code is None else cv2.flip(image, code)
    assert alike(np.asarray(upright, np.uint8), photo)


def test_pixels_that_are_wider_than_high(cases: Path, photo: Frame) -> None:
    image = frames(cases / "sar43.mp4")[0]
    assert image.shape == (424, 640, 3)
    assert alike(image, photo)


@pytest.mark.parametrize(
    ("stored", "name"), [("colon_time.mp4", "2024-01-01T12:30:05.mp4"), ("colon_file.mp4", "file:clip.mp4")]
)
def test_colons_in_names(cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str, name: str) -> None:
    shutil.copy(cases / "clip.mp4", tmp_path / "clip.mp4")
    shutil.copy(cases / stored, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(frames(name)) == {"colon_time.mp4": 1, "colon_file.mp4": 2}[stored]


def test_one_damaged_packet(cases: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_source(cases / "one_zeroed_packet_keyframes_0_30_60.mp4") as source:
        times = [frame.time for frame in source]
        assert source.broken == 1
    assert times == pytest.approx([n / 10 for n in range(90) if n != 20])
    assert "1 of its frames is broken and left out" in caplog.text


def test_a_size_that_changes(cases: Path, photo: Frame) -> None:
    with open_source(cases / "res_change.ts") as source:
        seen = list(source)
    assert [frame.image.shape[:2] for frame in seen] == [(212, 320)] * 12 + [(106, 160)] * 12
    assert [frame.time for frame in seen] == pytest.approx(np.arange(24) / 25)
    assert alike(seen[0].image, photo)
    assert alike(seen[12].image, photo)


@pytest.mark.slow
def test_recordings_of_browsers(cases: Path) -> None:
    with open_source(cases / "mediarecorder.webm") as source:
        assert source.info.fps == pytest.approx(26.5, abs=0.01)
        assert source.info.frames == len(list(source)) == 90
    with serve_files(cases) as address, open_source(f"{address}/mediarecorder_noduration.webm") as source:
        assert not source.info.live
        assert len(list(source)) == 20


def test_noise_that_the_decoder_conceals_is_told(cases: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hrkit"), open_source(cases / "corrupt_noaudio.mp4") as source:
        assert len(list(source)) == 20
        assert source.repaired == 1
    assert "1 of its frames is damaged and only partly shown" in caplog.text


@pytest.mark.slow
def test_a_person_at_a_frame_every_three_seconds(cases: Path) -> None:
    pipeline = Pipeline.from_names("lite", "lite_person")
    found = [poses.track_ids for _, poses in pipeline.video(cases / "fps_third.mp4")]
    assert len(found) == 12
    assert {tuple(ids) for ids in found if ids is not None} == {(1,)}
