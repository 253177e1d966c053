"""Photos as one table: the rows of each alone, names kept."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hrkit import Pipeline
from hrkit.errors import HrkitError
from hrkit.extraction import extract_photos, find_inputs
from hrkit.images import write_image
from hrkit.synthetic import paint_people
from painted import person


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.from_names("synthetic", "synthetic", weights=None, device="cpu", input_size=(128, 96))


@pytest.mark.slow
@pytest.mark.needs_shared
def test_twelve_photos_give_the_rows_of_each_alone(shared: Path, tmp_path: Path) -> None:
    for photo in sorted((shared / "data" / "coco_val" / "images").iterdir())[:12]:
        shutil.copy(photo, tmp_path)
    pipeline = Pipeline.from_names("lite", "lite_person", device="cpu")
    found = find_inputs([tmp_path], photos=True)
    done = extract_photos(pipeline, found, tmp_path / "out" / "people.csv")
    table = pd.read_csv(tmp_path / "out" / "people.csv")
    assert (done.frames, done.people, done.failed) == (12, len(table), {})
    assert len(table) > 12
    for name in found.names:
        poses, rows = pipeline(tmp_path / name), table[table.file == name]
        assert rows.person.tolist() == list(range(len(poses)))
        np.testing.assert_allclose(rows[["x1", "y1", "x2", "y2"]], poses.detections.xyxy, atol=0.00051)
        joints = rows.to_numpy()[:, 9:].astype(float).reshape(-1, 17, 3)
        np.testing.assert_allclose(joints[..., :2], poses.keypoints, atol=0.00051)
        np.testing.assert_allclose(joints[..., 2], poses.keypoint_scores, atol=0.000051)


@pytest.mark.slow
def test_names_of_any_bytes_and_a_name_twice(pipeline: Pipeline, tmp_path: Path) -> None:
    strange = [os.fsdecode(b"\xff,\n.png"), "x.png", "x.jpg", "X.bmp"]
    for number, name in enumerate(strange):
        write_image(tmp_path / "a" / name, paint_people((90, 90), [person(10 + number, 10)], radius=4))
    found = find_inputs([tmp_path / "a"], photos=True)
    for kind in ("csv", "jsonl", "json", "npz", "parquet", "openpose", "txt", "crops"):
        assert extract_photos(pipeline, found, tmp_path / f"p.{kind}").people == 4
    with (tmp_path / "p.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert sorted(row["file"] for row in csv.DictReader(file)) == sorted(strange)
    labels = {path.name for path in (tmp_path / "p.txt").iterdir()}
    first = min(name for name in strange if name[:1].lower() == "x")  # whose ending is dropped
    assert labels == {f"{Path(name).stem if name in (first, strange[0]) else name}.txt" for name in strange}


def test_the_best_people_alone(pipeline: Pipeline, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", paint_people((200, 200), [person(10, 10), person(110, 10)], radius=4))
    found = find_inputs([tmp_path / "a.png"], photos=True)
    assert extract_photos(pipeline, found, tmp_path / "all.csv").people == 2
    assert extract_photos(pipeline, found, tmp_path / "one.csv", max_people=1).people == 1


def test_all_photos_may_fail(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    found = find_inputs([tmp_path / "a.png", tmp_path / "gone.png"], photos=True)
    done = extract_photos(pipeline, found, tmp_path / "people.csv")
    assert (done.frames, done.people, set(done.failed)) == (0, 0, {"a.png", "gone.png"})
    assert len((tmp_path / "people.csv").read_text().splitlines()) == 1


def test_the_output_is_no_photo(pipeline: Pipeline, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((9, 9, 3), np.uint8))
    found = find_inputs([tmp_path], photos=True)
    for output in (tmp_path / "a.png", tmp_path):
        with pytest.raises(HrkitError, match="is the input"):
            extract_photos(pipeline, found, output, format="openpose" if output.is_dir() else "csv", overwrite=True)
