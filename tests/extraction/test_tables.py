"""Keypoint files of one file, csv, json lines, COCO, parquet and npz, read back by what people read them with."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hrkit.errors import HrkitError
from hrkit.extraction.formats import check_format, write_keypoints
from hrkit.skeletons import coco17, get_skeleton
from hrkit.structures import Poses, Skeleton
from keypoint_files import COUNTS, loaded_coco, part_of, people, table_of, triples, video

pandas = pytest.importorskip("pandas")
parquet = pytest.importorskip("pyarrow.parquet")


def written(folder: Path, frames: Sequence[Poses], name: str, skeleton: Skeleton = coco17) -> Path:
    write_keypoints(part_of(folder, frames, skeleton), folder / name)
    return folder / name


# csv


def test_csv_has_a_row_a_person(tmp_path: Path) -> None:
    path = written(tmp_path, video(), "street.csv")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("frame,time,id,score,x1,y1,x2,y2,nose_x,nose_y,nose_score,left_eye_x,left_eye_y,")
    assert lines[0].count(",") == 7 + 3 * 17
    assert len(lines) == 1 + 6
    assert lines[2].startswith("1,0.04,2,,")  # the mean of a missing score is missing
    assert lines[6].startswith("4,0.16,,")
    read = pandas.read_csv(path)
    np.testing.assert_allclose(read.to_numpy(float), table_of(video()), atol=0.00051)
    assert read.frame.dtype == np.int64


def test_a_joint_that_is_missing_is_empty_in_csv(tmp_path: Path) -> None:
    (row,) = written(tmp_path, video([1]), "street.csv").read_text().splitlines()[1:]
    score = f"{people(1).keypoint_scores[0, 0]:.4f}".rstrip("0")
    assert row.split(",")[8:11] == ["", "", score]


def test_csv_of_whole_bodies(tmp_path: Path) -> None:
    skeleton = get_skeleton("coco_wholebody")
    frames = video((2, 1), skeleton=skeleton)
    table = pandas.read_csv(written(tmp_path, frames, "whole.csv", skeleton))
    assert len(table.columns) == 8 + 3 * 133
    assert {"nose_x", "left_big_toe_y", "face-0_x", "face-67_score", "left_thumb4_x", "right_hand_root_y"} < set(table)
    thumbs = np.concatenate([one.keypoints[:, 95, 0] for one in frames])
    np.testing.assert_allclose(table["left_thumb4_x"], thumbs, rtol=1e-6)


def test_csv_of_people_without_ids(tmp_path: Path) -> None:
    read = pandas.read_csv(written(tmp_path, video(tracked=False), "street.csv"))
    assert read["id"].isna().all()
    np.testing.assert_allclose(read.to_numpy(float), table_of(video(tracked=False)), atol=0.00051)


# json lines


def test_json_lines_have_a_line_a_frame(tmp_path: Path) -> None:
    path = written(tmp_path, video(), "street.jsonl")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(line["frame"], line["time"], len(line["people"])) for line in lines] == [
        (index, index / 25, count) for index, count in enumerate(COUNTS)
    ]
    for line, poses in zip(lines, video(), strict=True):
        for person, wanted in zip(line["people"], poses.to_dict(), strict=True):
            assert list(person) == list(wanted)
            assert person["id"] == (None if wanted["id"] == -1 else wanted["id"])
            assert person["box"] == pytest.approx(wanted["box"], abs=0.0006)
            assert person["box_score"] == pytest.approx(wanted["box_score"], abs=0.0001)
            assert list(person["keypoints"]) == list(wanted["keypoints"])
            got = np.array(list(person["keypoints"].values()), float)
            np.testing.assert_allclose(got, list(wanted["keypoints"].values()), atol=0.0006)
    assert len(pandas.read_json(path, lines=True)) == len(COUNTS)
    assert "NaN" not in path.read_text(encoding="utf-8")


def test_json_lines_of_people_without_ids(tmp_path: Path) -> None:
    read = pandas.read_json(written(tmp_path, video(tracked=False), "street.jsonl"), lines=True)
    assert [person["id"] for row in read.people for person in row] == [None] * 6


# coco


def test_coco_results_are_loaded_by_pycocotools(tmp_path: Path) -> None:
    results = loaded_coco(written(tmp_path, video(), "street.json"), len(COUNTS))
    for index, poses in enumerate(video()):
        found = results.loadAnns(results.getAnnIds(imgIds=[index]))
        joints = np.array([person["keypoints"] for person in found]).reshape(len(poses), 17, 3)
        wanted = triples([poses])
        wanted[np.isnan(wanted).any(2)] = 0
        np.testing.assert_allclose(joints, wanted, atol=0.0006)
        assert [person["score"] for person in found] == pytest.approx(np.nan_to_num(poses.scores), abs=0.0001)
        assert [person.get("track_id", -1) for person in found] == poses.track_ids.tolist()  # type: ignore[union-attr]
        assert {person["category_id"] for person in found} <= {1}


def test_coco_results_of_people_without_ids(tmp_path: Path) -> None:
    results = json.loads(written(tmp_path, video(tracked=False), "street.json").read_text())
    assert [set(result) for result in results] == [{"image_id", "category_id", "keypoints", "score"}] * 6
    assert [result["image_id"] for result in results] == [1, 1, 2, 4, 4, 4]


# parquet


def test_parquet_has_types_and_meta(tmp_path: Path) -> None:
    path = written(tmp_path, video(), "street.parquet")
    schema = parquet.read_schema(path)
    types = [str(kind) for kind in schema.types]
    assert types == ["int64", "double", "int64"] + ["float"] * (5 + 3 * 17)
    assert json.loads(schema.metadata[b"hrkit"])["frames"] == len(COUNTS)
    read = pandas.read_parquet(path)
    assert list(read.columns) == list(pandas.read_csv(written(tmp_path / "csv", video(), "street.csv")).columns)
    np.testing.assert_allclose(read.to_numpy(float), table_of(video()), atol=0.00051)
    nulls = {name: parquet.read_table(path)[name].null_count for name in ("id", "score", "nose_x", "nose_score")}
    assert nulls == {"id": 1, "score": 2, "nose_x": 3, "nose_score": 0}


def test_parquet_of_people_without_ids(tmp_path: Path) -> None:
    read = parquet.read_table(written(tmp_path, video(tracked=False), "street.parquet"))
    assert read["id"].null_count == read.num_rows == 6


def test_parquet_is_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrkit.extraction.tables.BATCH", 4)
    path = written(tmp_path, video(), "street.parquet")
    assert parquet.ParquetFile(path).num_row_groups == 3
    np.testing.assert_allclose(pandas.read_parquet(path).to_numpy(float), table_of(video()), atol=0.00051)


def test_parquet_without_pyarrow_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = part_of(tmp_path, video())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for ask in (check_format, lambda target: write_keypoints(part, target)):
        with pytest.raises(HrkitError, match=r"pip install 'hrkit-pose\[parquet\]'"):
            ask(tmp_path / "street.parquet")
    assert check_format(tmp_path / "street.csv") == "csv"
    assert [path.name for path in tmp_path.iterdir()] == [part.name]


# npz


def test_npz_has_compact_arrays(tmp_path: Path) -> None:
    frames = video()
    with np.load(written(tmp_path, frames, "street.npz"), allow_pickle=False) as read:
        arrays = dict(read)
    assert {name: (str(values.dtype), values.shape) for name, values in arrays.items() if name != "meta"} == {
        "frame": ("int64", (6,)),
        "time": ("float64", (6,)),
        "id": ("int64", (6,)),
        "score": ("float32", (6,)),
        "box": ("float32", (6, 4)),
        "box_score": ("float32", (6,)),
        "keypoints": ("float32", (6, 17, 3)),
        "frame_times": ("float64", (6,)),
        "keypoint_names": ("<U14", (17,)),
    }
    assert arrays["frame"].tolist() == [1, 1, 2, 4, 4, 4]
    assert arrays["id"].tolist() == [1, 2, 1, 1, 2, -1]
    assert arrays["frame_times"].tolist() == [index / 25 for index in range(6)]
    assert arrays["time"].tolist() == [index / 25 for index in arrays["frame"]]
    assert tuple(arrays["keypoint_names"]) == coco17.keypoint_names
    assert json.loads(arrays["meta"].item())["fps"] == 25
    np.testing.assert_allclose(arrays["keypoints"], triples(frames), atol=0.00051)
    np.testing.assert_allclose(arrays["box"], np.concatenate([p.detections.xyxy for p in frames]), atol=0.00051)
    np.testing.assert_allclose(arrays["score"], np.concatenate([p.scores for p in frames]), atol=0.000051)
    np.testing.assert_allclose(
        arrays["box_score"], np.concatenate([p.detections.scores for p in frames]), atol=0.000051
    )


def test_npz_of_people_without_ids(tmp_path: Path) -> None:
    with np.load(written(tmp_path, video(tracked=False), "street.npz"), allow_pickle=False) as read:
        assert read["id"].tolist() == [-1] * 6
