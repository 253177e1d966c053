"""Annotations and pictures are found wherever tools put them, and not guessed where there are several."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from hrkit.datasets.coco import coco
from hrkit.datasets.layouts import find_annotations
from hrkit.errors import DatasetError
from made_coco import FOUR_JOINTS, make_coco, read_json, write_json


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures with two people each, and four joints."""
    return make_coco(tmp_path_factory.mktemp("made"), skeleton=FOUR_JOINTS)


LAYOUTS: list[tuple[str, str, str]] = [
    ("annotations/person_keypoints_train2017.json", "images/train2017", "{}"),
    ("annotations/person_keypoints_default.json", "images/default", "{}"),  # CVAT
    ("result.json", "images", "images/{}"),  # Label Studio
    ("result.json", "images", "..\\\\data\\\\images\\\\{}"),
    ("train/_annotations.coco.json", "train", "{}"),  # Roboflow
    ("annotations/train.json", "train", "{}"),  # MMPose
    ("annotations/train.json", "images", "train/{}"),
    ("annotations/instances_Train.json", "images/Train", "C:\\\\Users\\\\me\\\\{}"),
    ("people.json", "", "/upload/a%20b/{}"),
    ("annotations/ap10k-train-split1.json", "data", "{}"),
    ("people.json", "images/monday", "{}"),
]


@pytest.mark.parametrize(("json_path", "pictures", "name"), LAYOUTS)
def test_layouts_are_found_by_looking(
    made: Path, tmp_path: Path, json_path: str, pictures: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    content = read_json(made)
    for picture in content["images"]:
        picture["file_name"] = name.format(picture["file_name"])
    write_json(tmp_path / json_path, content)
    write_json(tmp_path / "settings.json", {"keypoints": 4})
    shutil.copytree(made.parent / "images", tmp_path / pictures, dirs_exist_ok=True)
    with caplog.at_level(logging.INFO, "hrkit"):
        people = coco(tmp_path)
    assert [Path(path) for path in people.image_paths] == [tmp_path / pictures / f"{n:03}.png" for n in (1, 2, 3, 4)]
    assert f"{tmp_path / json_path}: 4 pictures in {tmp_path / pictures}" in caplog.text


def test_the_split_chooses_among_several_files(made: Path, tmp_path: Path) -> None:
    for name in ("annotations/train.json", "annotations/valid.json", "annotations/test.json"):
        write_json(tmp_path / name, read_json(made))
    assert find_annotations(tmp_path, "train2017").name == "train.json"
    assert find_annotations(tmp_path, "val2017").name == "valid.json"
    assert find_annotations(tmp_path, "test").name == "test.json"
    with pytest.raises(DatasetError, match="several annotation files"):
        find_annotations(tmp_path, "dev")


def test_pictures_in_two_places_are_not_guessed(made: Path, tmp_path: Path) -> None:
    path = write_json(tmp_path / "people.json", read_json(made))
    for place in ("monday", "tuesday"):
        shutil.copytree(made.parent / "images", tmp_path / place)
    with pytest.raises(DatasetError, match=r"its pictures are in .*monday and in .*tuesday; name one with"):
        coco(path)
    assert "tuesday" in coco(path, images=tmp_path / "tuesday").image_paths[0]
    (tmp_path / "images.zip").write_bytes(b"no zip")
    with pytest.raises(DatasetError, match=r"images\.zip: cannot be read as a zip"):
        coco(path)


def test_one_file_is_not_two_pictures(made: Path, tmp_path: Path) -> None:
    content = read_json(made)
    content["images"][1]["file_name"] = "second/001.png"
    shutil.copytree(made.parent / "images", tmp_path / "images")
    with pytest.raises(DatasetError, match=r"1 of 4 pictures are missing, first second/001\.png"):
        coco(write_json(tmp_path / "people.json", content))
