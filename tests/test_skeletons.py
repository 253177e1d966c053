"""Skeletons by name, from a file, and the pairs that names tell."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrkit.errors import DatasetError, UnknownNameError
from hrkit.skeletons import (
    NAMES,
    coco17,
    find_skeleton,
    fitting_skeletons,
    get_skeleton,
    known_skeleton,
    pairs_by_name,
    same_joints,
    skeleton_of,
)

SIGMAS_OF_ANOTHER_ORDER = {"coco_openpose", "coco_wholebody_openpose"}  # the reference has none for them
RAISED_SHOULDERS = {"mpii", "mhp"}  # 0.179 in the reference, where COCO has 0.079


@pytest.mark.parametrize("name", NAMES)
def test_each_known_skeleton_is_whole(name: str) -> None:
    skeleton = get_skeleton(name)
    assert skeleton.name == name
    indices = skeleton.flip_indices
    np.testing.assert_array_equal(indices[indices], np.arange(len(skeleton)))
    paired = [joint for pair in skeleton.flip_pairs for joint in pair]
    assert len(set(paired)) == len(paired)
    assert skeleton.sigmas.min() > 0
    assert known_skeleton(skeleton.keypoint_names) is not None


@pytest.mark.needs_shared
def test_the_published_skeletons(shared: Path) -> None:
    published = json.loads((shared / "reference/models/skeletons.json").read_text(encoding="utf-8"))
    assert set(published) <= set(NAMES)
    for name, wanted in published.items():
        skeleton, joints = get_skeleton(name), wanted["keypoints"]
        assert list(skeleton.keypoint_names) == joints
        assert skeleton.edge_indices.tolist() == wanted["edges"]
        places = published["300w" if name == "300wlp" else name]["flip_pairs"]  # which has the same points
        pairs = {frozenset((joints[a], joints[b])) for a, b in places}
        assert {frozenset(pair) for pair in skeleton.flip_pairs} == pairs
        if name in RAISED_SHOULDERS:
            assert skeleton.sigmas[skeleton.index("left_shoulder")] == 0.079
        elif name not in SIGMAS_OF_ANOTHER_ORDER:
            np.testing.assert_allclose(skeleton.sigmas, wanted["sigmas"] or [0.05] * len(joints))
    for name in SIGMAS_OF_ANOTHER_ORDER:
        skeleton = get_skeleton(name)
        assert skeleton.sigmas[skeleton.index("right_hip")] == coco17.sigmas[coco17.index("right_hip")]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_eye", "right_eye"),
        ("Left_Wing", "Right_Wing"),
        ("LEFT_EYE", "RIGHT_EYE"),
        ("left eye", "right eye"),
        ("eye (left)", "eye (right)"),
        ("l_eye", "r_eye"),
        ("L-eye", "R-eye"),
        ("eye_l", "eye_r"),
        ("eye.L", "eye.R"),
        ("eyeL", "eyeR"),
        ("LEye", "REye"),
        ("leftEye", "rightEye"),
        ("Leye", "Reye"),
        ("leye", "reye"),
        ("lefteye", "righteye"),
        ("eyeleft", "eyeright"),
        ("forelegL1", "forelegR1"),
        ("L1", "R1"),
        ("left", "right"),
        ("l_eye", "right_eye"),
    ],
)
def test_pairs_by_name(left: str, right: str) -> None:
    assert pairs_by_name(["nose", right, left, "tail"]) == ([(left, right)], [])


@pytest.mark.parametrize("name", ["left_eye", "LEye", "eye_r", "Right", "forelegR1"])
def test_a_side_without_the_other_is_told(name: str) -> None:
    assert pairs_by_name(["nose", name]) == ([], [name])


@pytest.mark.parametrize("name", ["upright", "l", "R", "ear", "lip", "cleft", "leg1", "left_to_right", "kpt-0", "rail"])
def test_other_names_are_no_sides(name: str) -> None:
    assert pairs_by_name([name, "nose", "tail"]) == ([], [])


def test_two_joints_of_one_name_and_side() -> None:
    assert pairs_by_name(["left_eye", "l_eye", "right_eye"]) == ([("left_eye", "right_eye")], ["l_eye"])
    assert pairs_by_name(["eye_l", "l_eye", "right_eye"]) == ([], ["eye_l", "l_eye", "right_eye"])


@given(st.lists(st.text(max_size=12), unique=True))
def test_no_joint_is_in_two_pairs(names: list[str]) -> None:
    pairs, alone = pairs_by_name(names)
    told = [name for pair in pairs for name in pair] + alone
    assert len(set(told)) == len(told)
    assert set(told) <= set(names)


def test_a_skeleton_is_found_by_name_or_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert find_skeleton(coco17) is coco17
    assert find_skeleton("coco17") is coco17
    assert find_skeleton("macaque").keypoint_names == coco17.keypoint_names
    file = tmp_path / "bird.toml"
    file.write_text('keypoints = ["beak", "Wing_L", "Wing_R", "left_foot"]\n')
    with caplog.at_level(logging.WARNING):
        bird = find_skeleton(str(file))
    assert bird.name == "bird"
    assert bird.flip_pairs == (("Wing_L", "Wing_R"),)
    assert caplog.messages == [f"{file}: no other side of left_foot; they keep their places in mirrored pictures"]
    file.write_text('keypoints = ["left_foot", "right_foot"]\nflip_pairs = []\n')
    assert find_skeleton(file).flip_pairs == ()  # the file says so
    with pytest.raises(UnknownNameError, match="unknown skeleton 'crowdpos'; did you mean crowdpose"):
        find_skeleton("crowdpos")
    with pytest.raises(DatasetError, match=r"nowhere\.toml: cannot be read"):
        find_skeleton("nowhere.toml")


def test_skeletons_by_number() -> None:
    assert fitting_skeletons(14) == ["lsp14", "aic", "campus", "crowdpose", "exlpose", "shelf"]
    assert fitting_skeletons(5) == []
    assert [skeleton_of(number).name for number in (17, 16, 14, 5)] == ["coco17", "mpii16", "lsp14", "joints5"]


def test_joints_of_the_same_name_in_any_style() -> None:
    names = ["left_eye", "beak", "TAIL", "l_wing", "right_wing"]
    assert same_joints(names, ["tail", "WingL", "LEFT_EYE", "WingR"]).tolist() == [2, -1, 0, 1, 3]
    assert same_joints(["l_eye"], ["left_eye", "eyeL"]).tolist() == [-1]  # which of both?
    assert same_joints(["eyeL"], ["left_eye", "eyeL"]).tolist() == [1]
    assert same_joints(coco17.keypoint_names, coco17.keypoint_names).tolist() == list(range(17))
