"""Annotations as people bring them: loaded rightly, or refused in one line with file, id, field and count."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.coco import coco
from hrkit.datasets.custom import custom
from hrkit.datasets.mpii import mpii
from hrkit.errors import DatasetError, HrkitError, UnknownNameError
from hrkit.evaluation.coco import coco_annotations, coco_ap, coco_results
from hrkit.structures import Skeleton
from made_coco import FOUR_JOINTS, make_coco, read_json, write_json


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures with two people each, and four joints."""
    return make_coco(tmp_path_factory.mktemp("made"), skeleton=FOUR_JOINTS)


def _exact(people: KeypointDataset) -> list[dict[str, Any]]:
    """Results that have every joint where it is annotated."""
    points = np.concatenate([people.keypoints, np.ones((len(people), len(people.skeleton), 1))], axis=2)
    return coco_results(
        *(people.image_ids[people.image_index], points, np.ones(len(people)), people.areas),
        nms=None,
        category_id=people.category_ids,
    )


def _loads(made: Path, content: dict[str, Any], **options: Any) -> KeypointDataset:
    """Everything that a content that loads must fulfil: people that can be found again in their own format."""
    people = coco(write_json(made.with_name("changed.json"), content), **options)
    assert np.isfinite(people.keypoints).all()
    assert ((people.areas > 0) & np.isfinite(people.areas)).all()
    assert (people.boxes[:, 2:] > people.boxes[:, :2]).all()
    assert people.visible.any(1).all()
    truth = coco_annotations(people)
    assert coco_ap(truth, _exact(people), sigmas=people.skeleton.sigmas)["AP"] == pytest.approx(1)
    assert coco_ap(truth, [], sigmas=people.skeleton.sigmas)["AP"] == 0
    return people


@pytest.mark.needs_shared
@pytest.mark.parametrize(
    ("case", "people"),
    [
        *((f"layouts/{name}", 8) for name in ("cvat", "labelstudio", "labelstudio_win", "mmpose", "roboflow")),
        *((name, 8) for name in ("layouts/upper", "layouts/urlenc", "file_name_backslash", "file_name_images")),
        *((name, 8) for name in ("area_missing", "area_null", "bbox_strings", "iscrowd_null", "keypoint_null_coords")),
        *((name, 8) for name in ("no_width", "num_keypoints_0", "skeleton_null", "skeleton_out_of_range", "str_ids")),
        *((name, 8) for name in ("crowd_without_keypoints", "second_category")),
        *((f"plain/{name}.json", 8) for name in ("ap10k_like", "cat7", "skel0", "person_keypoints_x")),
        ("plain/one.json", 1),
    ],
)
def test_cases_that_load(shared: Path, case: str, people: int) -> None:
    path = shared / "cases" / "annotations" / case
    dataset = coco(path)
    assert len(dataset) == people
    assert dataset.read_frame(people - 1).shape == (240, 340, 3)
    plain = coco(shared / "cases" / "annotations" / "plain" / "person_keypoints_x.json")
    labelled = dataset.visible > 0
    np.testing.assert_array_equal(dataset.keypoints[labelled], plain.keypoints[:people][labelled])
    np.testing.assert_array_equal(dataset.boxes, plain.boxes[:people])
    assert labelled.sum() == 4 * people - (case == "keypoint_null_coords")
    assert [Path(p).name for p in dataset.image_paths] == [Path(p).name for p in plain.image_paths[: people // 2 or 1]]
    if "area" not in case:
        np.testing.assert_array_equal(dataset.areas, plain.areas[:people])
    assert coco_ap(coco_annotations(dataset), _exact(dataset), sigmas=[0.05] * 4)["AP"] == pytest.approx(1)


@pytest.mark.needs_shared
@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("bbox_null", "1 of 8 annotations are faulty: id 1, bbox: is missing, though joints are labelled"),
        ("dup_names", "1 of 1 categories are faulty: id 1, keypoints: 'a' is there twice"),
    ],
)
def test_cases_that_are_refused(shared: Path, case: str, says: str) -> None:
    with pytest.raises(DatasetError, match=says) as error:
        coco(shared / "cases" / "annotations" / case)
    assert "person_keypoints_x.json" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.needs_shared
def test_what_cases_say_of_themselves(shared: Path) -> None:
    cases = shared / "cases" / "annotations"
    animals = coco(cases / "plain/ap10k_like.json")
    assert animals.category_ids.tolist() == [1, 2, 3, 4] * 2
    assert {row["category_id"] for row in _exact(animals)} == {1, 2, 3, 4}
    assert coco(cases / "plain/ap10k_like.json", category=["species3", "1"]).category_ids.tolist() == [1, 3] * 2
    assert coco(cases / "plain/cat7.json").category_ids.tolist() == [7] * 8
    assert coco(cases / "plain/skel0.json").skeleton.edges == (
        *(("top", "left_side"), ("left_side", "right_side"), ("right_side", "bottom")),
    )
    assert coco(cases / "skeleton_out_of_range").skeleton.edges == ()
    assert coco(cases / "str_ids").image_ids.tolist() == ["img1", "img2", "img3", "img4"]
    (crowd,) = coco(cases / "crowd_without_keypoints").ignored
    assert (crowd.crowd, crowd.box, crowd.region["size"]) == (True, (0, 0, 50, 50), [240, 340])


def test_wrong_numbers_do_not_poison_a_result(made: Path) -> None:
    content = read_json(made)
    for changes in ({"num_keypoints": 0}, {"area": float("nan")}, {"area": 0}, {"area": None}, {"num_keypoints": None}):
        changed = copy.deepcopy(content)
        for one in changed["annotations"]:
            one.update(changes)
        people = _loads(made, changed)
        somewhere = [{**row, "keypoints": [5.0, 5.0, 1.0] * 4} for row in _exact(people)]
        assert coco_ap(changed, somewhere, sigmas=[0.05] * 4)["AP"] == 0
        assert coco_ap(changed, _exact(people), sigmas=[0.05] * 4)["AP"] == pytest.approx(1)


def test_an_area_in_shares_of_the_picture_is_refused(made: Path) -> None:
    content = read_json(made)
    for one in content["annotations"]:
        one["area"] /= 340 * 240
    with pytest.raises(
        DatasetError, match=r"8 of 8 annotations are faulty: id 1, area: 0\.\d+ is less than a pixel; id 2"
    ):
        _loads(made, content)


def test_faults_are_counted_and_the_first_three_named(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = read_json(made)
    rows = content["annotations"]
    rows[0]["bbox"], rows[2]["area"], rows[3]["keypoints"], rows[5]["image_id"] = None, -1, "none", 77
    with pytest.raises(DatasetError) as error:
        _loads(made, content)
    assert str(error.value) == (
        f"{made.with_name('changed.json')}: 4 of 8 annotations are faulty: id 1, bbox: is missing, though joints are "
        "labelled; id 3, area: -1 is not from 0 to 1e+10; id 4, keypoints: 'none' is no list of numbers; and 1 more. "
        "Correct them, or leave them out with --skip-bad"
    )
    caplog.clear()
    assert _loads(made, content, skip_bad=True).ids.tolist() == [2, 5, 7, 8]
    assert "4 of 8 annotations are faulty" in caplog.text


def test_missing_pictures_can_be_left_out(made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(made.parent / "images", tmp_path / "images")
    (tmp_path / "images/002.png").unlink()
    path = Path(shutil.copy(made, tmp_path))
    assert coco(path, skip_bad=True).ids.tolist() == [1, 2, 5, 6, 7, 8]
    assert "1 of 4 images are faulty: id 2, file_name: '002.png' is not in" in caplog.text


def test_categories_are_counted_and_chosen(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = read_json(made)
    (person,) = content["categories"]
    content["categories"] = [person, {**person, "id": "b", "name": "ape"}, {"id": 3, "name": "ball"}]
    content["categories"].append({"id": 4, "name": "hand", "keypoints": ["thumb"]})
    for one, kind in zip(content["annotations"], (1, "b", "b", 3, 4, 1, 1, "b"), strict=True):
        one["category_id"] = kind
    content["annotations"][3] = {"id": 4, "category_id": 3}  # nothing of a ball is read
    with caplog.at_level(logging.INFO, "hrkit"):
        assert _loads(made, content).category_ids.tolist() == ["1", "b", "b", "1", "1", "b"]
    assert "annotations taken: 3 of person, 3 of ape; left out: 1 of ball, 1 of hand" in caplog.text
    assert _loads(made, content, category=["ape"]).ids.tolist() == [2, 3, 8]
    with pytest.raises(UnknownNameError, match="unknown category 'cat'; choices: ape, hand, person"):
        _loads(made, content, category=["cat"])
    with pytest.raises(DatasetError, match="ape, hand have different joints"):
        _loads(made, content, category=["ape", "hand"])
    with pytest.raises(DatasetError, match=r"boxes do not say which category .* choose one with --category"):
        _loads(made, content).with_boxes([1], [[0, 0, 5, 5]], [1])


def test_ids_are_numbers_or_texts_and_compared_as_texts(made: Path) -> None:
    content = read_json(made)
    for picture in content["images"]:
        picture["id"] = str(picture["id"])
    for one in content["annotations"]:
        one["id"] = f"0f8fad5b-d9cb-469f-a165-70867728950{one['id']}"
        one["image_id"] = float(one["image_id"])
    people = _loads(made, content)
    assert people.image_ids[people.image_index].tolist() == ["1", "1", "2", "2", "3", "3", "4", "4"]
    assert people.ids[0] == "0f8fad5b-d9cb-469f-a165-708677289501"


def test_people_without_labels_need_nothing_else(made: Path) -> None:
    content = read_json(made)
    for one, keypoints, box in zip(
        content["annotations"], ([], None, [0] * 12), ([0] * 4, None, [1, 2, 3, 4]), strict=False
    ):
        one.update(keypoints=keypoints, bbox=box, area=0)
    people = _loads(made, content)
    assert people.ids.tolist() == [4, 5, 6, 7, 8]
    assert [one.box for one in people.ignored] == [(1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("names", "outcome"),
    [
        (["bottom", "left_side", "right_side", "top"], "by name"),
        (["BOTTOM", "sideL", "sideR", "TOP"], "by name"),
        (["top", "left_side", "right_side", "foot"], "by place, with a warning"),
        (["head", "l", "r", "feet"], "by place"),
        (["foot", "left_side", "right_side", "top"], "refused"),
        (["top", "bottom", "foot"], "refused"),
    ],
)
def test_joints_of_other_names_are_not_guessed(
    made: Path, names: list[str], outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    mine = Skeleton("mine", names, [], [], [0.05] * len(names))
    plain = coco(made).keypoints
    if outcome == "refused":
        with pytest.raises(DatasetError, match="no joint 'foot'; its joints are top, left_side, right_side, bottom"):
            coco(made, skeleton=mine)
        return
    found = coco(made, skeleton=mine)
    assert found.skeleton.keypoint_names == tuple(names)
    np.testing.assert_array_equal(found.keypoints, plain[:, [3, 1, 2, 0]] if outcome == "by name" else plain)
    assert ("'bottom': 'foot'" in caplog.text) == ("warning" in outcome)


def test_corners_for_sizes_and_shares_for_px_are_told(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "hrkit")
    coco(made)
    assert not caplog.text
    content = read_json(made)
    for row in content["annotations"]:
        x, y, width, height = row["bbox"]
        row["bbox"] = [x, y, x + width, y + height]
        row["keypoints"] = [value / 340 if place % 3 < 2 else value for place, value in enumerate(row["keypoints"])]
    coco(write_json(made.with_name("changed.json"), content))
    assert "boxes reach beyond their pictures; a box is left, top, width, height in px" in caplog.text
    assert "people have most joints outside their boxes" in caplog.text


def test_what_is_no_json_in_this_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"missing\.json: no such file$"):
        coco(tmp_path / "missing.json")
    (tmp_path / "data.yaml").write_text("kpt_shape: [17, 3]")
    for path in (tmp_path, tmp_path / "data.yaml"):
        with pytest.raises(DatasetError, match="labels of YOLO are not read; export them as COCO json"):
            coco(path)


def test_pictures_of_a_custom_dataset_elsewhere(made: Path, tmp_path: Path) -> None:
    toml = tmp_path / "mine.toml"
    toml.write_text(
        f'keypoints = ["top", "left", "right", "bottom"]\n[train]\nannotations = "{made}"\nimages = "none"\n'
    )
    assert len(custom(toml, images=made.parent / "images")) == 8
    with pytest.raises(DatasetError, match="no such folder"):
        custom(toml)
    long = 5000 * "x"
    toml.write_text(f'keypoints = ["top"]\n[train]\nannotations = "{long}"\n')
    with pytest.raises(DatasetError, match="no COCO json there") as caught:
        custom(toml)
    assert len(str(caught.value)) < 1500
    with pytest.raises(DatasetError, match="no such folder"):
        coco(made, images=long)
    with pytest.raises(DatasetError, match="cannot be read"):
        mpii(long)
    toml.write_text('keypoints = ["top"]\n[train]\nannotations = 5\n')
    with pytest.raises(DatasetError, match=r"mine\.toml: \[train\] annotations is 5, no path"):
        custom(toml)
    for damage, says in (
        ('edges = [["top"]]', r"edges is \[\['top'\]\]; it must be a list of pairs of names"),
        ("flip_pairs = 5", "flip_pairs is 5; it must be a list of pairs of names"),
        ("sigmas = 0", r"skeleton 'mine' has sigmas that are not above 0: \[0.0\]"),
        ("sigmas = [nan]", "sigmas that are not above 0"),
        (f"sigmas = [1{400 * '0'}]", "a number is too large"),
    ):
        toml.write_text(f'keypoints = ["top"]\n{damage}\n')
        with pytest.raises(DatasetError, match=rf"mine\.toml: .*{says}"):
            custom(toml)


STRANGE: list[Any] = [
    *(
        None,
        float("nan"),
        float("inf"),
        -float("inf"),
        -1,
        0,
        1,
        0.5,
        3,
        10**400,
        1e300,
        True,
        False,
        "",
        "a",
        "7",
        "NaN",
    ),
    *([], [None], [1], ["a"], [[1, 2, 3]], {}, {"a": 1}, [1, 2, 3], [0] * 4, [5, 5, -1, -1], [None] * 4, [1e9] * 4),
    *([[0] * 6], [0] * 12, [5, 5, 2] * 4, [5, 5, 7] * 4, [None, None, 2] * 4, [None] * 12, [1e9, 5, 1] * 4, ["5"] * 12),
]
MISSING = object()
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
strange = st.sampled_from([MISSING, *STRANGE]) | any_json

COCO_FIELDS = [
    *(("images", name) for name in ("id", "file_name", "width", "height")),
    *(("categories", name) for name in ("id", "name", "keypoints", "skeleton")),
    *(
        ("annotations", name)
        for name in ("id", "image_id", "category_id", "iscrowd", "bbox", "area", "num_keypoints", "keypoints")
    ),
    ("annotations", "segmentation"),
]


def _with(row: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {key: one for key, one in {**row, name: value}.items() if one is not MISSING}


def _loads_or_says(load: Callable[[], object], file: str, name: str) -> None:
    try:
        load()
    except HrkitError as error:
        said = str(error)
        assert file in said
        assert "\n" not in said
        whole = ("nobody in it has a box", "no category has keypoints", "pictures are missing", "pictures are not in")
        assert (
            f", {name}: " in said or f", {name} " in said or any(text in said for text in whole) or _follows(said, name)
        )


def _follows(said: str, name: str) -> bool:
    """Whether it names the field that a change of another field contradicts."""
    others = {"id": ("image_id", "category_id"), "keypoints": ("keypoints", "bbox"), "width": ("bbox",)}
    return any(f", {other}: " in said for other in {**others, "height": ("bbox",)}.get(name, ()))


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(st.sampled_from(COCO_FIELDS), strange, st.booleans())
def test_any_field_of_coco_may_be_strange(made: Path, field: tuple[str, str], value: Any, everywhere: bool) -> None:
    part, name = field
    content = read_json(made)
    content[part] = [
        _with(row, name, value) if everywhere or place == 0 else row for place, row in enumerate(content[part])
    ]
    _loads_or_says(lambda: _loads(made, content), "changed.json", name)
    _loads_or_says(lambda: coco_ap(content, [], sigmas=[0.05] * 4), "", name)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.sampled_from(["image", "center", "scale", "joints", "joints_vis"]), strange, st.booleans())
def test_any_field_of_mpii_may_be_strange(made: Path, name: str, value: Any, everywhere: bool) -> None:
    person = {"image": "001.png", "center": [101.0, 121.0], "scale": 1.0}
    person |= {"joints": [[11, 21]] * 16, "joints_vis": [1] * 16}
    rows = [_with(person, name, value), _with(person, name, value) if everywhere else person]
    path = write_json(made.with_name("changed_mpii.json"), rows)

    def load() -> None:
        people = mpii(path, images=made.parent / "images")
        assert len(people) == 2
        assert np.isfinite(people.keypoints).all()
        assert (people.areas > 0).all()

    _loads_or_says(load, "" if name == "image" else "changed_mpii.json", name)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["image_id", "category_id", "keypoints", "score"]), strange)
def test_any_field_of_results_may_be_strange(made: Path, name: str, value: Any) -> None:
    content = read_json(made)
    rows = _exact(coco(made))
    _loads_or_says(lambda: coco_ap(content, [_with(rows[0], name, value), *rows[1:]], sigmas=[0.05] * 4), "", name)
