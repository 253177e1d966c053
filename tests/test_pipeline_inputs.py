"""What people give to a pipeline: boxes and pictures of every kind, settings, threads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from numpy.typing import NDArray

from hrkit import Detections, Pipeline, Poses, create_pose_model
from hrkit.detectors.base import square_side
from hrkit.drawing.annotators import BoxAnnotator, SkeletonAnnotator
from hrkit.errors import BoxError, HrkitError, ImageError, PluginError, UnknownNameError
from hrkit.geometry import MAX_SIDE
from hrkit.images import write_image
from hrkit.synthetic import SyntheticDetector, paint_people
from hrkit.tracking.follower import Follower
from hrkit.video.files import VideoFrame
from painted import TWO_PEOPLE, nobody, one_person, person, two_people

TOLERANCE = 1.5


def pipeline(detector: str | None = "synthetic", **options: Any) -> Pipeline:
    return Pipeline.from_names("synthetic", detector, weights=None, **{"device": "cpu", **options})


@pytest.fixture(scope="module")
def people() -> Pipeline:
    return pipeline()


def boxes_of(keypoints: NDArray[Any], grow: float = 4) -> NDArray[np.float32]:
    """(N,K,2) -> (N,4)."""
    return np.concatenate([keypoints.min(1) - grow, keypoints.max(1) + grow], axis=1).astype(np.float32)


def assert_same(one: Poses, other: Poses, atol: float = 0.0) -> None:
    np.testing.assert_allclose(one.keypoints, other.keypoints, atol=atol)
    np.testing.assert_allclose(one.keypoint_scores, other.keypoint_scores, atol=atol)
    np.testing.assert_array_equal(one.detections.xyxy, other.detections.xyxy)


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


@pytest.mark.parametrize("make", [iter, lambda rows: map(tuple, rows), lambda rows: dict(enumerate(rows)).values()])
def test_boxes_from_iterators(people: Pipeline, make: Any) -> None:
    rows = [[10, 20, 60, 150], [70, 20, 120, 150]]
    want = people.predict(two_people(), boxes=rows)
    np.testing.assert_array_equal(people.predict(two_people(), boxes=make(rows)).keypoints, want.keypoints)
    found = people.predict_batch([two_people()] * 2, boxes=make([rows, make(rows)]))
    for poses in found:
        np.testing.assert_array_equal(poses.keypoints, want.keypoints)


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


def test_settings_that_one_call_does_not_have(people: Pipeline) -> None:
    with pytest.raises(HrkitError, match="no setting 'conf' for one call; there are flip_test, detection_threshold, "):
        people(nobody(), conf=0.5)
    with pytest.raises(HrkitError, match=r"'boxes' .*; Pipeline\.predict takes boxes"):
        people(nobody(), boxes=[])


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


# settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"max_batch_size": -1}, "max_batch_size"),
        ({"device": "tpu"}, "no device is called 'tpu'"),
        ({"device": ""}, "no device is called ''"),
        ({"device": "cpu,"}, "no device is called ''"),
        ({"device": "cuda:77"}, "cuda:77"),
        ({"device": "cuda:-1"}, "no device is called"),
        ({"device": "77"}, "device 'cuda:77'"),
        ({"device": "meta"}, "does not work here"),
        ({"device": torch.device("cuda:77")}, "cuda:77"),
        ({"device": []}, "a device is a name"),
        ({"device": 3}, "a device is a name"),
        ({"device": None}, "a device is a name"),
        ({"precision": "float8"}, "unknown precision 'float8'; choices: auto, float32, float16, bfloat16"),
        ({"input_size": (250, 190)}, r"multiple of 4; take"),
        ({"input_size": (0, 0)}, r"whole px from 1 to 8192, as \(256, 192\)"),
        ({"input_size": 256.5}, r"whole px from 1 to 8192, as \(256, 192\); got 256\.5"),
        ({"input_size": "256x192"}, r"whole px"),
        ({"input_size": (256.5, 192)}, r"whole px"),
        ({"input_size": (256, 192, 3)}, r"whole px"),
        ({"num_joints": 0}, "num_joints must be a positive number"),
        ({"num_joints": "17"}, "num_joints must be a positive number"),
        ({"max_batch_size": 1.5}, "max_batch_size must be a whole number"),
        ({"max_batch_size": "8"}, "max_batch_size must be a whole number of at least 1, not '8'"),
        ({"nms_threshold": "0.5"}, "nms_threshold must be from 0 to 1, not '0.5'"),
        ({"doubles": "0.5"}, "doubles='0.5'; it must be from 0 to 1"),
        ({"doubles": [0.5]}, r"doubles=\[0.5\]; it must be from 0 to 1"),
        ({"nms_threshold": 2}, "nms_threshold must be from 0 to 1"),
        ({"detection_threshold": float("nan")}, "detection_threshold must be from 0 to 1"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HrkitError, match=message):
        pipeline(**options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "hrnet_v48"}, "did you mean hrnet_w48"),
        ({"detector": "yolo3"}, "did you mean yolov3"),
        ({"decoder": "drak"}, "did you mean dark"),
        ({"head": "heatmaps"}, "did you mean heatmap"),
        ({"weights": "hrnet_w32-coco"}, "hrnet_w32"),
    ],
)
def test_unknown_names(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        Pipeline.from_names(**{"backbone": "synthetic", "weights": None, **arguments})


@pytest.mark.parametrize("precision", ["auto", "float32", "float16", "bfloat16"])
def test_precisions(precision: str) -> None:
    network = pipeline(precision=precision)
    poses = network.predict(two_people(), return_heatmaps=True)
    assert poses.heatmaps is not None
    assert poses.heatmaps.dtype == np.float32
    np.testing.assert_allclose(poses.keypoints, TWO_PEOPLE, atol=4 if precision == "bfloat16" else TOLERANCE)


def test_names_in_the_place_of_networks() -> None:
    with pytest.raises(HrkitError, match=r"for names there is Pipeline\.from_names\('lite', \.\.\.\)"):
        Pipeline("lite", "lite_person")  # type: ignore[arg-type]


def test_devices_by_object() -> None:
    assert repr(pipeline(device=torch.device("cpu"))).endswith("on cpu)")


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_stream_needs_a_batch(people: Pipeline, batch_size: int) -> None:
    with pytest.raises(HrkitError, match="batch_size must be a whole number of at least 1"):
        list(people.stream([nobody()], batch_size=batch_size))


def test_a_stream_is_of_pictures_not_of_rows(people: Pipeline) -> None:
    for frames in (nobody(), "photo.jpg"):
        with pytest.raises(HrkitError, match="for one picture call predict"):
            people.stream(frames)


def test_the_network_given_stays_as_it_is() -> None:
    model = create_pose_model("hrnet_w2", input_size=(64, 64)).train()
    pipeline = Pipeline(model, precision="bfloat16")
    assert model.training
    assert model.dtype == torch.float32
    assert pipeline.pose_model.dtype == torch.bfloat16


# one way through


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_batches_across_frames(people: Pipeline, size: int) -> None:
    frames = [two_people(), nobody(), one_person(), two_people()]
    batch = pipeline(max_batch_size=size).predict_batch(frames, return_heatmaps=True)
    for poses, frame in zip(batch, frames, strict=True):
        alone = people.predict(frame, return_heatmaps=True)
        assert_same(poses, alone, atol=1e-3)
        np.testing.assert_allclose(poses.heatmaps, alone.heatmaps, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_stream_is_frames_alone(people: Pipeline, size: int) -> None:
    frames = [two_people(), nobody(), one_person(), two_people()]
    streamed = list(people.stream(iter(frames), batch_size=size))
    assert len(streamed) == len(frames)
    for poses, frame in zip(streamed, frames, strict=True):
        assert_same(poses, people(frame), atol=1e-3)


@pytest.mark.parametrize("input_size", [(256, 192), (64, 64)])
def test_heatmaps(input_size: tuple[int, int]) -> None:
    network = pipeline(input_size=input_size, num_joints=5)
    for poses, count in zip(network.predict_batch([two_people(), nobody()], None, True), (2, 0), strict=True):
        assert poses.heatmaps is not None
        assert poses.heatmaps.shape == (count, 5, input_size[0] // 4, input_size[1] // 4)
        assert poses.heatmaps.dtype == np.float32
        np.testing.assert_array_equal(poses.heatmaps.max((2, 3), initial=-1), poses.keypoint_scores)
    assert network(two_people()).heatmaps is None


@pytest.mark.parametrize("flip_test", [False, True])
def test_arguments_are_not_changed(flip_test: bool) -> None:
    frames, boxes = [two_people(), nobody()], [boxes_of(TWO_PEOPLE), boxes_of(TWO_PEOPLE)]
    pipeline(flip_test=flip_test).predict_batch(frames, boxes)
    assert len(frames) == len(boxes) == 2
    np.testing.assert_array_equal(frames, [two_people(), nobody()])
    np.testing.assert_array_equal(boxes, [boxes_of(TWO_PEOPLE)] * 2)
    for frame in frames:
        frame.flags.writeable = False
    assert len(pipeline(flip_test=flip_test)(frames)[0]) == 2


def test_two_runs_are_equal(people: Pipeline) -> None:
    assert_same(people(two_people()), people(two_people()))


def test_two_devices_are_one(people: Pipeline) -> None:
    frames = [two_people(), nobody(), one_person()] * 4
    both = pipeline(device="cpu,cpu", max_batch_size=2)
    assert repr(both).endswith("on cpu,cpu)")
    for one, other in zip(both(frames), people(frames), strict=True):
        assert_same(one, other, atol=1e-3)


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_many_threads(device: str) -> None:
    network = pipeline(device=device)
    frames = [two_people(), nobody(), one_person()] * 4
    alone = [network(frame) for frame in frames]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(network, frames))
    for one, other in zip(together, alone, strict=True):
        assert_same(one, other)


def test_two_hundred_threads_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    network, frame = pipeline(input_size=(64, 48)), two_people()
    alone, model = network(frame), network.pose_model
    inside, most = [0], [0]
    forward = type(model).forward

    def counted(self: Any, images: torch.Tensor) -> torch.Tensor:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        result = forward(self, images)
        inside[0] -= 1
        return result

    monkeypatch.setattr(type(model), "forward", counted)
    start = Barrier(200)

    def together(_: int) -> Poses:
        start.wait()
        return network(frame)

    with ThreadPoolExecutor(200) as pool:
        for poses in pool.map(together, range(200)):
            assert_same(poses, alone)
    assert most == [1]


MEMORY_OF_THREADS = """
import numpy as np
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from hrkit import Pipeline

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

pipeline = Pipeline.from_names("hrnet_w8", weights=None, device="cpu")
frame = np.zeros((300, 200, 3), np.uint8)
for _ in range(3):
    pipeline([frame] * 4)
before, start = held(), Barrier(24)
with ThreadPoolExecutor(24) as pool:
    list(pool.map(lambda _: (start.wait(), pipeline([frame] * 4)), range(24)))
print(held() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_dozen_threads_need_no_more_memory_than_one() -> None:
    ended = subprocess.run([sys.executable, "-c", MEMORY_OF_THREADS], capture_output=True, text=True, check=True)
    assert float(ended.stdout) < 40  # MB; memory kept in each thread alone would be 100 and more


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_one_bad_picture_does_not_block_the_next(device: str) -> None:
    network = pipeline(device=device)
    with pytest.raises(ImageError):
        network([two_people(), np.full((MAX_SIDE + 1, 3, 3), 255, np.uint8)])
    assert len(network(two_people())) == 2


# settings of a call


class SomeScores(SyntheticDetector):
    """Gives the first person a score of 0.9, the second of 0.4."""

    threshold = 0.3

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [Detections(one.xyxy, [0.9, 0.4][: len(one)], one.class_ids) for one in super().detect(images)]


def test_one_threshold_for_the_score_that_is_drawn_and_written(people: Pipeline) -> None:
    both = Pipeline(people.pose_model, SomeScores(), device="cpu")
    strict = Pipeline(people.pose_model, SomeScores(), device="cpu", person_threshold=0.6)
    frame = two_people()
    assert len(both(frame)) == 2
    for found in (strict(frame), both(frame, person_threshold=0.6), *both([frame], person_threshold=0.6)):
        assert (found.scores >= 0.6).all()
        assert len(found) == 1
    assert len(strict.predict(frame, boxes=boxes_of(TWO_PEOPLE))) == 2  # one person per box
    follower = Follower(strict)
    steps = [follower.step([VideoFrame(number, number / 25, frame)])[0] for number in range(3)]
    assert [(len(step), step.frame_index, step.time) for step in steps] == [(1, n, n / 25) for n in range(3)]
    found = both(frame)
    sure_boxes = found.replace(detections=Detections.from_boxes(found.detections.xyxy), own_scores=found.scores)
    np.testing.assert_array_equal(BoxAnnotator()(frame, sure_boxes), BoxAnnotator()(frame, found))


def test_settings_of_one_call(people: Pipeline) -> None:
    both = Pipeline(people.pose_model, SomeScores(), device="cpu")
    frame = two_people()
    assert len(both(frame, detection_threshold=0.5)) == len(both.using(detection_threshold=0.5).detect([frame])[0]) == 1
    flipped = Pipeline(people.pose_model, SomeScores(), device="cpu", flip_test=True)
    assert_same(both(frame, flip_test=True), flipped(frame))
    assert_same(flipped(frame, flip_test=False), both(frame))
    assert both.pose_model is both.using(flip_test=True).pose_model
    with pytest.raises(HrkitError, match=r"built with a detection threshold of 0\.3"):
        both(frame, detection_threshold=0.1)
    with pytest.raises(HrkitError, match="person_threshold=2"):
        both(frame, person_threshold=2)


def test_settings_of_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("hrkit.pipeline.create_detector", lambda name, **given: asked.update(given) or SomeScores())
    pipeline("yolov3", detector_size=640, classes=["person", "dog"])
    assert (asked["input_size"], asked["classes"]) == (640, ["person", "dog"])
    pipeline("yolov3")
    with pytest.raises(HrkitError, match="input_size are settings of a detector, and there is none"):
        pipeline(None, detector_size=640)


def test_a_size_is_height_and_width_or_a_side() -> None:
    assert create_pose_model("synthetic", input_size=64).input_size == (64, 64)
    assert square_side(96, 32) == square_side((96, 96), 32) == 96
    for size, message in ((97, "multiple of 32"), ((96, 64), "takes squares"), (0, "multiple")):
        with pytest.raises(HrkitError, match=message):
            square_side(size, 32)


def test_poses_know_what_was_given(people: Pipeline, tmp_path: Path) -> None:
    write_image(tmp_path / "two.png", two_people())
    path = str(tmp_path / "two.png")
    assert [poses.image for poses in people([path, path])] == [path, path]
    frame = two_people()
    assert people(frame).image is people.predict(frame).image is frame
    assert all(poses.image is None for poses in [*people.predict_batch([frame]), *people.stream([frame])])
    np.testing.assert_array_equal(people(path).plot(), people(frame).plot())
