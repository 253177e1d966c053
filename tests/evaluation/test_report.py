"""Reports: figures that can be cited, pictures that can be looked at, and boxes that nobody annotated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attrs import evolve

from hrkit import create_pose_model
from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.coco import coco
from hrkit.drawing.contact_sheet import contact_sheet, draw_joints, draw_truth, heatmap_overlay
from hrkit.drawing.plots import Curve, plot
from hrkit.errors import DatasetError, HrkitError, PluginError
from hrkit.evaluation.coco import coco_ap, coco_measures, coco_results, evaluate
from hrkit.evaluation.detected_boxes import count_boxes, detect_people, match_boxes, read_detections
from hrkit.evaluation.report import Subject, check_folder, joint_shares, write_report
from hrkit.images import read_image
from hrkit.skeletons import coco17
from hrkit.structures import Detections, Poses, Skeleton
from made_coco import make_coco, write_json


@pytest.fixture
def people(tmp_path: Path) -> KeypointDataset:
    """Three pictures of two people each."""
    make_coco(tmp_path / "data", pictures=3)
    return coco(tmp_path / "data")


def _exact(people: KeypointDataset, offset: float = 0.0) -> np.ndarray:
    """(N,K,3) the ground truth, moved to the right by `offset` px."""
    return np.concatenate([people.keypoints + [offset, 0], np.ones((*people.visible.shape, 1))], axis=2)


def _rows(people: KeypointDataset, **changes: Any) -> list[dict[str, Any]]:
    """The annotated boxes as a detector would write them."""
    boxes = np.concatenate([people.boxes[:, :2], people.boxes[:, 2:] - people.boxes[:, :2]], axis=1)
    return [
        {"image_id": int(image), "category_id": 1, "bbox": box, "score": 0.5 + row / 100, **changes}
        for row, (image, box) in enumerate(zip(people.image_ids[people.image_index], boxes.tolist(), strict=True))
    ]


def test_measures_hold_what_ap_is_made_of(people: KeypointDataset) -> None:
    keypoints = _exact(people) + np.random.default_rng(0).normal(0, 4, (6, 17, 3)) * [1, 1, 0]
    results = coco_results(people.image_ids[people.image_index], keypoints, np.ones(6), people.areas * 3)
    assert people.annotations is not None
    measures = coco_measures(people.annotations, results)
    assert measures.figures == coco_ap(people.annotations, results)
    assert measures.precision.shape == (10, 101)
    assert measures.precision.mean() == pytest.approx(measures.figures["AP"])
    assert measures.precision[0].mean() == pytest.approx(measures.figures["AP50"])
    assert measures.ap_by_size == {"small": -1, "medium": measures.figures["APM"], "large": measures.figures["APL"]}


def test_small_people_are_measured_too(tmp_path: Path) -> None:
    path = make_coco(tmp_path)
    content = json.loads(path.read_text())
    for annotation in content["annotations"][::2]:
        annotation["area"] = 1000.0
    people = coco(write_json(path, content))
    results = coco_results(people.image_ids[people.image_index], _exact(people), np.ones(8), people.areas * 3)
    small = coco_measures(path, results).ap_by_size["small"]
    assert small == pytest.approx(1)
    assert coco_measures(path, []).ap_by_size == {"small": 0, "medium": 0, "large": 0}


def test_pck_by_the_torso(people: KeypointDataset) -> None:
    shares = joint_shares(people, _exact(people, 1.0))
    assert (shares["scale"], shares["threshold"], shares["people"], shares["mean"]) == ("torso", 0.2, 6, 1.0)
    assert list(shares["per_joint"]) == list(coco17.keypoint_names)
    assert joint_shares(people, _exact(people, 300.0))["mean"] == 0
    unlabelled = np.array(people.visible)
    unlabelled[0, coco17.index("right_hip")] = 0
    assert joint_shares(evolve(people, visible=unlabelled), _exact(people))["people"] == 5


def test_pck_without_a_torso(tmp_path: Path) -> None:
    hand = Skeleton("hand", ["thumb", "index", "little"], [], [], [0.05] * 3)
    make_coco(tmp_path, skeleton=hand)
    people = coco(tmp_path)
    shares = joint_shares(people, _exact(people, 1.0))
    assert (shares["scale"], shares["threshold"], shares["people"]) == ("box diagonal", 0.05, 8)
    assert shares["per_joint"] == {"thumb": 1, "index": 1, "little": 1}


def test_detections_are_read_with_their_scores(people: KeypointDataset, tmp_path: Path) -> None:
    rows = _rows(people)
    rows[1]["category_id"] = 3
    rows[2]["bbox"][2] = 0
    found = read_detections(write_json(tmp_path / "boxes.json", rows), people)
    np.testing.assert_allclose(found.scores, [0.5, 0.53, 0.54, 0.55], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, people.boxes[[0, 3, 4, 5]])
    assert found.image_index.tolist() == [0, 1, 2, 2]
    assert len(read_detections(tmp_path / "boxes.json", people, threshold=0.535)) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], r"no boxes of category 1 in it \(categories: none\)"),
        (
            [{"image_id": 1, "category_id": 2, "bbox": [0, 0, 5, 5], "score": 1}],
            r"no boxes of category 1 in it \(categories: 2\)",
        ),
        (
            [{"image_id": 77, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 1}],
            "row 0, image_id: 77 is the id of no picture",
        ),
        (
            [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": -1}],
            "none of its 1 boxes has a score of 0 or more",
        ),
        (
            [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5], "score": 1}],
            "1 of 1 detections are faulty: row 0, bbox: .* is no list of 4 numbers",
        ),
        ([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]}], "row 0, score: is missing"),
        (["people"], "row 0, fields: 'people' is no object"),
        ({"annotations": []}, "wanted a list"),
        (None, "cannot be read"),
        ("[{", "damaged at line 1, column 3"),
    ],
)
def test_bad_detections(people: KeypointDataset, tmp_path: Path, content: Any, says: str) -> None:
    path = tmp_path / "boxes.json"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        write_json(path, content)
    with pytest.raises(DatasetError, match=says) as error:
        read_detections(path, people)
    assert str(path) in str(error.value)


class _Nobody:
    def detect(self, images: list[np.ndarray]) -> list[Detections]:
        return [Detections.empty() for _ in images]


class _Forgetful:
    def detect(self, images: list[np.ndarray]) -> list[Detections]:
        return []


def test_detectors(people: KeypointDataset) -> None:
    cpu = torch.device("cpu")
    found = detect_people(_Nobody(), people, device=cpu, progress=False)
    assert len(found) == 0
    with pytest.raises(PluginError, match="one Detections for each of 3 frames"):
        detect_people(_Forgetful(), people, device=cpu, progress=False)  # type: ignore[arg-type]
    model = create_pose_model("synthetic", input_size=(64, 64))
    nothing = evaluate(model, found, annotated=people, workers=0, progress=False)
    assert nothing.results == []
    assert set(nothing.metrics.values()) == {0.0}


def test_each_person_gets_one_box(people: KeypointDataset) -> None:
    ids = people.image_ids[people.image_index]
    boxes = np.concatenate([people.boxes[[4, 0, 0, 1]] + [[0], [20], [0], [90]], people.boxes[:1] + 300])
    found = people.with_boxes([*ids[[4, 0, 0, 1]], ids[4]], boxes, [0.1, 0.9, 0.5, 0.9, 0.9])
    rows, taken = match_boxes(people, found)
    # of two boxes on person 0 the one of higher score is taken; those beside people are not
    assert rows.tolist() == [0, 4]
    assert taken.tolist() == [1, 0]
    nobody = match_boxes(people, people.with_boxes([], [], []))
    assert [rows.tolist() for rows in nobody] == [[], []]


def test_boxes_are_counted(people: KeypointDataset) -> None:
    ids = people.image_ids[people.image_index]
    width = people.boxes[0, 2] - people.boxes[0, 0]
    right, double, invented = people.boxes[0], people.boxes[0] + [3, 0, 3, 0], people.boxes[4] + 1000
    beside = people.boxes[1] + [0, 0, 2 * (people.boxes[1, 2] - people.boxes[1, 0]), 0]
    assert width > 20
    found = people.with_boxes([ids[0], ids[0], ids[1], ids[4]], [right, double, beside, invented], [0.9, 0.8, 0.7, 0.6])
    assert count_boxes(people, found) == {"found": 1, "missed": 5, "twice": 1, "invented": 1, "inexact": 1}
    nobody = count_boxes(people, people.with_boxes([], [], []))
    assert nobody == {"found": 0, "missed": 6, "twice": 0, "invented": 0, "inexact": 0}
    # where nobody is annotated, each box is invented
    empty = evolve(people.select([]), annotations=None)
    assert count_boxes(empty, people) == {"found": 0, "missed": 0, "twice": 0, "invented": 6, "inexact": 0}


@pytest.mark.slow
def test_a_missing_area_is_that_of_the_box(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make_coco(tmp_path)
    content = json.loads(path.read_text())
    third = content["annotations"][2]
    del third["area"]
    people = coco(write_json(path, content))
    assert people.areas[2] == third["bbox"][2] * third["bbox"][3]
    assert "1 of 8 people have no area; those of their boxes are taken" in caplog.text
    assert (
        evaluate(create_pose_model("synthetic"), people, flip_test=False, workers=0, progress=False).metrics["AP"] > 0.5
    )


@pytest.mark.slow
def test_no_nan_is_reported(people: KeypointDataset, tmp_path: Path) -> None:
    evaluation = evaluate(create_pose_model("synthetic"), people, flip_test=False, workers=0, progress=False)
    evaluation.metrics["AP"] = evaluation.results[0]["score"] = float("nan")
    write_report(tmp_path, _subject(people, people), evaluation)
    assert json.loads((tmp_path / "report.json").read_text())["AP"] is None
    assert json.loads((tmp_path / "predictions.json").read_text())[0]["score"] is None
    assert "nan" not in (tmp_path / "report.md").read_text().lower()


def test_ids_of_a_report_may_be_texts(tmp_path: Path) -> None:
    path = make_coco(tmp_path, pictures=1)
    content = json.loads(path.read_text())
    content["images"][0]["id"] = "first"
    for one, name in zip(content["annotations"], ("left", "right"), strict=True):
        one.update(id=name, image_id="first")
    people = coco(write_json(path, content))
    evaluation = evaluate(create_pose_model("synthetic"), people, flip_test=False, workers=0, progress=False)
    report = write_report(tmp_path / "report", _subject(people, people), evaluation)
    assert {worst["id"] for worst in report["worst"]} == {"left", "right"}
    assert {row["image_id"] for row in evaluation.results} == {"first"}


def test_results_have_the_category_of_the_annotations(tmp_path: Path) -> None:
    path = make_coco(tmp_path, people=1)
    content = json.loads(path.read_text())
    content["categories"] = [{"id": 3, "name": "ball"}, {**content["categories"][0], "id": 9}]
    for annotation in content["annotations"]:
        annotation["category_id"] = 9
    people = coco(write_json(path, content))
    evaluation = evaluate(create_pose_model("synthetic"), people, flip_test=False, workers=0, progress=False)
    assert {row["category_id"] for row in evaluation.results} == {9}
    assert evaluation.metrics["AP"] > 0.5


@pytest.mark.slow
def test_ignored_people_stay_so_where_joints_are_remapped(tmp_path: Path) -> None:
    path = make_coco(tmp_path, pictures=3)
    content = json.loads(path.read_text())
    crowd, unlabelled, *_ = content["annotations"]
    crowd["iscrowd"] = 1
    unlabelled.update(keypoints=[0] * 51, num_keypoints=0)
    for annotation in content["annotations"]:
        annotation["keypoints"][:3] = [0, 0, 0]
    boxes = np.array([annotation["bbox"] for annotation in content["annotations"]])
    boxes[:, 2:] += boxes[:, :2]
    plain = coco(write_json(path, content))
    # the same people in another order of joints, and without noses
    content["categories"] = [{"id": 1, "name": "person", "keypoints": coco17.keypoint_names[:0:-1]}]
    for annotation in content["annotations"]:
        annotation["keypoints"] = np.reshape(annotation["keypoints"], (17, 3))[:0:-1].ravel().tolist()
    remapped = coco(write_json(tmp_path / "other.json", content)).with_skeleton(coco17)
    np.testing.assert_array_equal(remapped.keypoints, plain.keypoints)

    def measure(annotated: KeypointDataset) -> dict[str, float]:
        found = annotated.with_boxes([1, 1, 2, 2, 3, 3], boxes, np.ones(6))
        model = create_pose_model("synthetic")
        return evaluate(model, found, annotated=annotated, flip_test=False, workers=0, progress=False).metrics

    assert measure(remapped) == measure(plain)
    assert measure(plain)["AP"] > measure(evolve(remapped, ignored=()))["AP"] + 0.1


def _subject(people: KeypointDataset, boxed: KeypointDataset, **settings: Any) -> Subject:
    return Subject(
        model=create_pose_model("synthetic"),
        annotated=people,
        boxed=boxed,
        boxes_in_words="made ones",
        settings={"dataset": "made|up", "boxes": "gt", "flip_test": False, "weights": "none", **settings},
        seconds=2.0,
    )


@pytest.mark.slow
def test_what_a_report_holds(people: KeypointDataset, tmp_path: Path) -> None:
    subject = _subject(people, people)
    evaluation = evaluate(subject.model, people, decoder="dark", flip_test=False, workers=0, progress=False)
    before = people.keypoints.copy()
    content = write_report(tmp_path / "report", subject, evaluation)
    np.testing.assert_array_equal(people.keypoints, before)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        *("predictions.json", "report.json", "report.md", "curves.png", "worst.jpg")
    }
    assert json.loads((tmp_path / "report/report.json").read_text()) == content
    assert json.loads((tmp_path / "report/predictions.json").read_text()) == evaluation.results
    assert {name: content[name] for name in evaluation.metrics} == evaluation.metrics
    assert (content["people"], content["images"], content["box_count"], content["people_matched"]) == (6, 3, 6, 6)
    assert content["outside_network"] == pytest.approx(1 - evaluation.predictions.network_seconds / 2.0)
    assert [one["oks"] for one in content["worst"]] == sorted(one["oks"] for one in content["worst"])
    page = (tmp_path / "report/report.md").read_text()
    assert "| Arch | Input size | #Params | GFLOPs | AP | Ap .5 | AP .75 | AP (M) | AP (L) | AR |" in page
    assert "Boxes: made ones." in page
    assert all(f"| {one['id']} |" in page for one in content["worst"])
    assert "made\\|up" in page
    assert read_image(tmp_path / "report/curves.png").shape == (360, 960, 3)


def test_nobody_found_is_a_report_too(people: KeypointDataset, tmp_path: Path) -> None:
    found = people.with_boxes([], [], [])
    subject = _subject(people, found, boxes="synthetic")
    evaluation = evaluate(subject.model, found, annotated=people, workers=0, progress=False)
    (tmp_path / "worst.jpg").write_text("of an older report")
    content = write_report(tmp_path, subject, evaluation)
    assert (content["AP"], content["people_matched"], content["worst"]) == (0, 0, [])
    assert not (tmp_path / "worst.jpg").exists()
    assert "0 of 6 annotated people have a box" in (tmp_path / "report.md").read_text()


def test_a_network_that_finds_nobody_by_itself(people: KeypointDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model = create_pose_model("synthetic")
    monkeypatch.setattr(model, "needs_boxes", False)
    monkeypatch.setattr(model, "poses", lambda frames, **_: [Poses.empty(model.skeleton) for _ in frames])
    evaluation = evaluate(model, people, progress=False)
    assert (evaluation.metrics["AP"], evaluation.results, len(evaluation.boxed)) == (0, [], 0)


def test_folders(tmp_path: Path) -> None:
    check_folder(tmp_path / "new", overwrite=False)
    check_folder(tmp_path, overwrite=False)
    (tmp_path / "file").write_text("x")
    check_folder(tmp_path, overwrite=True)
    with pytest.raises(HrkitError, match="is not empty; pass --overwrite"):
        check_folder(tmp_path, overwrite=False)
    with pytest.raises(HrkitError, match="is a file"):
        check_folder(tmp_path / "file", overwrite=True)


def test_sheets_and_drawings_change_nothing() -> None:
    crop = np.full((64, 48, 3), 100, np.uint8)
    points, seen = np.random.default_rng(0).uniform(5, 40, (17, 2)), np.arange(17) % 2
    for draw in (draw_joints, draw_truth):
        drawn = draw(crop, points, seen, coco17)
        assert (drawn != 100).any()
        assert (draw(crop, points, np.zeros(17), coco17) == 100).all()
        draw(crop, points * 1e9, np.ones(17), coco17)
    assert (crop == 100).all()
    assert contact_sheet([crop] * 5, 3).shape == (2 * 68 + 4, 3 * 52 + 4, 3)
    assert contact_sheet([], 3).size > 0


def test_heatmaps_lie_where_their_joints_are() -> None:
    crop = np.zeros((64, 48, 3), np.uint8)
    maps = np.zeros((2, 16, 12), np.float32)
    maps[1, 5, 7] = 1
    overlay = heatmap_overlay(crop, maps, np.array([[4.0, 0, 0], [0, 4, 0]]))
    assert np.unravel_index(overlay.sum(2).argmax(), (64, 48)) == (20, 28)


def test_curves_stay_in_their_field() -> None:
    x = np.linspace(0, 1, 5)
    empty = plot("t", "x", [])
    wild = plot("t", "x", [Curve("a", x, 100 * x - 50, dots=True)])
    inside = np.s_[32:317, 47:466]
    assert (wild[inside] != empty[inside]).any()
    wild[inside] = empty[inside]
    np.testing.assert_array_equal(wild, empty)
