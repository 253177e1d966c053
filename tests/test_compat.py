"""`SimpleHRNet`: the old class's arguments, shapes, types and order of results."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from hrkit import compat, pose_model
from hrkit.compat import SimpleHRNet
from hrkit.errors import HrkitError, ImageError, UnknownNameError, WeightsError
from hrkit.synthetic import SyntheticDetector
from painted import TWO_PEOPLE, nobody, one_person, two_people

JOINTS, HEATMAP = 17, (64, 48)


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks are those that see painted people."""

    def create_pose_model(backbone: str, **options: Any) -> pose_model.PoseModel:
        return pose_model.create_pose_model("synthetic", **{**options, "weights": None})

    monkeypatch.setattr(compat, "create_pose_model", create_pose_model)
    monkeypatch.setattr(compat, "create_detector", lambda name, **options: SyntheticDetector())


def model(**options: Any) -> SimpleHRNet:
    return SimpleHRNet(48, JOINTS, "unused.pth", **{"resolution": (256, 192), **options})


def everything(**options: Any) -> SimpleHRNet:
    return model(return_heatmaps=True, return_bounding_boxes=True, **options)


def same(one: np.ndarray, other: np.ndarray, atol: float = 1e-4) -> None:
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    np.testing.assert_allclose(one, other, atol=atol)


def test_arguments_are_the_old_ones() -> None:
    parameters = list(inspect.signature(SimpleHRNet).parameters.values())
    folder = "./models_/detectors/yolo"
    assert [(parameter.name, parameter.default) for parameter in parameters[3:]] == [
        ("model_name", "HRNet"),
        ("resolution", (384, 288)),
        ("interpolation", cv2.INTER_CUBIC),
        ("multiperson", True),
        ("return_heatmaps", False),
        ("return_bounding_boxes", False),
        ("max_batch_size", 32),
        ("yolo_version", "v3"),
        ("yolo_model_def", f"{folder}/config/yolov3.cfg"),
        ("yolo_class_path", f"{folder}/data/coco.names"),
        ("yolo_weights_path", f"{folder}/weights/yolov3.weights"),
        ("device", torch.device("cpu")),
        ("enable_tensorrt", False),
    ]
    assert [parameter.name for parameter in parameters[:3]] == ["c", "nof_joints", "checkpoint_path"]
    assert all(parameter.default is inspect.Parameter.empty for parameter in parameters[:3])


@pytest.mark.usefixtures("painted")
def test_joints_are_y_x_confidence() -> None:
    joints = model().predict(two_people())
    assert joints.shape == (2, JOINTS, 3)
    assert joints.dtype == np.float32
    np.testing.assert_allclose(joints[..., 1::-1], TWO_PEOPLE, atol=1.5)
    np.testing.assert_allclose(joints[..., 2], 1, atol=0.1)


@pytest.mark.usefixtures("painted")
def test_one_picture() -> None:
    heatmaps, boxes, joints = everything().predict(two_people())
    assert (heatmaps.shape, heatmaps.dtype) == ((2, JOINTS, *HEATMAP), np.float32)
    assert (boxes.shape, boxes.dtype) == ((2, 4), np.int32)
    assert (joints.shape, joints.dtype) == ((2, JOINTS, 3), np.float32)
    for box, person in zip(boxes, TWO_PEOPLE, strict=True):
        np.testing.assert_allclose(box, [*person.min(0), *person.max(0)], atol=6)


@pytest.mark.usefixtures("painted")
def test_one_picture_one_person() -> None:
    heatmaps, boxes, joints = everything(multiperson=False).predict(one_person())
    assert (heatmaps.shape, heatmaps.dtype) == ((1, JOINTS, *HEATMAP), np.float32)
    assert boxes.dtype == np.float32
    assert boxes.tolist() == [[0, 0, 320, 240]]
    assert (joints.shape, joints.dtype) == ((1, JOINTS, 3), np.float32)
    np.testing.assert_allclose(joints[0, :, 1::-1], TWO_PEOPLE[0], atol=4)


@pytest.mark.usefixtures("painted")
def test_one_picture_without_anybody() -> None:
    heatmaps, boxes, joints = everything().predict(nobody())
    assert (heatmaps.shape, heatmaps.dtype) == ((0, JOINTS, *HEATMAP), np.float32)
    assert (boxes.shape, boxes.dtype) == ((0, 4), np.int32)
    assert (joints.shape, joints.dtype) == ((0, JOINTS, 3), np.float32)


@pytest.mark.slow
@pytest.mark.usefixtures("painted")
def test_pictures() -> None:
    frames = [two_people(), nobody(), one_person()]
    network = everything()
    results = network.predict(np.stack(frames))
    assert [type(part) for part in results] == [list, list, list]
    for i, frame in enumerate(frames):
        for part, alone in zip(results, network.predict(frame), strict=True):
            same(part[i], alone)
    assert [len(joints) for joints in results[2]] == [2, 0, 1]


@pytest.mark.usefixtures("painted")
def test_pictures_of_one_person_each() -> None:
    network = everything(multiperson=False)
    heatmaps, boxes, joints = network.predict(np.stack([one_person(), nobody()]))
    assert (heatmaps.shape, heatmaps.dtype) == ((2, JOINTS, *HEATMAP), np.float32)
    assert boxes.dtype == np.float32
    assert boxes.tolist() == [[0, 0, 320, 240]] * 2
    assert (joints.shape, joints.dtype) == ((2, 1, JOINTS, 3), np.float32)
    alone = network.predict(one_person())
    same(heatmaps[0], alone[0][0])
    same(joints[0], alone[2])


@pytest.mark.usefixtures("painted")
def test_pictures_without_anybody_stay_lists() -> None:
    results = everything().predict(np.stack([nobody(), nobody()]))
    shapes = [[part.shape for part in parts] for parts in results if isinstance(parts, list)]
    assert shapes == [[(0, JOINTS, *HEATMAP)] * 2, [(0, 4)] * 2, [(0, JOINTS, 3)] * 2]


@pytest.mark.usefixtures("painted")
def test_no_pictures() -> None:
    none = np.zeros((0, 240, 320, 3), np.uint8)
    assert everything().predict(none) == [[], [], []]
    shapes = [part.shape for part in everything(multiperson=False).predict(none)]
    assert shapes == [(0, JOINTS, *HEATMAP), (0, 4), (0, 1, JOINTS, 3)]
    assert model(multiperson=False).predict(none).shape == (0, 1, JOINTS, 3)


@pytest.mark.usefixtures("painted")
@pytest.mark.parametrize(
    ("heatmaps", "boxes", "shapes"),
    [
        (True, False, [(1, JOINTS, *HEATMAP), (1, JOINTS, 3)]),
        (False, True, [(1, 4), (1, JOINTS, 3)]),
        (True, True, [(1, JOINTS, *HEATMAP), (1, 4), (1, JOINTS, 3)]),
    ],
)
def test_order_of_results(heatmaps: bool, boxes: bool, shapes: list[tuple[int, ...]]) -> None:
    results = model(return_heatmaps=heatmaps, return_bounding_boxes=boxes).predict(one_person())
    assert isinstance(results, list)
    assert [part.shape for part in results] == shapes


@pytest.mark.slow
@pytest.mark.usefixtures("painted")
def test_the_joints_alone_are_no_list_of_results() -> None:
    assert isinstance(model().predict(one_person()), np.ndarray)
    assert isinstance(model(multiperson=False).predict(one_person()[None]), np.ndarray)
    joints = model().predict(one_person()[None])
    assert isinstance(joints, list)
    assert joints[0].shape == (1, JOINTS, 3)


@pytest.mark.slow
@pytest.mark.usefixtures("painted")
def test_small_batches_change_nothing() -> None:
    frames = np.stack([two_people(), one_person(), two_people()])
    for one, other in zip(model(max_batch_size=2).predict(frames), model().predict(frames), strict=True):
        same(one, other)


@pytest.mark.usefixtures("painted")
def test_the_picture_is_not_changed() -> None:
    frame = two_people()
    model().predict(frame)
    np.testing.assert_array_equal(frame, two_people())


@pytest.mark.usefixtures("painted")
@pytest.mark.parametrize(
    "image",
    [
        "picture.jpg",
        [np.zeros((8, 8, 3), np.uint8)],
        torch.zeros(8, 8, 3),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((1, 1, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.int64),
    ],
)
def test_what_is_no_picture(image: Any) -> None:
    with pytest.raises(ImageError):
        model().predict(image)


def checkpoint(path: Path, backbone: str = "hrnet_w4", wrapped: bool = False) -> Path:
    """A file in the official names, of a network as initialised."""
    state = pose_model.create_pose_model(backbone, num_joints=3).state_dict()
    official = {name.removeprefix("backbone.").removeprefix("head."): tensor for name, tensor in state.items()}
    torch.save({"model": official, "epoch": 3} if wrapped else official, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_checkpoint_is_loaded(tmp_path: Path, wrapped: bool) -> None:
    path = checkpoint(tmp_path / "w4.pth", wrapped=wrapped)
    network = SimpleHRNet(4, 3, str(path), resolution=(64, 64), multiperson=False)
    same = pose_model.create_pose_model("hrnet_w4", weights=path, num_joints=3, input_size=(64, 64))
    crops = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network.pipeline.pose_model(crops), same(crops), rtol=1e-4, atol=1e-9)
    assert network.predict(np.zeros((20, 10, 3), np.uint8)).shape == (1, 3, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["PoseResNet", "poseresnet", "ResNet", "resnet"])
def test_pose_resnet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    path = checkpoint(tmp_path / "resnet.pth", "pose_resnet_18")
    network = SimpleHRNet(18, 3, path, name, (64, 64), multiperson=False)
    assert (network.pipeline.pose_model.name, network.pipeline.pose_model.spec.head) == ("pose_resnet_18", "deconv")
    assert network.pipeline.pose_model.spec.channel_order == "bgr"


@pytest.mark.slow
def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "w4.pth")
    with pytest.raises(WeightsError, match=r"hrnet_w4 with 3 joints.*hrnet_w8 with 3 joints"):
        SimpleHRNet(8, 3, path, multiperson=False)
    with pytest.raises(WeightsError, match=r"hrnet_w4 with 3 joints.*hrnet_w4 with 16 joints"):
        SimpleHRNet(4, 16, path, multiperson=False)
    with pytest.raises(WeightsError, match="no weights file"):
        SimpleHRNet(4, 3, str(tmp_path / "missing.pth"), multiperson=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_name": "AlexNet"}, "unknown model_name 'AlexNet'; choices: HRNet, hrnet, PoseResNet"),
        ({"yolo_version": "v5"}, "take yolo_version='v3', or hrkit.Pipeline"),
        ({"yolo_version": "v9"}, "unknown yolo_version 'v9'"),
        ({"enable_tensorrt": True}, "float16"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"device": "tpu"}, "no device is called 'tpu'"),
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"yolo_weights_path": "elsewhere/yolov3.weights"}, r"no file elsewhere.yolov3\.weights"),
        ({"yolo_model_def": "elsewhere/yolov3.cfg"}, r"no file elsewhere.yolov3\.cfg"),
    ],
)
@pytest.mark.usefixtures("painted")
def test_what_hrkit_does_not_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HrkitError, match=message):
        model(**options)


def test_depths_that_are_not() -> None:
    with pytest.raises(UnknownNameError, match="pose_resnet_50"):
        SimpleHRNet(51, JOINTS, None, "ResNet", multiperson=False)


def test_yolo_version_matters_to_the_detector_alone(painted: None) -> None:
    assert model(multiperson=False, yolo_version="v5").predict(one_person()).shape == (1, JOINTS, 3)


@pytest.mark.parametrize(("device", "wanted"), [("cpu", "cpu"), (torch.device("cpu"), "cpu"), ("cpu,cpu", "cpu,cpu")])
def test_device(painted: None, device: torch.device | str, wanted: str) -> None:
    assert repr(model(device=device).pipeline).endswith(f" on {wanted})")


@pytest.mark.parametrize(
    ("device", "count", "wanted"), [("cuda", 2, "cuda:0,1"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")]
)
def test_cuda_is_every_gpu(monkeypatch: pytest.MonkeyPatch, device: str, count: int, wanted: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert compat._device_names(torch.device(device)) == wanted


@pytest.fixture
def asked(painted: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What detector was asked for; in an empty folder."""
    calls: dict[str, Any] = {}

    def create_detector(name: str, **options: Any) -> SyntheticDetector:
        calls.update(options, name=name)
        return SyntheticDetector()

    monkeypatch.setattr(compat, "create_detector", create_detector)
    monkeypatch.chdir(tmp_path)
    return calls


def test_old_files_that_are_not_there_are_hrkits(asked: dict[str, Any]) -> None:
    model(max_batch_size=7)
    assert asked == {"name": "yolov3", "weights": "auto", "max_batch_size": 7}


def test_tiny(asked: dict[str, Any]) -> None:
    model(yolo_model_def="./models_/detectors/yolo/config/yolov3-tiny.cfg")
    assert asked == {"name": "yolov3_tiny", "weights": "auto", "max_batch_size": 32}


def test_old_files_that_are_there_are_taken(asked: dict[str, Any], tmp_path: Path) -> None:
    folder = Path("models_/detectors/yolo")
    for file in ("config/yolov3.cfg", "data/coco.names", "weights/yolov3.weights"):
        (folder / file).parent.mkdir(parents=True)
        (folder / file).touch()
    model()
    assert asked["cfg"] == folder / "config/yolov3.cfg"
    assert asked["class_names"] == folder / "data/coco.names"
    assert asked["weights"] == folder / "weights/yolov3.weights"


def test_files_elsewhere(asked: dict[str, Any], tmp_path: Path) -> None:
    weights = tmp_path / "my.weights"
    weights.touch()
    model(yolo_weights_path=str(weights))
    assert asked == {"name": "yolov3", "weights": weights, "max_batch_size": 32}
    asked.clear()
    model(yolo_weights_path=None)
    assert asked["weights"] is None


@pytest.mark.slow
def test_the_detector_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YOLOv3-tiny as initialised: the options go where they should."""
    monkeypatch.chdir(tmp_path)
    network = SimpleHRNet(
        4,
        3,
        checkpoint(tmp_path / "w4.pth"),
        resolution=(64, 64),
        yolo_model_def="./models_/detectors/yolo/config/yolov3-tiny.cfg",
        yolo_weights_path=None,
        max_batch_size=3,
    )
    detector: Any = network.pipeline.detector
    assert (type(detector).__name__, detector.max_batch_size, detector.threshold) == ("Yolov3", 3, 0.25)
    detector.threshold = 1.0  # untrained, it would see somebody everywhere
    assert [joints.shape for joints in network.predict(np.zeros((2, 20, 30, 3), np.uint8))] == [(0, 3, 3)] * 2
