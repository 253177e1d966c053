"""`hrkit extract` of photos: one file of them all, each with its name."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pycocotools.coco import COCO

from extracting import extract
from hrkit.extraction.formats import FORMATS
from hrkit.images import read_image, write_image
from hrkit.skeletons import coco17
from hrkit.synthetic import paint_people
from hrkit.tracking.follower import Follower
from painted import person
from synthetic_pipelines import pipeline

pytestmark = pytest.mark.usefixtures("small_crops")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pictures of several sizes and kinds, in folders of a folder to be in; their names."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a/x.png", "a/y.jpg", "a/deep/z.png", "a/nobody.png")):
        people = [person(20 + 30 * number, 20)] if number < 3 else []
        write_image(name, paint_people((160 + 10 * number, 200), people, radius=4))
    return ["nobody.png", "x.png", "y.jpg"]


def test_a_folder_of_photos_is_a_table(photos: list[str]) -> None:
    result = extract("a", "-o", "people.csv")
    assert (result.exit_code, result.stdout) == (0, "3 photos, 2 people: people.csv\n")
    table = pd.read_csv("people.csv")
    assert ",".join(table.columns[:10]) == "file,width,height,person,score,x1,y1,x2,y2,nose_x"
    assert table[["file", "width", "height", "person"]].to_numpy().tolist() == [
        ["x.png", 200, 160, 0],
        ["y.jpg", 200, 170, 0],
    ]
    find_people = pipeline()
    for row in table.itertuples(index=False):
        (poses,) = [find_people(f"a/{row.file}")]
        np.testing.assert_allclose(row[5:9], poses.detections.xyxy[0], atol=0.0006)
        np.testing.assert_allclose(np.reshape(row[9:], (17, 3))[:, :2], poses.keypoints[0], atol=0.0006)
    meta = json.loads(Path("people.csv.meta.json").read_text())
    assert (meta["kind"], meta["photos"], meta["failed"], meta["source"]) == ("photos", 3, {}, "a")
    deep = extract("a", "-o", "deep.csv", "--recursive")
    assert deep.stdout == "4 photos, 3 people: deep.csv\n"
    assert set(pd.read_csv("deep.csv").file) == {"x.png", "y.jpg", "deep/z.png"}


@pytest.mark.slow
def test_photos_in_every_format(photos: list[str]) -> None:
    pytest.importorskip("pyarrow")
    for kind in FORMATS:
        assert extract("a", "-o", f"p.{kind}").exit_code == 0
    wanted = pd.read_csv("p.csv")
    pd.testing.assert_frame_equal(pd.read_parquet("p.parquet"), wanted, check_dtype=False, atol=0.0006)
    lines = [json.loads(line) for line in Path("p.jsonl").read_text().splitlines()]
    assert [(line["file"], line["height"], len(line["people"])) for line in lines] == [
        ("nobody.png", 190, 0),
        ("x.png", 160, 1),
        ("y.jpg", 170, 1),
    ]
    assert list(lines[1]["people"][0]) == ["score", "box", "box_score", "keypoints"]
    with np.load("p.npz", allow_pickle=False) as arrays:
        assert arrays["files"].tolist() == photos
        assert arrays["sizes"].tolist() == [[200, 190], [200, 160], [200, 170]]
        assert (arrays["photo"].tolist(), arrays["person"].tolist()) == ([1, 2], [0, 0])
        np.testing.assert_allclose(arrays["box"], wanted[["x1", "y1", "x2", "y2"]], atol=0.0006)
    names = {kind: sorted(path.name for path in Path(f"p.{kind}").iterdir()) for kind in ("openpose", "txt", "crops")}
    assert names == {
        "openpose": ["nobody_keypoints.json", "x_keypoints.json", "y_keypoints.json"],
        "txt": ["nobody.txt", "x.txt", "y.txt"],
        "crops": ["x_0.jpg", "y_0.jpg"],
    }
    left, top, right, bottom = wanted.loc[0, ["x1", "y1", "x2", "y2"]]
    crop = read_image("p.crops/x_0.jpg")
    assert crop.shape[:2] == (np.ceil(bottom) - np.floor(top), np.ceil(right) - np.floor(left))


def test_photos_are_a_dataset_of_coco(photos: list[str]) -> None:
    assert extract("a", "-o", "p.json").exit_code == 0
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO("p.json")
    assert [(image["id"], image["file_name"], image["width"]) for image in coco.loadImgs([1, 2, 3])] == [
        (1, "nobody.png", 200),
        (2, "x.png", 200),
        (3, "y.jpg", 200),
    ]
    assert coco.loadCats([1])[0]["keypoints"] == list(coco17.keypoint_names)
    assert len(coco.loadCats([1])[0]["skeleton"]) == len(coco17.edges)
    (found,) = coco.loadAnns(coco.getAnnIds([2]))
    (person,) = pipeline()("a/x.png").to_dict()
    x1, y1, x2, y2 = person["box"]
    assert found["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.002)
    joints = np.reshape(found["keypoints"], (17, 3))
    np.testing.assert_allclose(joints[:, :2], np.array(list(person["keypoints"].values()))[:, :2], atol=0.0006)
    assert set(joints[:, 2]) <= {1, 2}
    assert found["num_keypoints"] == 17
    assert all(isinstance(flag, int) for flag in found["keypoints"][2::3])


def test_a_photo_that_cannot_be_read_ends_nothing(photos: list[str]) -> None:
    Path("a/bad.png").write_bytes(b"no picture")
    result = extract("a", "missing.jpg", "-o", "people.csv")
    assert (result.exit_code, result.stdout) == (1, "3 photos, 2 people: people.csv\n")
    assert result.stderr.splitlines()[-1] == "2 of 5 photos failed"
    meta = json.loads(Path("people.csv.meta.json").read_text())
    assert set(meta["failed"]) == {"a/bad.png", "missing.jpg"}
    assert set(pd.read_csv("people.csv").file) == {"a/x.png", "a/y.jpg"}


def test_photos_that_were_interrupted_are_gone_on_with(photos: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrkit.extraction.photos.FRAMES_AT_ONCE", 1)
    monkeypatch.setattr("hrkit.extraction.photos.STATE_PHOTOS", 1)
    assert extract("a", "-o", "whole.csv").exit_code == 0
    steps: list[int] = []

    def step(self: Follower, frames: Any) -> Any:
        steps.append(len(frames))
        if len(steps) == 2:
            raise KeyboardInterrupt
        return real(self, frames)

    real = Follower.step
    monkeypatch.setattr(Follower, "step", step)
    assert extract("a", "-o", "people.csv").exit_code == 130
    assert Path("people.csv.part.jsonl").exists()
    write_image("a/new.png", paint_people((50, 50), []))
    changed = extract("a", "-o", "people.csv", "--resume")
    assert (changed.exit_code, "input.files was 3, is 4" in changed.stderr) == (2, True)
    Path("a/new.png").unlink()
    assert extract("a", "-o", "people.csv", "--resume").exit_code == 0
    assert len(steps) == 4
    assert Path("people.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert not list(Path().glob("people.csv.part*"))


def test_a_folder_as_output_has_a_file_per_photo(photos: list[str]) -> None:
    assert extract("a", "-o", "out").exit_code == 0
    assert sorted(str(path) for path in Path("out").rglob("*.csv")) == [
        *("out/deep/z.png.csv", "out/nobody.png.csv", "out/x.png.csv", "out/y.jpg.csv")
    ]


def test_photos_of_a_list_in_utf_16(photos: list[str]) -> None:
    Path("list.txt").write_bytes("a/x.png\r\na/y.jpg\r\n".encode("utf-16"))
    result = extract("--inputs", "list.txt", "-o", "people.csv")
    assert (result.exit_code, result.stdout) == (0, "2 photos, 2 people: people.csv\n")
