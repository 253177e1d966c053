"""What people give to a pipeline: boxes and pictures of every kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from numpy.typing import NDArray

from hrkit import Detections, Pipeline, create_pose_model
from hrkit.drawing.annotators import BoxAnnotator, SkeletonAnnotator
from hrkit.errors import BoxError, ImageError, PluginError
from hrkit.geometry import MAX_SIDE
from hrkit.images import write_image
from hrkit.synthetic import paint_people
from painted import TWO_PEOPLE, nobody, one_person, person, two_people
from synthetic_pipelines import TOLERANCE, assert_same, boxes_of, pipeline


@pytest.fixture(scope="module")
def people() -> Pipeline:
    return pipeline()


# boxes


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0, 0, float("nan"), 10]], "row 0 is not finite"),
        ([[0, 0, 10, 10], [0, 0, float("inf"), 10]], "row 1 is not finite"),
        ([[0, 0, None, 10]], "row 0 is not finite"),
        ([[10, 0, 0, 10]], "row 0 is inverted"),
        ([[0, 10, 10, 0]], "row 0 is inverted"),
        ([[0, 0, 10, 10], [5, 5, 5, 9]], "row 1 has no area"),
        ([[5, 5, 9, 5]], "row 0 has no area"),
        ([[5, 5, 5, 5]], "row 0 has no area"),
        (Detections.from_boxes([[5, 5, 5, 9]]), "row 0 has no area"),
        ([0, 0, 10, 10], r"shape \(N, 4\)"),
        ([[0, 0, 10]], r"shape \(N, 4\)"),
        ([[[0, 0, 10, 10]]], r"shape \(N, 4\)"),
        ("whole", "must be numbers"),
    ],
)
def test_bad_boxes(people: Pipeline, boxes: Any, message: str) -> None:
    with pytest.raises(BoxError, match=message):
        people.predict(nobody(), boxes)


@pytest.mark.parametrize("kind", ["array", "list", "float64", "tensor", "detections"])
def test_boxes_of_every_kind(people: Pipeline, kind: str) -> None:
    given = boxes_of(TWO_PEOPLE)
    boxes: Any = {
        "array": given,
        "list": given.tolist(),
        "float64": given.astype(np.float64),
        "tensor": torch.from_numpy(given),
        "detections": Detections(given, [0.9, 0.5], [0, 0]),
    }[kind]
    poses = people.predict(two_people(), boxes)
    np.testing.assert_allclose(poses.keypoints, TWO_PEOPLE, atol=TOLERANCE)
    np.testing.assert_array_equal(poses.detections.xyxy, given)
    assert poses.detections.scores.tolist() == pytest.approx([0.9, 0.5] if kind == "detections" else [1, 1])


def test_boxes_keep_their_order(people: Pipeline) -> None:
    poses = people.predict(two_people(), boxes_of(TWO_PEOPLE)[::-1])
    np.testing.assert_allclose(poses.keypoints, TWO_PEOPLE[::-1], atol=TOLERANCE)


@pytest.mark.parametrize(("left", "top"), [(-20, 60), (280, 60), (100, -30), (100, 170), (-20, -30), (280, 170)])
def test_people_who_reach_outside(people: Pipeline, left: float, top: float) -> None:
    """What can be seen of them is where it is; the box is taken as it is given."""
    keypoints = person(left, top)[None]
    boxes = boxes_of(keypoints)
    poses = people.predict(paint_people((240, 320), keypoints, 4), boxes)
    inside = ((keypoints > 6) & (keypoints < np.array([320, 240]) - 6)).all(2)
    assert inside.sum() >= 4
    np.testing.assert_allclose(poses.keypoints[inside], keypoints[inside], atol=TOLERANCE)
    np.testing.assert_array_equal(poses.detections.xyxy, boxes)


@pytest.mark.parametrize("box", [[-500, -500, -400, -300], [900, 0, 1000, 200], [0, 9000, 9, 9009], [-1e6, 0, -9e5, 9]])
def test_a_box_wholly_outside_is_a_pose_of_nothing(people: Pipeline, box: list[float]) -> None:
    poses = people.predict(two_people(), [boxes_of(TWO_PEOPLE)[0], box])
    assert len(poses) == 2
    assert np.isfinite(poses.keypoints).all()
    assert (poses.keypoint_scores[1] == 0).all()
    np.testing.assert_allclose(poses.keypoints[0], TWO_PEOPLE[0], atol=TOLERANCE)


@pytest.mark.parametrize("box", [[-1e5, -1e5, 1e5, 1e5], [10, 10, 10.01, 10.01], [0, 0, 320, 0.5], [0, 0, 1e30, 1e30]])
def test_boxes_of_any_size(people: Pipeline, box: list[float]) -> None:
    assert np.isfinite(people.predict(two_people(), [box]).keypoints).all()


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4)), Detections.empty()])
def test_no_boxes_are_nobody(people: Pipeline, boxes: Any) -> None:
    poses = people.predict(two_people(), boxes, return_heatmaps=True)
    assert len(poses) == 0
    assert poses.heatmaps is not None
    assert poses.heatmaps.shape == (0, 17, 64, 48)


@pytest.mark.slow
@pytest.mark.parametrize("make", [iter, lambda rows: map(tuple, rows), lambda rows: dict(enumerate(rows)).values()])
def test_boxes_from_iterators(people: Pipeline, make: Any) -> None:
    rows = [[10, 20, 60, 150], [70, 20, 120, 150]]
    want = people.predict(two_people(), boxes=rows)
    np.testing.assert_array_equal(people.predict(two_people(), boxes=make(rows)).keypoints, want.keypoints)
    found = people.predict_batch([two_people()] * 2, boxes=make([rows, make(rows)]))
    for poses in found:
        np.testing.assert_array_equal(poses.keypoints, want.keypoints)


@pytest.mark.slow
def test_boxes_as_tensors_and_text(people: Pipeline) -> None:
    rows = [[10, 20, 60, 150], [70, 20, 120, 150]]
    want = people.predict(two_people(), boxes=rows)
    for boxes in (torch.tensor(rows), list(torch.tensor(rows)), [list(map(str, row)) for row in rows]):
        np.testing.assert_array_equal(people.predict(two_people(), boxes=boxes).keypoints, want.keypoints)
    stack = people.predict_batch([two_people()], boxes=torch.tensor([rows]))
    np.testing.assert_array_equal(stack[0].keypoints, want.keypoints)


@pytest.mark.parametrize("boxes", [7, None, "boxes", [["a", "b", "c", "d"]], iter([iter([1, 2])]), {"x": 1}])
def test_what_are_no_boxes_is_said_in_one_line(people: Pipeline, boxes: Any) -> None:
    calls = [lambda: people.predict_batch([two_people()], boxes=7)]
    if boxes is not None:
        calls.append(lambda: people.predict(two_people(), boxes=boxes))
    for call in calls:
        with pytest.raises(BoxError) as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_tensors_as_pictures(people: Pipeline) -> None:
    want = people(two_people())
    tensor = torch.from_numpy(two_people())
    for given in (tensor, tensor / 255, tensor.clone().requires_grad_(False)):
        np.testing.assert_allclose(people(given).keypoints, want.keypoints, atol=TOLERANCE)
    stack = people(torch.stack([tensor, tensor]))
    assert [len(poses) for poses in stack] == [len(want)] * 2


@pytest.mark.filterwarnings("error")
def test_a_read_only_picture(people: Pipeline) -> None:
    frame = two_people()
    frame.flags.writeable = False
    np.testing.assert_array_equal(people(frame).keypoints, people(two_people()).keypoints)


def test_boxes_for_every_picture(people: Pipeline) -> None:
    boxes = boxes_of(TWO_PEOPLE)
    batch = people.predict_batch([two_people(), nobody(), one_person()], [boxes, [], Detections.from_boxes(boxes[:1])])
    assert [len(poses) for poses in batch] == [2, 0, 1]
    with pytest.raises(BoxError, match="2 pictures but boxes for 1"):
        people.predict_batch([two_people(), nobody()], [boxes])


def test_without_a_detector_the_frame_is_the_box() -> None:
    poses = pipeline(None)(one_person())
    assert poses.detections.xyxy.tolist() == [[0, 0, 320, 240]]
    np.testing.assert_allclose(poses.keypoints, TWO_PEOPLE[:1], atol=4)


# pictures


@pytest.mark.slow
def test_pictures_of_every_kind(people: Pipeline, tmp_path: Path) -> None:
    frame = two_people()
    write_image(tmp_path / "two.png", frame)
    alpha = np.dstack([frame, np.full(frame.shape[:2], 9, np.uint8)])
    kinds: list[Any] = [
        tmp_path / "two.png",
        str(tmp_path / "two.png"),
        PIL.Image.fromarray(frame[:, :, ::-1]),
        alpha,
        frame.astype(np.uint16) * 256,
        frame / 255,
        np.asfortranarray(frame),
    ]
    for picture in kinds:
        assert_same(people(picture), people(frame))
    for batch in (kinds, tuple(kinds)):
        assert [len(poses) for poses in people(batch)] == [2] * len(kinds)


@pytest.mark.slow
def test_poses_know_what_was_given(people: Pipeline, tmp_path: Path) -> None:
    write_image(tmp_path / "two.png", two_people())
    path = str(tmp_path / "two.png")
    assert [poses.image for poses in people([path, path])] == [path, path]
    frame = two_people()
    assert people(frame).image is people.predict(frame).image is frame
    assert all(poses.image is None for poses in [*people.predict_batch([frame]), *people.stream([frame])])
    np.testing.assert_array_equal(people(path).plot(), people(frame).plot())


def test_grey_pictures(people: Pipeline) -> None:
    grey = two_people().max(2)
    assert_same(people(grey), people(np.repeat(grey[:, :, None], 3, 2)))


def test_a_stack_is_a_list(people: Pipeline) -> None:
    frames = [two_people(), nobody(), one_person()]
    stacked = people(np.stack(frames))
    assert [len(poses) for poses in stacked] == [2, 0, 1]
    for poses, frame in zip(stacked, frames, strict=True):
        assert_same(poses, people(frame))


def test_no_pictures(people: Pipeline) -> None:
    assert people([]) == []
    assert people(np.zeros((0, 9, 9, 3), np.uint8)) == []
    assert list(people.stream([])) == []


def test_pictures_of_any_sizes(people: Pipeline) -> None:
    frames = [two_people(), np.zeros((1, 1, 3), np.uint8), paint_people((130, 90), [person(10, 5)], 4), nobody()]
    for poses, frame in zip(people(frames), frames, strict=True):
        assert_same(poses, people(frame))


@pytest.mark.parametrize("detector", ["synthetic", None])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_a_tiny_picture(detector: str | None, size: tuple[int, int]) -> None:
    for value in (0, 255):
        poses = pipeline(detector).predict(np.full((*size, 3), value, np.uint8), return_heatmaps=True)
        assert np.isfinite(poses.keypoints).all()
        assert len(poses) <= 1


@pytest.mark.parametrize(("size", "corner"), [((140, 20_000), (19_920, 10)), ((20_000, 100), (20, 19_870))])
def test_a_20000_px_picture(people: Pipeline, size: tuple[int, int], corner: tuple[float, float]) -> None:
    """Someone at the far end is found, and to the pixel."""
    keypoints = person(*corner)[None]
    poses = people(paint_people(size, keypoints, 4))
    np.testing.assert_allclose(poses.keypoints, keypoints, atol=TOLERANCE)


def test_a_picture_that_is_too_large_is_said(people: Pipeline) -> None:
    with pytest.raises(ImageError, match=f"too large.*{MAX_SIDE}"):
        people(np.full((MAX_SIDE + 1, 3, 3), 255, np.uint8))


@pytest.mark.parametrize(
    "picture", [None, 3, b"x", np.zeros(3), np.zeros((3, 3, 2), np.uint8), np.zeros((0, 3, 3), np.uint8), "missing.jpg"]
)
def test_what_is_no_picture(people: Pipeline, picture: Any) -> None:
    with pytest.raises(ImageError):
        people(picture)
    with pytest.raises(ImageError):
        people([nobody(), picture])


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "not None, which cv2.imread gives for what it cannot read"),
        (0, "not int; Pipeline.video reads cameras"),
        (iter(["a.jpg"]), "Pipeline.stream any number of pictures"),
        (np.zeros((3, 40, 60), np.uint8), r"transpose\(1, 2, 0\) brings channels to the end"),
    ],
)
def test_what_is_no_picture_has_a_way(people: Pipeline, source: Any, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        people(source)


@pytest.mark.parametrize("batch", [nobody(), nobody()[..., 0], "picture.jpg", PIL.Image.new("RGB", (9, 9)), None])
def test_one_picture_is_no_batch(people: Pipeline, batch: Any) -> None:
    """Rows of a picture must not be taken for grey pictures, nor letters for paths."""
    with pytest.raises(ImageError, match="a batch is a list"):
        people.predict_batch(batch)


# nobody


def test_nobody_everywhere(people: Pipeline) -> None:
    poses = people.predict(nobody(), return_heatmaps=True)
    assert poses.heatmaps is not None
    assert (poses.keypoints.shape, poses.heatmaps.shape) == ((0, 17, 2), (0, 17, 64, 48))
    assert json.dumps(poses.to_dict()) == "[]"
    assert poses.to_coco(1) == []
    for annotate in (BoxAnnotator(), SkeletonAnnotator()):
        np.testing.assert_array_equal(annotate(nobody(), poses), nobody())


class Plugin:
    """A detector that says what it is told."""

    def __init__(self, *found: Any) -> None:
        self.found = found

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return list(self.found)


def test_a_detectors_boxes_without_area_are_nobody() -> None:
    whole = boxes_of(TWO_PEOPLE)
    found = Detections([whole[0], [5, 5, 5, 9], whole[1]], [0.9, 0.8, 0.7], [0, 0, 0])
    poses = Pipeline(create_pose_model("synthetic"), Plugin(found), device="cpu")(two_people())
    assert poses.detections.scores.tolist() == pytest.approx([0.9, 0.7])
    np.testing.assert_allclose(poses.keypoints, TWO_PEOPLE, atol=TOLERANCE)


@pytest.mark.parametrize("found", [(), (Detections.empty(), Detections.empty()), ([[0, 0, 1, 1]],), (None,)])
def test_a_detector_that_breaks_its_promise(found: Any) -> None:
    with pytest.raises(PluginError, match="one Detections for each of 1 frames"):
        Pipeline(create_pose_model("synthetic"), Plugin(*found), device="cpu")(nobody())
