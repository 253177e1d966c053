"""Keypoint files that are folders, for OpenPose, YOLO and crops, read back by what people read them with."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hrkit.errors import HrkitError
from hrkit.extraction.folders import BODY_25
from hrkit.extraction.formats import check_format, write_keypoints
from hrkit.extraction.part_file import PartFile
from hrkit.images import read_image
from hrkit.skeletons import coco17
from hrkit.structures import Detections, Poses, Skeleton
from keypoint_files import COUNTS, ODD, meta_of, part_of, people, triples, video

OPENPOSE_NAMES = [f"street_{index:012d}_keypoints.json" for index in range(len(COUNTS))]


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


# folders that are there


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
