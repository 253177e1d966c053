"""The values that flow through hrkit: checked when built, indexed by row, converted out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from attrs import evolve
from attrs.exceptions import FrozenInstanceError
from numpy.typing import NDArray

from hrkit.drawing.annotators import BoxAnnotator, SkeletonAnnotator
from hrkit.errors import BoxError, HrkitError
from hrkit.images import read_image
from hrkit.skeletons import coco17
from hrkit.structures import Crops, Detections, Poses, Skeleton, best

BOXES = np.array([[0, 0, 10, 20], [5, 5, 6, 7], [1, 2, 3, 5]], np.float32)
HANDS = ("left_hand", "right_hand")
ARM = Skeleton("arm", (*HANDS, "chest"), [("left_hand", "chest")], [HANDS], [0.1] * 3)


def detections() -> Detections:
    return Detections(BOXES, [0.9, 0.5, 0.25], [0, 0, 1])


def poses(**fields: Any) -> Poses:
    keypoints = np.arange(18).reshape(3, 3, 2)
    return Poses(keypoints, np.full((3, 3), 0.5), detections(), ARM, **fields)


# detections


def test_fields_get_their_types() -> None:
    found = Detections(BOXES.tolist(), (1, 0.5, 0), [0.0, 0.0, 0.0])
    assert [array.dtype for array in (found.xyxy, found.scores, found.class_ids)] == [np.float32, np.float32, np.int64]
    assert found.areas.tolist() == [200, 2, 6]
    assert len(found) == 3


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0, 0, np.nan, 1]], "row 0 is not finite"),
        ([[0, 0, 1, 1], [0, 0, np.inf, 1]], "row 1 is not finite"),
        ([[0, 0, 1, 1], [5, 0, 4, 1]], "row 1 is inverted"),
        ([[0, 5, 1, 4]], "row 0 is inverted"),
        ([0, 0, 1, 1], r"shape \(N, 4\)"),
        ([[0, 0, 1]], r"shape \(N, 4\)"),
        ([[[0, 0, 1, 1]]], r"shape \(N, 4\)"),
    ],
)
def test_boxes_are_checked(boxes: Any, message: str) -> None:
    with pytest.raises(BoxError, match=message):
        Detections.from_boxes(boxes)
    with pytest.raises(BoxError, match=message):
        Detections(boxes, np.ones(len(boxes)), np.zeros(len(boxes)))


@pytest.mark.parametrize(
    "boxes", ["all", [["a", "b", "c", "d"]], {"box": 1}, object(), [[0, 0, 1], [0, 0, 1, 1]], [[0, 0, 1, 10**400]]]
)
def test_what_is_no_box_at_all(boxes: Any) -> None:
    with pytest.raises(BoxError, match="must be numbers"):
        Detections.from_boxes(boxes)


def test_boxes_with_scores_are_sorted_best_first() -> None:
    found = Detections.from_boxes(BOXES, torch.tensor([0.2, 0.9, 0.2]))
    np.testing.assert_array_equal(found.xyxy, BOXES[[1, 0, 2]])
    np.testing.assert_array_equal(found.scores, np.float32([0.9, 0.2, 0.2]))
    assert len(Detections.from_boxes([], [])) == 0
    with pytest.raises(BoxError, match=r"scores have shape \(2,\), wanted \(3,\)"):
        Detections.from_boxes(BOXES, [0.1, 0.2])
    with pytest.raises(BoxError, match="scores must be numbers"):
        Detections.from_boxes(BOXES, ["a"] * 3)


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_float32_are_not_finite() -> None:
    with pytest.raises(BoxError, match="not finite"):
        Detections.from_boxes([[0, 0, 1e300, 1]])


@pytest.mark.parametrize("boxes", [[], (), np.zeros((0, 4)), torch.zeros(0, 4)])
def test_no_boxes_are_nobody(boxes: Any) -> None:
    assert Detections.from_boxes(boxes).xyxy.shape == (0, 4)


@pytest.mark.parametrize("boxes", [BOXES, BOXES.tolist(), torch.from_numpy(BOXES).requires_grad_()])
def test_boxes_of_every_kind(boxes: Any) -> None:
    found = Detections.from_boxes(boxes)
    np.testing.assert_array_equal(found.xyxy, BOXES)
    assert found.scores.tolist() == [1, 1, 1]
    assert found.class_ids.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("scores", "class_ids"), [([1, 1], [0, 0, 0]), ([1, 1, 1], [0]), ([[1, 1, 1]], [0, 0, 0])])
def test_fields_of_unequal_length(scores: Any, class_ids: Any) -> None:
    with pytest.raises(ValueError, match=r"has shape .*, wanted \(3\)"):
        Detections(BOXES, scores, class_ids)


def test_detections_as_values() -> None:
    found = detections()
    assert repr(found) == "Detections(3: scores [0.90, 0.50, 0.25])"
    assert repr(Detections.empty()) == "Detections(0: scores [])"
    assert found.to_dict()[2] == {"box": [1, 2, 3, 5], "score": 0.25, "class_id": 1}
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    with pytest.raises(FrozenInstanceError):
        found.xyxy = BOXES  # type: ignore[misc]


# indexing


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (0, [0]),
        (-1, [2]),
        (np.int64(1), [1]),
        (slice(1, None), [1, 2]),
        (slice(0), []),
        ([2, 0], [2, 0]),
        ((2, 0), [2, 0]),
        ([], []),
        ((), []),
        ([True, False, True], [0, 2]),
        (np.array([2, 2]), [2, 2]),
        (np.array([False, True, False]), [1]),
        (np.zeros(3, bool), []),
        (np.zeros(0, int), []),
    ],
)
def test_rows(index: Any, rows: list[int]) -> None:
    scores = np.array([0.1, 0.2, 0.3], np.float32)
    whole = poses(track_ids=[4, 5, 6], heatmaps=np.arange(3 * 3 * 4).reshape(3, 3, 2, 2), own_scores=scores)
    part = whole[index]
    np.testing.assert_array_equal(part.keypoints, whole.keypoints[rows])
    np.testing.assert_array_equal(part.detections.xyxy, BOXES[rows])
    assert part.track_ids is not None
    assert part.track_ids.tolist() == [[4, 5, 6][row] for row in rows]
    assert part.heatmaps is not None
    assert part.heatmaps.shape == (len(rows), 3, 2, 2)
    np.testing.assert_array_equal(part.scores, scores[rows])
    crops = Crops(torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 3, 4, 4), np.zeros((3, 2, 3)))
    assert crops[index].images[:, 0, 0, 0].tolist() == rows
    assert len(crops[index]) == len(rows)


@pytest.mark.parametrize("index", [3, -4, [0, 3], np.zeros(2, bool)])
def test_rows_that_are_not_there(index: Any) -> None:
    for value in (detections(), poses()):
        with pytest.raises(IndexError):
            value[index]


def test_people_one_by_one() -> None:
    assert [len(person) for person in poses()] == [1, 1, 1]
    assert [person.detections.areas.tolist() for person in poses()] == [[200], [2], [6]]
    assert list(Poses.empty(coco17)) == []


def test_by_a_condition() -> None:
    people = poses()
    assert people[people.detections.scores > 0.4].scores.tolist() == pytest.approx([0.45, 0.25])


# crops and skeletons


def test_crops_are_checked() -> None:
    with pytest.raises(ValueError, match=r"to_frame has shape \(2, 2, 3\), wanted \(3, 2, 3\)"):
        Crops(torch.zeros(3, 3, 4, 4), np.zeros((2, 2, 3)))
    assert repr(Crops(torch.zeros(3, 3, 4, 5), np.zeros((3, 2, 3)))) == "Crops(3, 3, 4, 5)"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keypoint_names": ("a", "a")}, "a keypoint name twice"),
        ({"edges": [("a", "c")]}, "unknown keypoint 'c'"),
        ({"flip_pairs": [("d", "b")]}, "unknown keypoint 'd'"),
        ({"sigmas": [0.1]}, r"sigmas has shape \(1,\), wanted \(2\)"),
        ({"sigmas": [0.1, 10**400]}, "a number is too large"),
    ],
)
def test_skeletons_are_checked(fields: dict[str, Any], message: str) -> None:
    whole = {"name": "s", "keypoint_names": ("a", "b"), "edges": [], "flip_pairs": [], "sigmas": [0.1, 0.1]}
    with pytest.raises(ValueError, match=message):
        Skeleton(**{**whole, **fields})


def test_skeleton() -> None:
    assert len(ARM) == 3
    assert ARM.index("chest") == 2
    assert ARM.edge_indices.tolist() == [[0, 2]]
    assert ARM.flip_indices.tolist() == [1, 0, 2]
    assert Skeleton("arm", list(ARM.keypoint_names), ARM.edges, ARM.flip_pairs, [0.2] * 3) == ARM
    bare = Skeleton("bare", ("a", "b"), (), (), [0.1, 0.1])
    assert bare.edge_indices.shape == (0, 2)
    assert bare.flip_indices.tolist() == [0, 1]


# poses


@pytest.mark.parametrize(
    "fields",
    [
        {"keypoints": np.zeros((2, 3, 2))},
        {"keypoints": np.zeros((3, 17, 2))},
        {"keypoints": np.zeros((3, 3, 3))},
        {"keypoint_scores": np.zeros((3, 2))},
        {"track_ids": [1, 2]},
        {"heatmaps": np.zeros((3, 2, 4, 4))},
        {"heatmaps": np.zeros((3, 3, 4))},
        {"own_scores": np.zeros(2)},
        {"skeleton": coco17},
        {"detections": Detections.empty()},
    ],
)
def test_poses_are_checked(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has shape"):
        poses().replace(**fields)


def test_replace_leaves_the_original() -> None:
    before = poses()
    after = before.replace(track_ids=[7, 8, 9])
    assert before.track_ids is None
    assert [person["id"] for person in after.to_dict()] == [7, 8, 9]


def test_scores_are_box_times_mean_joint() -> None:
    assert poses().scores.tolist() == pytest.approx([0.45, 0.25, 0.125])


def cells(value: Poses | Detections) -> list[list[str]]:
    """What a notebook shows, row by row; fails for what is no XML."""
    shown = ElementTree.fromstring(f"<div>{value._repr_html_()}</div>")
    return [[cell.text or "" for cell in row] for row in shown.iter("tr")]


def test_the_best() -> None:
    found = detections()[[2, 0, 1]]
    assert best(found, 2).scores.tolist() == [np.float32(0.9), 0.5]
    assert best(found, 3) is best(found, None) is found
    sure = poses(own_scores=[0.1, 0.3, 0.2])
    assert best(sure, 2).scores.tolist() == [np.float32(0.3), np.float32(0.2)]


def test_notebooks_show_tables() -> None:
    heads, *rows = cells(poses().replace(track_ids=[7, 8, 9]))
    assert heads == ["id", "score", "of the box", "of the keypoints", "x1", "y1", "x2", "y2"]
    assert [row[0] for row in rows] == ["7", "8", "9"]
    assert [row[1] for row in rows] == ["0.45", "0.25", "0.12"]
    assert [float(side) for side in rows[0][4:]] == poses().detections.xyxy[0].tolist()
    assert [row[0] for row in cells(poses())[1:]] == [""] * 3
    assert [row[:2] for row in cells(detections())[1:]] == [["0.90", "0"], ["0.50", "0"], ["0.25", "1"]]
    assert len(cells(Poses.empty(ARM))) == len(cells(Detections.empty())) == 1
    many = poses()[[0] * 50]
    assert len(cells(many)) == 21
    assert many._repr_html_().endswith("<p>and 30 more</p>")
    named = evolve(ARM, name="<script>")
    assert "<script>" not in poses().replace(skeleton=named)._repr_html_()


def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def test_poses_know_their_picture(tmp_path: Path) -> None:
    found = poses(image=picture())
    drawn = found.plot(boxes=False)
    np.testing.assert_array_equal(drawn, SkeletonAnnotator()(picture(), found))
    np.testing.assert_array_equal(found[1:].plot(), poses()[1:].plot(picture()))
    found.save(tmp_path / "drawn.png", color_by="person")
    np.testing.assert_array_equal(read_image(tmp_path / "drawn.png"), found.plot(color_by="person"))
    assert "<img src=" in found._repr_html_()
    assert cells(found) == cells(poses())
    gone = poses(image=str(tmp_path / "gone.png"))
    assert gone._repr_html_() == poses()._repr_html_()
    for call in (poses().plot, poses().show, poses().crops, lambda: poses().save("x.png")):
        with pytest.raises(HrkitError, match=r"pass it, as in poses\.plot\(frame\)"):
            call()
    with pytest.raises(HrkitError, match=r"gone\.png: no such file"):
        gone.plot()


def test_poses_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("PIL.ImageShow.show", lambda image, title: seen.append(image) or len(seen) == 1)
    poses().show(picture())
    np.testing.assert_array_equal(np.asarray(seen[0])[:, :, ::-1], poses().plot(picture()))
    with pytest.raises(HrkitError, match="no program here shows pictures"):
        poses().show(picture())


def test_people_are_cut_out() -> None:
    first, second, third = poses(image=picture()).crops()
    np.testing.assert_array_equal(first, picture()[0:20, 0:10])
    assert (second.shape, third.shape) == ((2, 1, 3), (3, 2, 3))
    assert poses(image=picture())[0].crops(margin=0.5)[0].shape == (30, 15, 3)
    outside = poses()[0].replace(detections=Detections.from_boxes([[90, 90, 99, 99]]))
    assert outside.crops(picture())[0].size == 0


def test_angles() -> None:
    hands = ([[0, 10], [10, 0]], [[0, 10], [0, -3]], [[0, 0], [5, 5]], [[0, 10], [np.nan, 0]])
    keypoints, boxes = [[*pair, [0, 0]] for pair in hands], Detections.from_boxes([[0, 0, 9, 9]] * 4)
    four = Poses(keypoints, np.full((4, 3), 0.5), boxes, ARM)
    wanted = [90, 180, np.nan, np.nan]
    np.testing.assert_allclose(four.angles("left_hand", "chest", "right_hand"), wanted)
    assert np.isnan(four.angles("left_hand", "chest", "right_hand", threshold=0.6)).all()
    assert Poses.empty(ARM).angles("left_hand", "chest", "right_hand").shape == (0,)
    with pytest.raises(HrkitError, match="did you mean left_hand"):
        four.angles("left_hant", "chest", "right_hand")


def test_repr_is_short() -> None:
    assert repr(poses()) == "Poses(3 people, arm: scores [0.45, 0.25, 0.12])"
    assert repr(poses()[0]) == "Poses(1 person, arm: scores [0.45])"
    assert repr(poses()[[0] * 9]).endswith("0.45, ...])")


def test_to_dict() -> None:
    person = poses().to_dict()[1]
    assert person == {
        "id": None,
        "score": 0.25,
        "box": [5, 5, 6, 7],
        "box_score": 0.5,
        "keypoints": {"left_hand": [6, 7, 0.5], "right_hand": [8, 9, 0.5], "chest": [10, 11, 0.5]},
    }
    assert json.loads(json.dumps(person)) == person


def test_to_coco() -> None:
    result = poses().to_coco(42, category_id=3)[0]
    assert (result["image_id"], result["category_id"]) == (42, 3)
    assert result["keypoints"] == [0, 1, 0.5, 2, 3, 0.5, 4, 5, 0.5]
    assert result["score"] == pytest.approx(0.45)
    assert json.loads(json.dumps(result)) == result


def test_to_dataframe() -> None:
    pytest.importorskip("pandas")
    frame = poses(track_ids=[4, 5, 6]).to_dataframe()
    assert " ".join(frame.columns[:9]) == "id score x1 y1 x2 y2 left_hand_x left_hand_y left_hand_score"
    assert frame.shape == (3, 15)
    assert frame.id.tolist() == [4, 5, 6]
    assert frame.chest_y.tolist() == [5, 11, 17]
    assert poses().to_dataframe().id.isna().all()


def test_a_dataframe_says_where_people_were_seen() -> None:
    pytest.importorskip("pandas")
    one = poses(image=Path("a.jpg")).to_dataframe()
    assert one.columns[:2].tolist() == ["image", "id"]
    assert one.image.tolist() == ["a.jpg"] * 3
    frame = poses(time=0.5, frame_index=12)[:2].to_dataframe()
    assert frame[["frame", "time"]].to_numpy().tolist() == [[12, 0.5]] * 2
    assert "image" not in poses(image=picture()).to_dataframe()
    assert len(Poses.empty(ARM).replace(time=1.0).to_dataframe()) == 0


def test_a_dataframe_keeps_ids_whole() -> None:
    pandas = pytest.importorskip("pandas")
    frame = poses(track_ids=[4, -1, 6]).to_dataframe()
    assert str(frame.id.dtype) == "Int64"
    assert [None if one is pandas.NA else one for one in frame.id] == [4, None, 6]
    assert str(poses().to_dataframe().id.dtype) == "Int64"


@pytest.mark.parametrize("call", ["to_dataframe", "to_supervision"])
def test_a_package_that_is_not_installed_is_named(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pandas", "supervision"):
        monkeypatch.setitem(sys.modules, name, None)
    for found in (poses(), poses().detections):
        with pytest.raises(HrkitError, match=rf"{call} needs (pandas|supervision): pip install"):
            getattr(found, call)()


def test_to_supervision() -> None:
    supervision = pytest.importorskip("supervision")
    boxes = detections().to_supervision()
    assert boxes.confidence.tolist() == pytest.approx([0.9, 0.5, 0.25])
    keypoints = poses().keypoints.copy()
    keypoints[1, 0, 0] = np.nan
    given = poses(track_ids=[4, 5, -1]).replace(keypoints=keypoints)
    points = given.to_supervision()
    assert points.xy.shape == (3, 3, 2)
    assert points.class_id.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(points.keypoint_confidence, given.keypoint_scores)
    np.testing.assert_array_equal(points.detection_confidence, given.detections.scores)
    assert points.data["tracker_id"].tolist() == [4, 5, -1]
    np.testing.assert_array_equal(points.data["xyxy"], given.detections.xyxy)
    assert points.visible.tolist() == [[True] * 3, [False, True, True], [True] * 3]
    assert points[points.detection_confidence > 0.3].data["tracker_id"].tolist() == [4, 5]
    drawn = supervision.VertexAnnotator(radius=1).annotate(np.zeros((99, 99, 3), np.uint8), points)
    assert drawn.any()
    found = points.as_detections()
    np.testing.assert_array_equal(found.confidence, given.detections.scores)
    assert found.xyxy[0].tolist() == [*given.keypoints[0].min(0), *given.keypoints[0].max(0)]
    assert len(Poses.empty(coco17).to_supervision()) == 0


def test_nobody() -> None:
    people = Poses.empty(coco17, (64, 48))
    assert len(people) == 0
    assert not people
    assert people.heatmaps is not None
    assert (people.keypoints.shape, people.heatmaps.shape) == ((0, 17, 2), (0, 17, 64, 48))
    assert Poses.empty(coco17).heatmaps is None
    assert repr(people) == "Poses(0 people, coco17: scores [])"
    assert (people.to_dict(), people.to_coco(1), people.detections.to_dict()) == ([], [], [])
    assert people.scores.shape == (0,)
    assert len(people[people.scores > 0.5]) == 0


def test_nobody_as_a_dataframe() -> None:
    pytest.importorskip("pandas")
    assert Poses.empty(coco17).to_dataframe().shape == (0, 6 + 3 * 17)
    assert list(Poses.empty(coco17).to_dataframe().columns[:3]) == ["id", "score", "x1"]


@pytest.mark.parametrize("annotate", [BoxAnnotator(), SkeletonAnnotator()])
def test_nobody_is_drawn(annotate: Any) -> None:
    frame = np.full((9, 9, 3), 7, np.uint8)
    drawn = annotate(frame, Poses.empty(coco17))
    assert drawn is not frame
    np.testing.assert_array_equal(drawn, frame)


def test_errors_are_hrkits() -> None:
    with pytest.raises(HrkitError):
        Detections.from_boxes([[1, 1, 0, 0]])
