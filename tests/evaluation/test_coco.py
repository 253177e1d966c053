"""COCO's result rows and figures: equal to the official code and to pycocotools."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hrkit.errors import HrkitError
from hrkit.evaluation import coco
from hrkit.skeletons import coco17


def _predictions(seed: int = 0, n: int = 40, joints: int = 17) -> tuple[np.ndarray, ...]:
    """Ids, keypoints, box scores and areas of `n` people in few images, some of them doubles, scores often equal."""
    random = np.random.default_rng(seed)
    where = random.integers(0, 3, n)
    poses = np.random.default_rng(9).uniform(0, 200, (3, joints, 2))[where] + random.normal(0, 3, (n, joints, 2))
    scores = random.choice([0.1, 0.2, 0.6, 0.9], (n, joints, 1))
    keypoints = np.concatenate([poses, scores], axis=2)
    return random.choice([7, 3, 11], n), keypoints, random.choice([0.5, 1.0], n), random.uniform(5e3, 2e4, n)


def _annotations(joints: int = 17, first_id: int = 1) -> dict:
    """Three people in each of images 3, 7, 11 (12 is empty), of all sizes, one of them without labels."""
    random = np.random.default_rng(9)
    poses = random.uniform(0, 200, (3, joints, 2))
    people = []
    for image in (3, 7, 11):
        for person, points in enumerate(poses):
            visible = random.integers(0, 3, joints) if person or image == 3 else np.zeros(joints, int)
            people.append(
                {
                    "id": first_id + len(people),
                    "image_id": image,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [0.0, 0.0, 200.0, 200.0],
                    "area": (900.0, 5000.0, 20000.0)[person],
                    "num_keypoints": int((visible > 0).sum()),
                    "keypoints": np.concatenate([points, visible[:, None]], axis=1).ravel().tolist(),
                }
            )
    return {
        "images": [{"id": image} for image in (3, 7, 11, 12)],
        "annotations": people,
        "categories": [{"id": 1, "name": "person"}],
    }


def _pycocotools(annotations: dict, results: list[dict], sigmas: np.ndarray | None = None) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(annotations)
        truth.createIndex()
        measured = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "keypoints")
        if sigmas is not None:
            measured.params.kpt_oks_sigmas = sigmas
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    return measured.stats.tolist()


@pytest.mark.slow
@pytest.mark.needs_shared
@pytest.mark.parametrize(("nms", "prefix"), [("oks", ""), ("soft-oks", "soft_")])
def test_official_evaluation(shared: Path, tmp_path: Path, nms: str, prefix: str) -> None:
    data = np.load(shared / "reference" / "coco_evaluation_val.npz")
    annotations = shared / "data" / "coco_val" / "person_keypoints_val.json"
    inputs = [data[name].copy() for name in ("image_ids", "keypoints", "box_scores", "areas")]
    results = coco.coco_results(*inputs, nms=nms)
    for name, values in zip(("image_ids", "keypoints", "box_scores", "areas"), inputs, strict=True):
        np.testing.assert_array_equal(values, data[name])
    assert len(results) == data[f"{prefix}kept"]
    figures = coco.coco_ap(annotations, results)
    assert list(figures) == list(coco.FIGURES)
    np.testing.assert_allclose(list(figures.values()), data[f"{prefix}stats"], rtol=0, atol=1e-12)
    content = json.loads(annotations.read_text())
    assert list(figures.values()) == _pycocotools(content, results)
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert coco.coco_ap(content, tmp_path / "results.json") == figures


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), n=st.integers(0, 30), nms=st.sampled_from(["oks", "soft-oks", None]))
@settings(deadline=None, max_examples=30)
def test_figures_are_those_of_pycocotools(seed: int, n: int, nms: str) -> None:
    annotations, results = _annotations(), coco.coco_results(*_predictions(seed, n), nms=nms)
    before = copy.deepcopy((annotations, results))
    figures = coco.coco_ap(annotations, results)
    assert (annotations, results) == before
    assert list(figures.values()) == (_pycocotools(annotations, results) if results else [0.0] * 10)


def test_rescoring() -> None:
    keypoint_scores = np.array([[0.2, 0.4, 0.8], [0.2, 0.1, 0.0], [0.3, 0.3, 0.3]])
    np.testing.assert_allclose(coco.rescore([0.5, 1, 1], keypoint_scores), [0.3, 0, 0.3])
    np.testing.assert_allclose(coco.rescore([1, 1, 1], keypoint_scores, threshold=0.35), [0.6, 0, 0])
    assert coco.rescore([], np.zeros((0, 3))).shape == (0,)


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), nms=st.sampled_from(["oks", "soft-oks"]))
@settings(deadline=None, max_examples=40)
def test_images_do_not_meet_and_keep_their_order(seed: int, n: int, nms: str) -> None:
    ids, *rest = _predictions(seed, n)
    results = coco.coco_results(ids, *rest, nms=nms, nms_threshold=0.5)
    order = list(dict.fromkeys(ids.tolist()))
    one_by_one = []
    for image in order:
        here = [values[ids == image] for values in (ids, *rest)]
        one_by_one += coco.coco_results(*here, nms=nms, nms_threshold=0.5)
    assert results == one_by_one
    everyone = coco.coco_results(ids, *rest, nms=None)
    assert len(everyone) == n
    assert [row["image_id"] for row in everyone] == sorted(ids.tolist(), key=order.index)
    assert all(row in everyone for row in results)
    if nms == "oks":
        scores = [(row["image_id"], row["score"]) for row in results]
        assert scores == sorted(scores, key=lambda row: (order.index(row[0]), -row[1]))


def test_rows_are_plain_and_ready_for_json() -> None:
    row = coco.coco_results(*(a[:1] for a in _predictions()), category_id=4)[0]
    assert json.loads(json.dumps(row)) == row
    assert set(row) == {"image_id", "category_id", "keypoints", "score"}
    assert row["category_id"] == 4
    assert len(row["keypoints"]) == 51


def test_nobody_is_an_empty_list() -> None:
    assert coco.coco_results([], np.zeros((0, 17, 3)), [], []) == []
    assert coco.coco_results([], [], [], [], nms=None) == []
    assert coco.coco_ap(_annotations(), []) == dict.fromkeys(coco.FIGURES, 0.0)


def test_a_skeleton_of_ones_own() -> None:
    sigmas = np.array([0.05, 0.1, 0.02, 0.08])
    annotations = _annotations(joints=4)
    predictions = _predictions(joints=4)
    results = coco.coco_results(*predictions, sigmas=sigmas)
    assert len(results) < len(predictions[0])
    figures = coco.coco_ap(annotations, results, sigmas=sigmas)
    assert list(figures.values()) == _pycocotools(annotations, results, sigmas)
    assert figures["AP"] > 0
    for call in (
        lambda: coco.coco_results(*predictions),
        lambda: coco.coco_ap(annotations, results),
        lambda: coco.coco_ap(annotations, results, sigmas=coco17.sigmas),
    ):
        with pytest.raises(HrkitError, match="4 keypoints, but 17 sigmas"):
            call()
    assert len(coco.coco_results(*predictions, nms=None)) == len(predictions[0])


def test_what_annotations_may_leave_out() -> None:
    results = coco.coco_results(*_predictions())
    figures = coco.coco_ap(_annotations(), results)
    assert coco.coco_ap(_annotations(first_id=0), results) == figures
    bare = _annotations()
    for person in bare["annotations"]:
        del person["iscrowd"], person["num_keypoints"]
    assert coco.coco_ap(bare, results) == figures
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = COCO()
        loaded.dataset = _annotations()
        loaded.createIndex()
    assert coco.coco_ap(loaded, results) == figures


def test_nobody_of_a_size(capsys: pytest.CaptureFixture[str]) -> None:
    annotations = _annotations()
    annotations["annotations"] = [person for person in annotations["annotations"] if person["area"] > 10000]
    figures = coco.coco_ap(annotations, coco.coco_results(*_predictions()))
    assert figures["APM"] == figures["ARM"] == -1
    assert figures["APL"] > 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_ids": [1, 2]}, r"image_ids has shape \(2,\), wanted \(40,\)"),
        ({"keypoints": np.zeros((40, 17, 2))}, r"wanted \(N, K, 3\)"),
        ({"areas": np.full(40, np.nan)}, "40 of 40 people have numbers that are not finite, first row 0"),
        ({"nms": "box"}, "unknown nms 'box'; choices: 'oks', 'soft-oks', None"),
    ],
)
def test_predictions_that_are_none(change: dict, message: str) -> None:
    arguments = dict(zip(("image_ids", "keypoints", "box_scores", "areas"), _predictions(), strict=True))
    with pytest.raises(HrkitError, match=message):
        coco.coco_results(**{**arguments, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "results: 1 of 3 rows are faulty: row 1, image_id: 99 is the id of no picture"),
        ({"category_id": 2}, "row 1, category_id: 2 is no known category"),
        ({"keypoints": [0.0] * 12}, "row 1, keypoints: has 12 numbers, not 3 for each of 17 joints"),
        ({"keypoints": [np.nan] * 51}, "row 1, keypoints: .* has a value that is not"),
        ({"score": float("nan")}, "row 1, score: is NaN"),
        (None, "row 1, score: is missing"),
    ],
)
def test_results_that_do_not_fit(change: dict | None, message: str) -> None:
    results = coco.coco_results(*(a[:3] for a in _predictions()), nms=None)
    results[1].update(change or {})
    if change is None:
        del results[1]["score"]
    with pytest.raises(HrkitError, match=message) as raised:
        coco.coco_ap(_annotations(), results)
    assert "\n" not in str(raised.value)


def test_annotations_that_lack_something(caplog: pytest.LogCaptureFixture) -> None:
    results = coco.coco_results(*_predictions())
    labelled = 4
    without_box, unlabelled, filled = (_annotations() for _ in range(3))
    del without_box["annotations"][labelled]["bbox"]
    with pytest.raises(HrkitError, match="1 of 9 annotations are faulty: id 5, bbox: is missing, though joints are"):
        coco.coco_ap(without_box, [])
    unlabelled["annotations"][labelled].update(keypoints=[0] * 51, num_keypoints=0)
    expected = coco.coco_ap(unlabelled, results)
    del unlabelled["annotations"][labelled]["keypoints"]
    assert coco.coco_ap(unlabelled, results) == expected != coco.coco_ap(_annotations(), results)
    filled["annotations"][labelled]["area"] = 200.0 * 200.0
    for area in (None, 0, float("nan")):
        lacking = _annotations()
        lacking["annotations"][labelled]["area"] = area
        caplog.clear()
        assert coco.coco_ap(lacking, results) == coco.coco_ap(filled, results)
        assert caplog.messages == ["annotations: 1 of 7 people have no area; those of their boxes are taken"]


def test_joints_are_counted_whatever_the_file_says() -> None:
    results, wrong = coco.coco_results(*_predictions()), _annotations()
    for person in wrong["annotations"]:
        person["num_keypoints"] = 0
    assert coco.coco_ap(wrong, results) == coco.coco_ap(_annotations(), results)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(HrkitError, match=r"gone\.json: cannot be read"):
        coco.coco_ap(tmp_path / "gone.json", [])
    (tmp_path / "half.json").write_text('{"images": [')
    with pytest.raises(HrkitError, match=r"half\.json: damaged at line 1"):
        coco.coco_ap(_annotations(), tmp_path / "half.json")
    with pytest.raises(HrkitError, match="no list 'annotations'; wanted the lists"):
        coco.coco_ap({"images": []}, [])
    with pytest.raises(HrkitError, match="must be a list"):
        coco.coco_ap(_annotations(), {"image_id": 1})
    uneven = _annotations()
    uneven["annotations"][0]["keypoints"] = [0] * 12
    with pytest.raises(HrkitError, match="id 1, keypoints: has 12 numbers, not 3 for each of 17 joints"):
        coco.coco_ap(uneven, [])
