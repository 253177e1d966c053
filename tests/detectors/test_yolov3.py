"""The YOLOv3 detectors: letterbox, threshold, suppression, boxes in frame px."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from hrkit.detectors.base import Detector
from hrkit.detectors.darknet import Convolution, DarknetNetwork, load_darknet_weights
from hrkit.detectors.darknet_cfg import read_cfg
from hrkit.detectors.yolov3 import CFG_FOLDER, Yolov3, read_class_names, yolov3, yolov3_tiny
from hrkit.errors import HrkitError, ImageError, UnknownNameError, WeightsError
from hrkit.geometry import letterbox, letterbox_transform
from hrkit.structures import Detections
from small_pictures import noise

PHOTOS = ("person.jpg", "horses.jpg", "basketball.jpg")
Row = tuple[float, float, float, float, float, float, float]
Frames = list[NDArray[np.uint8]]


class Scripted(nn.Module):
    """A network of two classes that says the same of every image."""

    stride, num_classes = 32, 2

    def __init__(self, rows: list[Row]) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.tensor(rows, dtype=torch.float32).reshape(-1, 7))
        self.batches: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        self.batches.append(images.clone())
        return self.rows.float().expand(len(images), -1, -1)


def scripted(*rows: Row, **options: Any) -> Yolov3:
    return Yolov3(Scripted(list(rows)), input_size=64, class_names=("person", "dog"), **options)  # type: ignore[arg-type]


def iou(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """(N,4) and (M,4) boxes -> (N,M)."""
    corners = np.clip(
        np.minimum(one[:, None, 2:], other[None, :, 2:]) - np.maximum(one[:, None, :2], other[None, :, :2]), 0, None
    )
    shared = corners.prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (one, other)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


@pytest.fixture(scope="module")
def tiny() -> Yolov3:
    """Random weights that make up their mind: many boxes of every class."""
    torch.manual_seed(0)
    detector = yolov3_tiny(weights=None, input_size=96, threshold=0.6, classes=None)
    for layer in detector.network.layers:
        if isinstance(layer, Convolution):
            torch.nn.init.kaiming_normal_(layer.conv.weight)
    return detector


@pytest.mark.slow
@pytest.mark.needs_shared
@pytest.mark.parametrize("photo", PHOTOS)
def test_people_are_where_darknet_sees_them(shared: Path, photo: str) -> None:
    reference = json.loads((shared / "reference" / "darknet_yolov3_tiny.json").read_text())[photo]
    people = [row for row in reference["detections"] if row[1] == "person"]
    boxes = np.array([row[3:] for row in people], np.float32).reshape(-1, 4)
    frame = cv2.imread(str(shared / "media" / photo))
    assert frame is not None
    detector = yolov3_tiny(weights=shared / "weights" / "yolov3-tiny.weights", threshold=0.2)
    found = detector.detect([frame])[0]
    assert (found.class_ids == 0).all()
    overlap = iou(found.xyxy, boxes)
    sure = np.array([row[2] > 0.3 for row in people], bool)
    near = np.abs(found.scores[:, None] - np.array([row[2] for row in people])[None]) <= 0.05
    assert ((overlap >= 0.9) & near)[:, sure].any(0).all()
    assert (overlap >= 0.9)[found.scores > 0.35].any(1).all()


@pytest.mark.slow
@pytest.mark.needs_shared
def test_photos_in_a_batch_are_photos_alone(shared: Path) -> None:
    frames = [cv2.imread(str(shared / "media" / photo)) for photo in PHOTOS]
    detector = yolov3_tiny(
        weights=shared / "weights" / "yolov3-tiny.weights", threshold=0.1, classes=None, max_batch_size=2
    )
    together, alone = detector.detect(frames), [detector.detect([frame])[0] for frame in frames]
    assert [len(found) for found in together] == [6, 11, 2]
    assert_same(together, alone)


def assert_same(one: list[Detections], other: list[Detections]) -> None:
    """The same boxes, in any order: scores may be equal but for rounding."""
    assert [len(found) for found in one] == [len(found) for found in other]
    for a, b in zip(one, other, strict=True):
        same = (a.class_ids[:, None] == b.class_ids) & (np.abs(a.scores[:, None] - b.scores) < 1e-4)
        same &= np.abs(a.xyxy[:, None] - b.xyxy).max(2) < 0.01
        assert same.any(0).all()
        assert same.any(1).all()


@pytest.mark.slow
def test_a_batch_is_frames_alone(tiny: Yolov3) -> None:
    frames = [noise(60, 90, 1), noise(200, 50, 2), noise(96, 96, 3), noise(1, 7, 4), noise(64, 64, 5)]
    copies = [frame.copy() for frame in frames]
    together = tiny.detect(frames)
    assert sum(map(len, together)) > 20
    assert_same(together, [tiny.detect([frame])[0] for frame in frames])
    for frame, copy, found in zip(frames, copies, together, strict=True):
        np.testing.assert_array_equal(frame, copy)
        assert (np.diff(found.scores) <= 0).all()
        assert (found.xyxy >= 0).all()
        assert (found.xyxy <= np.array([frame.shape[1], frame.shape[0]] * 2)).all()
        assert (found.areas > 0).all()


def test_no_frames_and_nobody(tiny: Yolov3) -> None:
    assert tiny.detect([]) == []
    nobody = scripted((32, 32, 10, 10, 0.4, 0.5, 0))
    assert [len(found) for found in nobody.detect([noise(5, 5)] * 3)] == [0, 0, 0]
    assert len(scripted().detect([noise(5, 5)])[0]) == 0


def test_it_is_a_detector(tiny: Yolov3) -> None:
    assert isinstance(tiny, Detector)
    assert isinstance(tiny.network, DarknetNetwork)
    assert not any(parameter.requires_grad and parameter.grad is not None for parameter in tiny.parameters())


def test_boxes_come_back_from_the_letterbox() -> None:
    # a 128x64 frame in a 64x64 letterbox: half size, 16 px down
    detector = scripted((32, 32, 20, 10, 0.9, 0.9, 0.1))
    found = detector.detect([noise(64, 128)])[0]
    np.testing.assert_allclose(found.xyxy, [[44, 22, 84, 42]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.81])
    assert found.class_ids.tolist() == [0]


def test_boxes_end_at_the_frame() -> None:
    rows: list[Row] = [
        (32, 16, 100, 10, 1, 0.9, 0),  # over three edges
        (32, 8, 60, 10, 1, 0.8, 0),  # in the grey above the picture
        (32, 30, 0, 10, 1, 0.7, 0),  # no width
        (60, 44, 10, 20, 1, 0.6, 0),
    ]
    found = scripted(*rows).detect([noise(64, 128)])[0]
    np.testing.assert_allclose(found.xyxy, [[0, 0, 128, 10], [110, 36, 128, 64]], atol=1e-4)


def test_numbers_gone_astray_do_no_harm() -> None:
    nan, inf = float("nan"), float("inf")
    rows: list[Row] = [
        (32, 32, 20, 20, nan, 0.9, 0.9),
        (32, 32, 20, 20, 0.9, nan, 0),
        (nan, 32, 20, 20, 0.9, 0.95, 0),
        (32, 32, nan, 20, 0.9, 0.94, 0),
        (32, 32, inf, inf, 0.9, 0.93, 0),
        (20, 20, 10, 10, 0.9, 0.9, 0),
        (20, 20, 10, 10, 0.9, 0.8, 0),
    ]
    found = scripted(*rows, classes=None).detect([noise(64, 64)])[0]
    np.testing.assert_allclose(found.xyxy, [[0, 0, 64, 64], [15, 15, 25, 25]])
    np.testing.assert_allclose(found.scores, [0.837, 0.81], rtol=1e-5)


def test_suppression_is_for_each_class_and_frame() -> None:
    rows: list[Row] = [
        (20, 20, 10, 10, 1, 0.9, 0.6),
        (20, 21, 10, 10, 1, 0.8, 0.7),
        (20, 40, 10, 10, 1, 0.5, 0),
    ]
    everything = scripted(*rows, classes=None).detect([noise(64, 64), noise(64, 64)])
    for found in everything:
        np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.5])
        assert found.class_ids.tolist() == [0, 1, 0]
    assert scripted(*rows).detect([noise(64, 64)])[0].class_ids.tolist() == [0, 0]
    np.testing.assert_allclose(scripted(*rows, classes=["dog"]).detect([noise(9, 9)])[0].scores, [0.7])
    np.testing.assert_allclose(scripted(*rows, nms_threshold=1).detect([noise(9, 9)])[0].scores, [0.9, 0.8, 0.5])


def test_a_score_at_the_threshold_stays() -> None:
    rows: list[Row] = [(20, 20, 10, 10, 0.5, 0.5, 0), (40, 40, 10, 10, 0.5, 0.499, 0)]
    assert len(scripted(*rows).detect([noise(64, 64)])[0]) == 1
    assert len(scripted(*rows, threshold=0.2495).detect([noise(64, 64)])[0]) == 2
    assert len(scripted(*rows, threshold=1).detect([noise(64, 64)])[0]) == 0


def test_the_network_sees_letterboxed_rgb() -> None:
    detector = scripted(max_batch_size=2)
    frames: Frames = [np.full((4, 8, 3), (255, 128, 0), np.uint8), noise(64, 64), noise(10, 64)]
    detector.detect(frames)
    network: Any = detector.network
    assert [len(batch) for batch in network.batches] == [2, 1]
    first = network.batches[0][0]
    assert first.shape == (3, 64, 64)
    torch.testing.assert_close(first[:, 32, 32], torch.tensor([0, 128, 255]) / 255)
    torch.testing.assert_close(first[:, 0, 0], torch.full((3,), 128 / 255))
    plain = torch.from_numpy(frames[1][..., ::-1].copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(network.batches[0][1], plain)


def test_it_follows_dtype_and_leaves_training_mode() -> None:
    detector = scripted((20, 20, 10, 10, 1, 0.9, 0.6)).to(torch.bfloat16)
    detector.train()
    found = detector.detect([noise(64, 64)])[0]
    network: Any = detector.network
    assert network.batches[0].dtype == torch.bfloat16
    assert found.scores[0] == pytest.approx(0.9, abs=0.01)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_gpu_finds_the_same(tiny: Yolov3) -> None:
    frames = [noise(60, 90, 1), noise(200, 50, 2)]
    wanted = tiny.detect(frames)
    try:
        found = tiny.cuda().detect(frames)
    finally:
        tiny.cpu()
    assert sum(map(len, found)) == pytest.approx(sum(map(len, wanted)), abs=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold=1.5; it must be from 0 to 1"),
        ({"threshold": float("nan")}, "threshold=nan"),
        ({"nms_threshold": -0.1}, "nms_threshold=-0.1; it must be from 0 to 1"),
        ({"max_batch_size": 0}, "max_batch_size=0"),
        ({"input_size": 100}, "input_size=100; it must be a multiple of 32"),
        ({"input_size": 0}, "input_size=0"),
        ({"classes": []}, "classes is empty"),
        ({"classes": [80]}, "class 80 is not there: the network has 80"),
        ({"classes": [-1]}, "class -1 is not there"),
        ({"class_names": ["person"]}, "1 class names for a network of 80 classes"),
    ],
)
def test_settings_that_make_no_sense(tiny: Yolov3, options: dict[str, Any], message: str) -> None:
    with pytest.raises(HrkitError, match=message):
        Yolov3(tiny.network, **options)


def test_classes_by_name_and_number(tiny: Yolov3) -> None:
    def ids(classes: Any) -> list[int]:
        return Yolov3(tiny.network, classes=classes).class_ids.tolist()

    assert ids(("person",)) == ids("person") == ids([0]) == [0]
    assert ids(["dog", 0, "dog", 16]) == [16, 0]
    assert ids(None) == list(range(80))
    assert Yolov3(tiny.network).class_ids.tolist() == [0]
    with pytest.raises(UnknownNameError, match="unknown class 'persons'; did you mean person"):
        ids(["persons"])


@pytest.mark.parametrize(
    "frame",
    ["a.jpg", np.zeros((4, 4, 3)), *(np.zeros(shape, np.uint8) for shape in [(4, 4), (0, 4, 3), (4, 4, 4)])],
)
def test_what_is_no_frame(tiny: Yolov3, frame: Any) -> None:
    with pytest.raises(ImageError, match="frame"):
        tiny.detect([noise(4, 4), frame])


def test_weights_and_cfg_by_path(tmp_path: Path) -> None:
    names, path = tmp_path / "my.names", tmp_path / "page.weights"
    names.write_text("\n".join(f"thing {i}" for i in range(80)) + "\n")
    cfg = CFG_FOLDER / "yolov3-tiny.cfg"
    detector = yolov3_tiny(weights=None, cfg=cfg, class_names=names, classes=["thing 7"])
    assert detector.class_ids.tolist() == [7]
    assert detector.input_size == 416
    path.write_text("<html>quota exceeded</html>")
    with pytest.raises(WeightsError, match="is a web page"):
        yolov3_tiny(weights=path)
    with pytest.raises(HrkitError, match="cannot read the class names"):
        read_class_names(tmp_path / "none.names")
    with pytest.raises(WeightsError, match="none"):
        yolov3_tiny(weights=str(tmp_path / "none.weights"))


@pytest.mark.slow
@pytest.mark.needs_shared
def test_weights_of_another_network(shared: Path) -> None:
    with pytest.raises(WeightsError, match="expected 248007048 bytes for this network, found 35434956"):
        yolov3(weights=shared / "weights" / "yolov3-tiny.weights")


@pytest.mark.slow
@pytest.mark.needs_shared
def test_built_detector_is_the_plain_network(shared: Path) -> None:
    path = shared / "weights" / "yolov3-tiny.weights"
    plain = DarknetNetwork(read_cfg(CFG_FOLDER / "yolov3-tiny.cfg")).eval()
    load_darknet_weights(plain, path)
    statistics = 2 * 3184
    assert sum(parameter.numel() for parameter in plain.parameters()) + statistics == 8_858_734
    images = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(yolov3_tiny(weights=path).network(images), plain(images), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_names_are_known_without_loading_a_network() -> None:
    script = (
        "import sys, hrkit.detectors as d\n"
        "print(sorted(d.register_detectors()), 'hrkit.detectors.darknet' in sys.modules, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "['synthetic', 'yolov3', 'yolov3_tiny'] False False"


SIDES = st.integers(1, 3000)
INPUTS = st.integers(1, 20).map(lambda side: 32 * side)


@given(SIDES, SIDES, INPUTS, st.floats(0, 1), st.floats(0, 1))
def test_the_letterbox_can_be_undone(height: int, width: int, side: int, x: float, y: float) -> None:
    scale_x, scale_y, left, top = letterbox_transform((height, width), (side, side))
    boxed = np.array([x * width * scale_x + left, y * height * scale_y + top])
    assert (boxed >= -1e-6).all()
    assert (boxed <= side + 1e-6).all()
    np.testing.assert_allclose((boxed - [left, top]) / [scale_x, scale_y], [x * width, y * height], atol=1e-6)
    assert max(scale_x * width, scale_y * height) == pytest.approx(side)


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from([32, 64, 96]))
def test_the_whole_frame_fills_the_letterbox(height: int, width: int, side: int) -> None:
    out = np.zeros((side, side, 3), np.uint8)
    letterbox(np.full((height, width, 3), 255, np.uint8), out)
    scale_x, scale_y, left, top = letterbox_transform((height, width), (side, side))
    rows, columns = np.nonzero(out[..., 0] == 255)
    assert (rows.min(), columns.min()) == (top, left)
    assert rows.max() + 1 - top == pytest.approx(scale_y * height)
    assert columns.max() + 1 - left == pytest.approx(scale_x * width)
    assert ((out == 255) | (out == 128)).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 1), st.floats(0, 1))
def test_a_box_of_the_network_is_a_box_in_the_frame(height: int, width: int, x: float, y: float) -> None:
    scale_x, scale_y, left, top = letterbox_transform((height, width), (64, 64))
    x1, y1, x2, y2 = x * width / 2, y * height / 2, width * (1 + x) / 2, height * (1 + y) / 2
    row = (
        (x1 + x2) / 2 * scale_x + left,
        (y1 + y2) / 2 * scale_y + top,
        (x2 - x1) * scale_x,
        (y2 - y1) * scale_y,
        1.0,
        1.0,
        0.0,
    )
    found = scripted(row).detect([noise(height, width)])[0]
    np.testing.assert_allclose(found.xyxy, [[x1, y1, x2, y2]], atol=1e-3 * max(height, width))
