"""Keypoint files, read back by what people read them with."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from hrkit import __version__
from hrkit.errors import HrkitError
from hrkit.extraction.folders import BODY_25
from hrkit.extraction.formats import FOLDERS, FORMATS, check_format, write_keypoints
from hrkit.extraction.part_file import PartFile
from hrkit.images import read_image
from hrkit.skeletons import coco17, get_skeleton
from hrkit.structures import Detections, Poses, Skeleton

pandas = pytest.importorskip("pandas")
parquet = pytest.importorskip("pyarrow.parquet")

ODD = Skeleton("odd", ('left, "upper"', "tail's end", "ÿ"), (), (), [0.1] * 3)
COUNTS = (0, 2, 1, 0, 3, 0)
"""People of each frame: nobody in the beginning, in between and in the end."""
OPENPOSE_NAMES = [f"street_{index:012d}_keypoints.json" for index in range(len(COUNTS))]


def people(count: int, index: int = 0, skeleton: Skeleton = coco17, tracked: bool = True) -> Poses:
    """`count` people at whole thousandths; the first without nose, the second without a score, the third without id."""
    random = np.random.default_rng([count, index])
    joints = len(skeleton)
    corners = np.sort(random.integers(-50_000, 700_000, (count, 2, 2)), axis=1) / 1000
    keypoints = random.integers(-50_000, 700_000, (count, joints, 2)) / 1000
    keypoints[:1, 0] = np.nan
    scores = random.integers(0, 10_000, (count, joints)) / 10_000
    scores[1:2, 2] = np.nan
    ids = np.arange(count) + 1
    ids[2:] = -1
    found = Detections(corners.reshape(count, 4), random.integers(0, 10_000, count) / 10_000, np.zeros(count))
    return Poses(keypoints, scores, found, skeleton, track_ids=ids if tracked else None)


def video(counts: Sequence[int] = COUNTS, **kinds: Any) -> list[Poses]:
    return [people(count, index, **kinds) for index, count in enumerate(counts)]


def part_of(
    folder: Path, frames: Sequence[Poses], skeleton: Skeleton = coco17, source: str = "films/street.mp4"
) -> Path:
    """A part file of these frames, at 25 a second, with states in between."""
    meta = {"source": source, "size": [480, 640], "fps": 25, "keypoint_names": skeleton.keypoint_names}
    with PartFile.begin(folder / "street.part.jsonl", meta) as part:
        for index, poses in enumerate(frames):
            part.write_frame(index, index / 25, poses, size=(640, 480))
            part.write_state(index + 1, {"anything": [None]})
    return part.path


def written(folder: Path, frames: Sequence[Poses], name: str, skeleton: Skeleton = coco17) -> Path:
    write_keypoints(part_of(folder, frames, skeleton), folder / name)
    return folder / name


def write_to(part: Path, target: Path, kind: str) -> None:
    """Writes in any format; the pictures of all frames are black."""
    write_keypoints(part, target, kind, lambda frame: np.zeros((480, 640, 3), np.uint8))


def meta_of(path: Path) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return meta


def triples(frames: Sequence[Poses]) -> np.ndarray[Any, Any]:
    """(N,K,3) of everybody in the frames."""
    return np.concatenate([np.dstack([poses.keypoints, poses.keypoint_scores]) for poses in frames])


def table_of(frames: Sequence[Poses]) -> np.ndarray[Any, Any]:
    """(N,8+3K) what the columns of csv hold, NaN for what is missing."""
    rows = []
    for index, poses in enumerate(frames):
        ids = np.full(len(poses), np.nan)
        if poses.track_ids is not None:
            ids = np.where(poses.track_ids >= 0, poses.track_ids, np.nan)
        joints = triples([poses]).reshape(len(poses), 3 * len(poses.skeleton))
        start = np.tile([index, index / 25], (len(poses), 1))
        rows.append(np.column_stack([start, ids, poses.scores, poses.detections.xyxy, joints]))
    return np.concatenate(rows)


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


def loaded(results: Path, frames: int) -> COCO:
    """The results as pycocotools loads them."""
    truth = COCO()
    truth.dataset = {
        "images": [{"id": index} for index in range(frames)],
        "annotations": [],
        "categories": [{"id": 1, "name": "person"}],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        return truth.loadRes(str(results))


def test_coco_results_are_loaded_by_pycocotools(tmp_path: Path) -> None:
    results = loaded(written(tmp_path, video(), "street.json"), len(COUNTS))
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


# openpose


def openpose(folder: Path, frames: Sequence[Poses], skeleton: Skeleton = coco17) -> Path:
    write_keypoints(part_of(folder, frames, skeleton), folder / "json", "openpose")
    return folder / "json"


def test_openpose_has_a_file_a_frame_and_no_other(tmp_path: Path) -> None:
    folder = openpose(tmp_path, video())
    assert sorted(path.name for path in folder.iterdir()) == OPENPOSE_NAMES
    read = [json.loads((folder / name).read_text()) for name in OPENPOSE_NAMES]
    assert read[0] == {"version": 1.3, "people": []}
    assert [len(frame["people"]) for frame in read] == list(COUNTS)
    assert [person["person_id"] for person in read[4]["people"]] == [[1], [2], [-1]]
    everybody = [person for frame in read for person in frame["people"]]
    assert {len(person["pose_keypoints_2d"]) for person in everybody} == {25 * 3}
    kinds = [f"{part}_keypoints_{n}d" for n in (2, 3) for part in ("pose", "face", "hand_left", "hand_right")]
    assert {tuple(sorted(person)) for person in everybody} == {tuple(sorted(["person_id", *kinds]))}
    assert all(person[kind] == [] for person in everybody for kind in kinds[1:])


def test_openpose_has_its_own_order_and_middles(tmp_path: Path) -> None:
    poses = people(2)
    keypoints = poses.keypoints.copy()
    keypoints[1, coco17.index("left_shoulder")] = np.nan
    folder = openpose(tmp_path, [poses.replace(keypoints=keypoints)])
    both = json.loads((folder / OPENPOSE_NAMES[0]).read_text())["people"]
    first, second = (np.reshape(person["pose_keypoints_2d"], (25, 3)) for person in both)
    wanted = triples([poses])
    for index, name in enumerate(BODY_25):
        if name in coco17.keypoint_names and name != "nose":
            np.testing.assert_allclose(first[index], wanted[0, coco17.index(name)], atol=0.0006)
    assert first[0].tolist() == [0, 0, 0]  # the nose that is missing
    assert not first[19:].any()  # COCO has no feet
    for place, part in ((1, "shoulder"), (8, "hip")):
        left, right = (wanted[0, coco17.index(f"{side}_{part}")] for side in ("left", "right"))
        np.testing.assert_allclose(first[place], [*((left + right) / 2)[:2], min(left[2], right[2])], atol=0.0011)
    assert second[1].tolist() == second[BODY_25.index("left_shoulder")].tolist() == [0, 0, 0]
    assert second[2, 2] > 0


def test_other_joints_keep_their_order_in_openpose(tmp_path: Path) -> None:
    folder = openpose(tmp_path, video([1], skeleton=ODD), ODD)
    (person,) = json.loads((folder / OPENPOSE_NAMES[0]).read_text())["people"]
    wanted = triples(video([1], skeleton=ODD))[0]
    np.testing.assert_allclose(person["pose_keypoints_2d"], np.ravel([[0, 0, 0], *wanted[1:]]), atol=0.0006)


def test_pose_format_reads_openpose(tmp_path: Path) -> None:
    openpose_reader = pytest.importorskip("pose_format.utils.openpose")
    folder = openpose(tmp_path, video())
    pose = openpose_reader.load_openpose_directory(str(folder), fps=25, width=640, height=480)
    assert pose.body.data.shape[:2] == (len(COUNTS), max(COUNTS))
    points = [name.lower() for name in pose.header.components[0].points]
    for name in coco17.keypoint_names:
        side, _, part = name.rpartition("_")
        place = points.index(f"{side[:1]}{part}")
        for index, poses in enumerate(video()):
            for person in range(len(poses)):
                wanted = triples([poses])[person, coco17.index(name)]
                wanted = np.zeros(3) if np.isnan(wanted).any() else wanted
                np.testing.assert_allclose(pose.body.confidence[index, person, place], wanted[2], atol=0.0006)
                if wanted[2] > 0:
                    np.testing.assert_allclose(pose.body.data[index, person, place], wanted[:2], atol=0.0006)


def test_pose2sim_finds_its_frames(tmp_path: Path) -> None:
    """Its triangulation takes every json of the folder, and the last number in the name for the frame."""
    folder = openpose(tmp_path, video())
    for number, path in enumerate(sorted(folder.glob("*.json"))):
        assert int(re.split(r"(\d+)", path.name)[-2]) == number
        for person in json.loads(path.read_text())["people"]:
            joints = [person["pose_keypoints_2d"][3 * joint : 3 * joint + 3] for joint in range(25)]
            assert all(len(joint) == 3 for joint in joints)


# yolo


def labels(folder: Path, name: str = "street_000000000000") -> list[list[float]]:
    return [[float(value) for value in line.split()] for line in (folder / f"{name}.txt").read_text().splitlines()]


def test_yolo_labels_are_as_documented(tmp_path: Path) -> None:
    """A line is `class x y width height`, then `x y visibility` per joint, in fractions of the picture."""
    found = Detections([[64, 48, 320, 240], [-64, 0, 64, 480], [700, 0, 800, 9]], [0.9, 0.8, 0.7], [0, 0, 0])
    keypoints = np.full((3, 17, 2), [160.0, 120.0])
    keypoints[0, 1] = np.nan
    keypoints[0, 2] = [641, 10]
    scores = np.full((3, 17), 0.9)
    scores[0, 3] = 0.1
    write_keypoints(part_of(tmp_path, [Poses(keypoints, scores, found, coco17)]), tmp_path / "labels", "txt")
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["street_000000000000.txt"]
    first, second = labels(tmp_path / "labels")  # the third is outside
    assert first[:5] == [0, 0.3, 0.3, 0.4, 0.4]
    assert first[5:8] == [0.25, 0.25, 2]
    assert first[8:11] == first[11:14] == [0, 0, 0]
    assert first[14:17] == [0.25, 0.25, 1]
    assert second[:5] == [0, 0.05, 0.5, 0.1, 1]
    assert len(first) == len(second) == 5 + 3 * 17


def test_yolo_labels_stay_within_the_picture(tmp_path: Path) -> None:
    write_keypoints(part_of(tmp_path, video()), tmp_path / "a.txt")
    rows = np.array([row for index in range(len(COUNTS)) for row in labels(tmp_path / "a.txt", f"street_{index:012d}")])
    assert len(rows) > 3
    flags = rows[:, 7::3]
    assert rows.min() >= 0
    assert np.delete(rows, np.s_[7::3], axis=1).max() <= 1
    assert set(flags.ravel()) <= {0, 1, 2}
    assert (meta_of(tmp_path / "a.txt.meta.json")["keypoint_names"]) == list(coco17.keypoint_names)


def test_yolo_needs_the_size_of_the_picture(tmp_path: Path) -> None:
    with PartFile.begin(tmp_path / "part", {"keypoint_names": coco17.keypoint_names}) as part:
        part.write_frame(0, 0.0, people(1))
    with pytest.raises(HrkitError, match="the size of its picture is not known"):
        write_keypoints(part.path, tmp_path / "labels", "txt")
    assert os.listdir(tmp_path) == ["part"]


# crops


def cut(part: Path, target: Path) -> None:
    """Cuts people out of frames where each pixel says where it is."""
    rows, columns = np.mgrid[:480, :640]
    image = np.dstack([columns // 4, rows // 4, np.zeros_like(rows)]).astype(np.uint8)
    write_keypoints(part, target, "crops", lambda frame: image)


def test_people_are_cut_out(tmp_path: Path) -> None:
    found = Detections([[64, 48.5, 319.2, 240], [-64, -9, 64, 500], [700, 0, 800, 9]], [0.9, 0.8, 0.7], [0, 0, 0])
    poses = Poses(np.zeros((3, 17, 2)), np.ones((3, 17)), found, coco17)
    cut(part_of(tmp_path, [poses]), tmp_path / "a.crops")
    names = sorted(path.name for path in (tmp_path / "a.crops").iterdir())
    assert names == ["street_000000000000_0.jpg", "street_000000000000_1.jpg"]
    first, second = (read_image(tmp_path / "a.crops" / name) for name in names)
    assert (first.shape, second.shape) == ((192, 256, 3), (480, 64, 3))
    assert np.abs(first[0, 0].astype(int) - [16, 12, 0]).max() < 6


def test_an_empty_folder_is_filled_and_a_full_one_is_left_alone(tmp_path: Path) -> None:
    part = part_of(tmp_path, video([1]))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_keypoints(part, tmp_path / "link", "openpose")
    assert [path.name for path in (tmp_path / "real").iterdir()] == [OPENPOSE_NAMES[0]]
    (tmp_path / "link.meta.json").unlink()
    for target in (tmp_path / "real", part):
        with pytest.raises(HrkitError, match="not a folder of hrkit"):
            check_format(target, "openpose")
        with pytest.raises(HrkitError, match="not a folder of hrkit"):
            write_keypoints(part, target, "openpose")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real", part.name]


def test_a_folder_that_hrkit_wrote_is_written_again(tmp_path: Path) -> None:
    folder = openpose(tmp_path, video())
    part_path = tmp_path / "street.part.jsonl"
    part_path.unlink()
    write_keypoints(part_of(tmp_path, video([1])), folder, "openpose")
    assert [path.name for path in folder.iterdir()] == [OPENPOSE_NAMES[0]]


def test_the_folder_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    folder = openpose(tmp_path, [])
    (tmp_path / "ordinary").mkdir()
    assert folder.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


# all of them


@pytest.mark.parametrize("counts", [(), (0,), (0, 0, 0)])
def test_nobody_at_all(tmp_path: Path, counts: tuple[int, ...]) -> None:
    part = part_of(tmp_path, video(counts))
    for name in FORMATS:
        write_to(part, tmp_path / f"a.{name}", name)
    assert pandas.read_csv(tmp_path / "a.csv").shape == pandas.read_parquet(tmp_path / "a.parquet").shape == (0, 59)
    assert (tmp_path / "a.jsonl").read_text().count('"people":[]}\n') == len(counts)
    assert len(pandas.read_json(tmp_path / "a.jsonl", lines=True)) == len(counts)
    assert json.loads((tmp_path / "a.json").read_text()) == []
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        assert (read["keypoints"].shape, read["box"].shape, read["id"].dtype) == ((0, 17, 3), (0, 4), np.int64)
        assert read["frame_times"].shape == (len(counts),)
    assert len(list((tmp_path / "a.openpose").iterdir())) == len(list((tmp_path / "a.txt").iterdir())) == len(counts)
    assert not list((tmp_path / "a.crops").iterdir())
    assert meta_of(tmp_path / "a.json.meta.json")["frames"] == len(counts)


def test_joints_of_any_name(tmp_path: Path) -> None:
    frames = video(skeleton=ODD)
    part = part_of(tmp_path, frames, ODD)
    for name in FORMATS:
        write_to(part, tmp_path / f"a.{name}", name)
    columns = [f"{name}_{part}" for name in ODD.keypoint_names for part in ("x", "y", "score")]
    for read in (pandas.read_csv(tmp_path / "a.csv"), pandas.read_parquet(tmp_path / "a.parquet")):
        assert list(read.columns[8:]) == columns
        np.testing.assert_allclose(read.to_numpy(float), table_of(frames), atol=0.00051)
    read = pandas.read_json(tmp_path / "a.jsonl", lines=True)
    assert list(read.people[1][0]["keypoints"]) == list(ODD.keypoint_names)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert tuple(arrays["keypoint_names"]) == ODD.keypoint_names
    assert len(loaded(tmp_path / "a.json", len(COUNTS)).anns) == 6


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_the_meta(tmp_path: Path, name: str) -> None:
    target = tmp_path / "out" / "street.file"
    write_to(part_of(tmp_path, video()), target, name)
    if name == "npz":
        meta = json.loads(np.load(target, allow_pickle=False)["meta"].item())
    elif name == "parquet":
        meta = json.loads(parquet.read_schema(target).metadata[b"hrkit"])
    else:
        meta = meta_of(tmp_path / "out" / "street.file.meta.json")
    assert meta == {
        "hrkit": __version__,
        "source": "films/street.mp4",
        "size": [480, 640],
        "fps": 25,
        "keypoint_names": list(coco17.keypoint_names),
        "frames": len(COUNTS),
    }
    beside = {"street.file"} if name in ("npz", "parquet") else {"street.file", "street.file.meta.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == beside


@pytest.mark.parametrize("name", FORMATS)
def test_a_source_may_have_any_name(tmp_path: Path, name: str) -> None:
    source = 'f\udce9te "*?\n.mp4'  # as Python has a name that is no UTF-8
    write_to(part_of(tmp_path, video([1]), source=source), tmp_path / "a", name)
    if name in FOLDERS:
        assert [path.name[:17] for path in (tmp_path / "a").iterdir()] == ["f_te__00000000000"]
    if name not in ("npz", "parquet"):
        assert meta_of(tmp_path / "a.meta.json")["source"] == source


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, name: str) -> None:
    part = part_of(tmp_path, video())
    lines = part.read_bytes().splitlines(keepends=True)
    out = tmp_path / "out"
    if name not in FOLDERS:
        out.mkdir()
        (out / "street").write_text("before")
    for damaged in (b"".join([*lines[:-3], b"{\n", *lines[-3:]]), b"no part file\n"):
        part.write_bytes(damaged)
        with pytest.raises(HrkitError):
            write_to(part, out / "street", name)
        assert [path.read_text() for path in out.rglob("*")] == ([] if name in FOLDERS else ["before"])
    part.write_bytes(b"".join(lines)[:-10])  # as a run that is not over leaves it
    write_to(part, out / "street", name)
    assert (out / "street").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, name: str) -> None:
    resource = pytest.importorskip("resource")
    part = part_of(tmp_path, video([9] * 9))
    out = tmp_path / "out"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_to(part, out / "street", name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(out.iterdir())


@given(
    st.lists(st.integers(0, 3), max_size=4),
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_what_is_read_back_agrees_within_the_rounding(
    counts: list[int], tracked: bool, seed: int, scale: float
) -> None:
    random = np.random.default_rng(seed)
    frames = [
        poses.replace(
            keypoints=random.normal(0, scale, poses.keypoints.shape),
            keypoint_scores=random.random(poses.keypoint_scores.shape),
        )
        for poses in video(counts, tracked=tracked)
    ]
    wanted = table_of(frames) if frames else np.zeros((0, 59))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        part = part_of(folder, frames)
        for kind in ("csv", "parquet", "npz", "jsonl", "json"):
            write_keypoints(part, folder / f"a.{kind}")
        with np.load(folder / "a.npz", allow_pickle=False) as arrays:
            joints = arrays["keypoints"]
        lines = [json.loads(line) for line in (folder / "a.jsonl").read_text().splitlines()]
        results = json.loads((folder / "a.json").read_text())
        for table in (pandas.read_csv(folder / "a.csv"), pandas.read_parquet(folder / "a.parquet")):
            np.testing.assert_allclose(table.to_numpy(float), wanted, rtol=2e-7, atol=0.000501)
    people_of_lines = [list(person["keypoints"].values()) for line in lines for person in line["people"]]
    for given_joints in (joints, people_of_lines, [result["keypoints"] for result in results]):
        rows = np.array(given_joints, float).reshape(-1, 51)
        np.testing.assert_allclose(rows, wanted[:, 8:], rtol=2e-7, atol=0.000501)


@pytest.mark.parametrize("name", ["csv", "jsonl", "json", "openpose"])
@pytest.mark.slow
def test_memory_is_flat_however_long_the_video(tmp_path: Path, name: str) -> None:
    part = part_of(tmp_path, [people(2)] * 600)
    assert part.stat().st_size > 500_000
    tracemalloc.start()
    try:
        write_keypoints(part, tmp_path / "out", name)
        assert tracemalloc.get_traced_memory()[1] < 250_000
    finally:
        tracemalloc.stop()


# which format


@pytest.mark.parametrize(
    ("target", "given_format", "wanted"),
    [
        ("a.csv", None, "csv"),
        ("A.CSV", None, "csv"),
        ("a.b.JsonL", None, "jsonl"),
        (Path("a/b.json"), None, "json"),
        ("a.parquet", None, "parquet"),
        ("a.npz", None, "npz"),
        ("a.csv", "npz", "npz"),
        ("folder", "openpose", "openpose"),
        ("folder.openpose/", None, "openpose"),
    ],
)
def test_the_format_is_the_one_named_or_of_the_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any, given_format: str | None, wanted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert check_format(target, given_format) == wanted


@pytest.mark.parametrize("target", ["a.text", "a", "folder/", ".csv"])
def test_an_unknown_ending_is_told_the_others(target: str) -> None:
    endings = r"end in \.csv, \.jsonl, \.json, \.parquet, \.npz, folders of them in \.openpose, \.txt, \.crops"
    with pytest.raises(HrkitError, match=endings):
        check_format(target)


def test_an_unknown_format_is_told_the_others() -> None:
    with pytest.raises(HrkitError, match=r"unknown keypoint format 'cvs'; did you mean csv\?.*openpose, parquet"):
        check_format("a.csv", "cvs")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(HrkitError, match="is a folder; name a file"):
        check_format(tmp_path / "a.csv")
