"""`lite_person`: NanoDet-g's person class, in pictures of any size."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from hrkit_lite.person_detector import (
    NMS_THRESHOLD,
    THRESHOLD,
    VOTE_IOU,
    PersonDetector,
    averaged,
    lite_person,
    load_weights,
    normalise,
    padded_size,
    resize_into,
    resized_size,
)
from hrkit_lite.person_network import (
    OUTPUTS,
    STRIDES,
    PersonNetwork,
    cell_centers,
    decode_boxes,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import box_iou

from hrkit.errors import HrkitError, ImageError, WeightsError
from hrkit.export import exportable_detector
from hrkit.pipeline import Pipeline, create_detector
from hrkit.testing.scenes import PHOTO_PEOPLE, photo
from hrkit.weights import catalogue


class Scripted(nn.Module):
    """Finds people in cells, each (level, row, column, logit, distance in strides to every side)."""

    def __init__(self, *cells: tuple[int, int, int, float, int]) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, images: Tensor) -> Tensor:
        """(N,3,H,W) -> (N,A,45)."""
        levels = []
        for level, stride in enumerate(STRIDES):
            outputs = torch.zeros(len(images), images.shape[2] // stride, images.shape[3] // stride, OUTPUTS)
            outputs[..., 0] = -20
            for at, row, column, logit, distance in self.cells:
                if at == level:
                    outputs[:, row, column, 0] = logit
                    outputs[:, row, column, 1:].unflatten(1, (4, 11))[..., distance] = 50
            levels.append(outputs.flatten(1, 2))
        return torch.cat(levels, 1)


def grey(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 128, np.uint8)


@pytest.mark.slow
@pytest.mark.needs_shared
def test_it_is_nanodet_g(shared: Path) -> None:
    reference = np.load(shared / "reference" / "nanodet_g_person_reference.npz")
    network = PersonNetwork().eval()
    load_weights(network, shared / "weights" / "nanodet_g_person.safetensors")
    images = torch.from_numpy(np.random.RandomState(7).randn(1, 3, 416, 416).astype(np.float32))
    with torch.inference_mode():
        levels, outputs = network.levels(images), network(images)
    for stride, level in zip(STRIDES, levels, strict=True):
        np.testing.assert_allclose(level[0], reference[f"logits_{stride}"], atol=1e-4)
        cells = level[0].flatten(1).T
        np.testing.assert_allclose(cells[:, 0].sigmoid(), reference[f"graph_score_{stride}"], atol=1e-4)
        np.testing.assert_allclose(cells[:, 1:], reference[f"graph_distances_{stride}"], atol=1e-4)
    assert torch.equal(outputs, torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1))


def test_cells_lie_where_their_features_come_from() -> None:
    centers, strides = cell_centers((64, 96))
    assert len(centers) == 8 * 12 + 4 * 6 + 2 * 3
    assert centers[0].tolist() == [3.5, 3.5]
    assert centers[13].tolist() == [11.5, 11.5]
    assert centers[-1].tolist() == [79.5, 47.5]
    assert strides.unique().tolist() == [8, 16, 32]


def test_a_distance_is_the_mean_of_its_distribution() -> None:
    distances = torch.full((1, 4, 11), -50.0)
    distances[0, 0, 3] = 50
    distances[0, 1, 10] = 50
    distances[0, 2, [4, 5]] = 50
    distances[0, 3, 0] = 50
    boxes = decode_boxes(distances.flatten(1), torch.tensor([[100.0, 200.0]]), torch.tensor([16.0]))
    torch.testing.assert_close(boxes, torch.tensor([[52.0, 40.0, 172.0, 200.0]]))


@pytest.mark.parametrize(
    ("frame", "size", "padded"),
    [
        ((480, 640), (312, 416), (320, 416)),
        ((640, 480), (416, 312), (416, 320)),
        ((1, 1), (416, 416), (416, 416)),
        ((50, 1000), (21, 416), (32, 416)),
        ((1, 5000), (1, 416), (32, 416)),
        ((8000, 6000), (416, 312), (416, 320)),
    ],
)
def test_frames_keep_their_shape(frame: tuple[int, int], size: tuple[int, int], padded: tuple[int, int]) -> None:
    assert resized_size(frame, 416) == size
    assert padded_size(size) == padded


def test_boxes_are_in_px_of_the_frame() -> None:
    detector = PersonDetector(Scripted((1, 9, 12, 3.0, 4)))
    found = detector.detect([grey(624, 832), grey(312, 416)])
    # cell (9, 12) of stride 16 is about (199.5, 151.5), and reaches 64 px to each side, in an input of half the frame
    np.testing.assert_allclose(found[0].xyxy, [[271, 175, 527, 431]], atol=1e-3)
    np.testing.assert_allclose(found[1].xyxy, found[0].xyxy / 2, atol=1e-3)
    np.testing.assert_allclose(found[0].scores, [0.95257], atol=1e-4)
    assert found[0].class_ids.tolist() == [0]


def test_boxes_below_the_threshold_and_doubles_go() -> None:
    network = Scripted((1, 9, 12, 3.0, 4), (1, 9, 13, 2.0, 4), (0, 4, 4, 0.5, 2), (0, 4, 20, -1.0, 2))
    found = PersonDetector(network, threshold=0.5).detect([grey(312, 416)])[0]
    np.testing.assert_allclose(found.scores, torch.tensor([3.0, 0.5]).sigmoid(), atol=1e-5)
    everything = PersonDetector(network, threshold=0.1, nms_threshold=1.0).detect([grey(312, 416)])[0]
    np.testing.assert_allclose(everything.scores, torch.tensor([3.0, 2.0, 0.5, -1.0]).sigmoid(), atol=1e-5)
    one = PersonDetector(network, threshold=0.1, nms_threshold=1.0, max_detections=1).detect([grey(312, 416)] * 2)
    assert [len(found) for found in one] == [1, 1]
    np.testing.assert_allclose([found.scores[0] for found in one], 0.95257, atol=1e-4)


@pytest.mark.parametrize(("logit", "counts"), [(2.0, True), (-1.0, True), (-3.0, False)])
def test_a_box_is_averaged_with_those_around_it(logit: float, counts: bool) -> None:
    alone = PersonDetector(Scripted((1, 9, 12, 3.0, 4))).detect([grey(312, 416)])[0]
    neighbour = (1, 9, 13, logit, 4)  # 16 px to the right: an IoU of 0.78
    far = (1, 9, 15, 2.0, 4)  # 48 px: an IoU of 0.45
    found = PersonDetector(Scripted((1, 9, 12, 3.0, 4), neighbour, far)).detect([grey(312, 416)])[0]
    weights = torch.tensor([3.0, logit]).sigmoid()
    shift = 16 * float(weights[1] / weights.sum()) * counts
    np.testing.assert_allclose(found.xyxy[0], alone.xyxy[0] + [shift, 0, shift, 0], atol=1e-3)
    np.testing.assert_allclose(found.scores[0], alone.scores[0])


@given(arrays(np.float32, (12, 4), elements=st.floats(0, 300, width=32)), st.integers(0, 11))
def test_averages_stay_between_the_boxes_and_within_the_frame(corners: NDArray[np.float32], place: int) -> None:
    boxes = torch.from_numpy(np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], 1))
    frames = torch.arange(12) % 2
    mean = averaged(boxes, torch.linspace(0.1, 0.9, 12), frames, torch.tensor([place]))[0]
    alike = boxes[frames == place % 2][(box_iou(boxes[[place]], boxes[frames == place % 2])[0] >= VOTE_IOU)]
    around = torch.cat([alike, boxes[[place]]])
    assert (mean >= around.amin(0) - 1e-3).all()
    assert (mean <= around.amax(0) + 1e-3).all()
    assert float(box_iou(mean[None], boxes[[place]])) >= 0.5 or not alike.numel()


def test_averages_do_not_depend_on_other_frames_of_the_batch() -> None:
    draw = torch.Generator().manual_seed(0)
    corner, grown = (torch.rand(100, 2, generator=draw) * 3 + start for start in (100, 150))
    boxes, scores, frames = torch.cat([corner, grown], 1), torch.rand(100, generator=draw), torch.arange(100) % 2
    together = averaged(boxes, scores, frames, torch.arange(6))
    alone = averaged(boxes[::2], scores[::2], frames[::2], torch.arange(3))
    assert torch.equal(together[::2], alone)


def test_a_network_gone_astray_finds_nothing() -> None:
    class Astray(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.full((len(images), len(cell_centers(images.shape[2:])[0]), OUTPUTS), torch.nan)

    assert len(PersonDetector(Astray()).detect([grey(48, 64)])[0]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": 400}, "input_size=400; it must be a multiple of 32"),
        ({"input_size": 0}, "input_size=0"),
        ({"threshold": 1.5}, "threshold=1.5; it must be from 0 to 1"),
        ({"nms_threshold": -0.1}, "nms_threshold=-0.1"),
        ({"max_detections": 0}, "max_detections=0; it must be at least 1"),
        ({"max_batch_size": 0}, "max_batch_size=0; it must be at least 1"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, float], message: str) -> None:
    with pytest.raises(HrkitError, match=message):
        lite_person(**options)


@pytest.mark.parametrize("size", [(2048, 1536), (1280, 720), (1282, 721), (640, 480), (200, 100)])
def test_large_frames_are_averaged(size: tuple[int, int]) -> None:
    """To the rounding of the steps in between."""
    frame = cv2.resize(photo(), size, interpolation=cv2.INTER_CUBIC)
    out = np.zeros((416, 416, 3), np.uint8)
    resize_into(frame, out, 416)
    height, width = resized_size(frame.shape[:2], 416)
    how = cv2.INTER_AREA if size[0] > 416 else cv2.INTER_LINEAR
    expected = cv2.resize(frame, (width, height), interpolation=how)
    difference = np.abs(out[:height, :width].astype(int) - expected)
    assert difference.max() <= 16
    assert difference.mean() < 0.7
    assert not out[height:].any()


def test_what_is_not_a_frame() -> None:
    with pytest.raises(ImageError):
        lite_person().detect([np.zeros((4, 4), np.uint8)])


def test_no_frames() -> None:
    assert lite_person().detect([]) == []


def test_an_exported_file_says_what_goes_in_and_comes_out() -> None:
    exported = exportable_detector(lite_person(input_size=64), "lite_person", "lite_person")
    assert exported.metadata["channel_order"] == "bgr"
    assert exported.metadata["input_size"] == [64, 64]
    frame = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    mean, std = (np.array(exported.metadata[name]) for name in ("mean", "std"))
    np.testing.assert_allclose(
        normalise(torch.from_numpy(frame)).permute(0, 2, 3, 1), (frame / 255 - mean) / std, atol=1e-5
    )
    assert exported.network(torch.zeros(1, 3, 64, 64)).shape == (1, 84, OUTPUTS)


@pytest.mark.parametrize("content", [b"", b"<html>", None])
def test_a_file_that_does_not_fit(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.safetensors"
    if content is None:
        safetensors.torch.save_file({"weight": torch.zeros(1)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match="does not fit lite_person") as caught:
        lite_person(weights=path)
    assert "\n" not in str(caught.value)


def test_the_file_is_the_one_that_was_published(registered: ModuleType) -> None:
    entry = catalogue.choose("lite_person", kind="detector")
    file = catalogue.fetch(entry)
    assert file.stat().st_size <= 8_000_000
    assert entry.checksum == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    stored = safetensors.torch.load_file(file)
    assert {values.dtype for values in stored.values()} == {torch.float16}
    assert stored.keys() == PersonNetwork().state_dict().keys()


@pytest.mark.slow
def test_it_is_built_by_name(registered: ModuleType) -> None:
    detector = create_detector("lite_person", threshold=0.3, nms_threshold=None, input_size=320)
    assert isinstance(detector, PersonDetector)
    assert (detector.threshold, detector.nms_threshold, detector.input_size) == (0.3, NMS_THRESHOLD, 320)
    assert len(detector.detect([grey(48, 64)])[0]) == 0
    pipeline = Pipeline.from_names("lite", "lite_person", device="cpu")
    assert isinstance(pipeline.detector, PersonDetector)
    assert (pipeline.detector.threshold, pipeline.detector.nms_threshold) == (THRESHOLD, NMS_THRESHOLD)


def test_it_sees_both_players(registered: ModuleType) -> None:
    found = create_detector("lite_person").detect([photo()])[0]
    assert len(found) == 2
    order = found.xyxy[:, 0].argsort()
    overlap = box_iou(torch.tensor(found.xyxy[order]), torch.tensor(PHOTO_PEOPLE)).diagonal()
    assert overlap.min() > 0.7


@pytest.mark.slow
def test_a_mixed_batch_is_its_pictures_alone(registered: ModuleType) -> None:
    people = photo()
    frames = [
        people,
        np.rot90(people).copy(),
        cv2.resize(people, (8000, 6000)),
        np.concatenate([people] * 15, 1)[:, :9600],  # 1 to 20
        np.concatenate([people] * 15, 1)[:, :9600].transpose(1, 0, 2).copy(),
        people[:1, :1],
        people[:1, :7],
        people[:200, :3],
        people[100:400, 20:300],
        np.zeros((96, 128, 3), np.uint8),
    ]
    detector = create_detector("lite_person", threshold=0.3).prepared(torch.device("cpu"))  # type: ignore[attr-defined]
    together = detector.detect(frames)
    for frame, in_batch in zip(frames, together, strict=True):
        (alone,) = detector.detect([frame])
        np.testing.assert_allclose(in_batch.xyxy, alone.xyxy, atol=0.01)
        np.testing.assert_allclose(in_batch.scores, alone.scores, atol=1e-4)
        height, width = frame.shape[:2]
        assert (in_batch.xyxy >= 0).all()
        assert (in_batch.xyxy <= [width, height, width, height]).all()
    np.testing.assert_allclose(together[2].xyxy[:2] / 12.5, together[0].xyxy[:2], atol=12)
    assert [len(together[place]) for place in (5, 6, 7, 9)] == [0, 0, 0, 0]


@pytest.mark.slow
@pytest.mark.needs_shared
def test_people_it_has_not_seen(registered: ModuleType, shared: Path) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))
    from measure_person import close_ups
    from person_metrics import judge
    from person_samples import read_photos

    photos = read_photos(shared / "data" / "coco_val")[::3]
    detector = create_detector("lite_person", threshold=0.0001)
    judged = judge(detector.prepared(torch.device("cpu"), "float32").detect, photos)  # type: ignore[attr-defined]
    # on these 72 photos the AP is 0.556 and the recall 0.889, and all 11 people who are near are found
    assert judged.average_precision().mean() > 0.53
    assert judged.recall(5) > 0.87
    near, found = close_ups(judged, photos, THRESHOLD)
    assert near > 10
    assert found >= 0.9 * near
