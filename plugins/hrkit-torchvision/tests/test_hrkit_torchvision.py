import re
import subprocess
import sys
from types import SimpleNamespace

import hrkit_torchvision
import numpy as np
import pytest
import torch
from hrkit_torchvision.detector import TorchvisionDetector, load_weights
from torch import nn
from torchvision.models import WeightsEnum, get_model, get_model_weights

from hrkit import Detections, Pipeline, create_detector
from hrkit.detectors.base import Detector
from hrkit.errors import HrkitError, ImageError, UnknownNameError, WeightsError
from hrkit.registry import detectors
from hrkit.testing import check_detector, describe
from hrkit.weights import catalogue

NAMES = hrkit_torchvision.NAMES
FASTER = "fasterrcnn_mobilenet_v3_large_320_fpn"
"""The fastest with a second stage."""


FEW = ("person", "bicycle")
"""Few classes, as suppression per class takes most of the time."""


def options(name):
    return {"class_names": FEW} | ({} if name.startswith("ssd") else {"min_size": 64, "max_size": 96})


def shapes_only(name, **settings):
    """torchvision's network on the meta device, which takes no time to build."""
    with torch.device("meta"):
        return get_model(name, weights=None, weights_backbone=None, **settings)


def frame(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


class StubNetwork(nn.Module):
    """Returns given results and records its inputs."""

    def __init__(self, boxes=(), labels=(), scores=()):
        super().__init__()
        self.parameter = nn.Parameter(torch.zeros(1))
        self.score_thresh, self.nms_thresh, self.detections_per_img = 0.05, 0.6, 3
        self.result = {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "scores": torch.tensor(scores, dtype=torch.float32),
        }
        self.asked = []

    def forward(self, images):
        self.asked.append(images)
        return [self.result for _ in images]


def stub_detector(*result, **settings):
    return TorchvisionDetector(StubNetwork(*result), class_names=("person", "bicycle", "car"), **settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_runs_untrained(name, no_network):
    torch.manual_seed(0)
    detector = create_detector(name, weights=None, threshold=0.0, classes=None, **options(name))
    image = frame(60, 90)
    before = image.copy()
    (found,) = detector.detect([image])
    assert isinstance(detector, Detector)
    assert isinstance(detector, nn.Module)
    assert isinstance(found, Detections)
    assert len(found), "an untrained network at threshold 0 finds boxes everywhere"
    assert (found.xyxy >= 0).all()
    assert (found.xyxy <= [90, 60, 90, 60]).all()
    assert (found.xyxy[:, 2:] > found.xyxy[:, :2]).all()
    assert (np.diff(found.scores) <= 0).all()
    assert 0 <= found.class_ids.min() <= found.class_ids.max() < 2
    np.testing.assert_array_equal(image, before)
    assert detector.detect([]) == []
    assert [one.xyxy.shape[1] for one in detector.detect([frame(1, 1), frame(7, 40)])] == [4, 4]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("weights=None must not download anything")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr("hrkit.weights.downloads.download", refuse)


@pytest.mark.slow
@pytest.mark.parametrize("name", [FASTER, "ssdlite320_mobilenet_v3_large"])
def test_it_keeps_the_contract(name, no_network):
    """One network with two stages and one with one stage; `test_runs_untrained` covers all others."""
    torch.manual_seed(0)
    findings = check_detector(create_detector(name, weights=None, threshold=0.0, **options(name)), part=name)
    assert not findings, describe(findings)


def test_nobody():
    detector = stub_detector()
    assert detector.detect([]) == []
    assert [len(found) for found in detector.detect([frame(8, 8), frame(9, 9)])] == [0, 0]


def test_people_only_unless_asked():
    boxes = [[0, 0, 4, 4], [1, 1, 5, 5], [2, 2, 6, 6], [3, 3, 7, 7]]
    labels, scores = [2, 1, 3, 1], [0.9, 0.6, 0.8, 0.7]
    (people,) = stub_detector(boxes, labels, scores).detect([frame(10, 10)])
    assert people.xyxy.tolist() == [[3, 3, 7, 7], [1, 1, 5, 5]]
    assert people.class_ids.tolist() == [0, 0]
    np.testing.assert_allclose(people.scores, [0.7, 0.6])
    (cars,) = stub_detector(boxes, labels, scores, classes="car").detect([frame(10, 10)])
    assert cars.class_ids.tolist() == [2]
    (bicycles,) = stub_detector(boxes, labels, scores, classes=[1]).detect([frame(10, 10)])
    assert bicycles.class_ids.tolist() == [1]
    (everything,) = stub_detector(boxes, labels, scores, classes=None).detect([frame(10, 10)])
    assert everything.class_ids.tolist() == [1, 2, 0]  # at most three, as the network says


def test_other_classes_do_not_displace_people():
    detector = stub_detector()
    assert detector.network.detections_per_img == 9
    assert stub_detector(classes=None).network.detections_per_img == 3
    boxes = np.arange(5)[:, None] + np.array([0, 0, 4, 4])
    (people,) = stub_detector(boxes.tolist(), [1] * 5, [0.9, 0.8, 0.7, 0.6, 0.5]).detect([frame(20, 20)])
    assert len(people) == 3


def test_boxes_end_at_the_frame():
    boxes = [[-5, -5, 5, 5], [15, 2, 40, 8], [30, 2, 40, 8], [3, 3, 3, 9], [float("nan"), 0, 5, 5]]
    (found,) = stub_detector(boxes, [1] * 5, [0.9, 0.8, 0.7, 0.6, 0.5]).detect([frame(10, 20)])
    assert found.xyxy.tolist() == [[0, 0, 5, 5], [15, 2, 20, 8]]


def test_the_network_sees_rgb_from_0_to_1():
    detector = stub_detector()
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 0], image[1, 2, 2] = 255, 51  # all blue, one pixel with some red
    detector.detect([image])
    ((seen,),) = detector.network.asked
    assert seen.shape == (3, 4, 6)
    assert seen.dtype == torch.float32
    assert (seen[2] == 1).all()
    assert seen[0, 1, 2] == pytest.approx(0.2)
    assert seen[0].sum() == seen[0, 1, 2]


def test_batches_hold_frames_of_one_size():
    detector = stub_detector(max_batch_size=2)
    sizes = [(8, 9), (8, 9), (9, 8), (8, 9), (9, 8)]
    assert len(detector.detect([frame(*size) for size in sizes])) == 5
    asked = [[tuple(image.shape[1:]) for image in batch] for batch in detector.network.asked]
    assert asked == [[(8, 9), (8, 9)], [(8, 9)], [(9, 8), (9, 8)]]


def test_results_keep_their_order():
    class WidthNetwork(StubNetwork):
        def forward(self, images):
            width = [float(image.shape[2]) for image in images]
            return [
                {
                    "boxes": torch.tensor([[0.0, 0.0, w, 1.0]]),
                    "labels": torch.tensor([1]),
                    "scores": torch.tensor([0.9]),
                }
                for w in width
            ]

    detector = TorchvisionDetector(WidthNetwork(), class_names=("person",))
    widths = [5, 7, 5, 6, 7]
    found = detector.detect([frame(4, width) for width in widths])
    assert [one.xyxy[0, 2] for one in found] == widths


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stage"), [(FASTER, "roi_heads"), ("ssdlite320_mobilenet_v3_large", None), ("fcos_resnet50_fpn", None)]
)
def test_thresholds_reach_the_network(name, stage):
    def last(detector):
        return getattr(detector.network, stage) if stage else detector.network

    own = shapes_only(name)
    own = getattr(own, stage) if stage else own
    with torch.device("meta"):
        default = last(create_detector(name, weights=None))
        given = last(create_detector(name, weights=None, threshold=0.3, nms_threshold=0.45))
    assert (default.score_thresh, default.nms_thresh) == (0.5, own.nms_thresh)
    assert (given.score_thresh, given.nms_thresh) == (0.3, 0.45)


def test_suppression_is_per_class():
    """Boxes of another class suppress no people, whatever their scores."""
    detector = create_detector("ssdlite320_mobilenet_v3_large", weights=None, threshold=0.2, class_names=FEW)
    network = detector.network
    boxes = torch.tensor([[10.0, 10, 100, 100], [12, 12, 100, 100], [150, 150, 200, 200]])
    logits = torch.full((1, 3, 3), -9.0)
    logits[0, 0, 2] = logits[0, 1, 1] = logits[0, 2, 1] = 9
    head = {"bbox_regression": torch.zeros(1, 3, 4), "cls_logits": logits}
    (result,) = network.postprocess_detections(head, [boxes], [(320, 320)])
    assert sorted(result["labels"].tolist()) == [1, 1, 2]
    (found,) = [detector._select(result, (320, 320))]
    np.testing.assert_allclose(found.xyxy, [[12, 12, 100, 100], [150, 150, 200, 200]], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_entries_are_torchvisions(name):
    (entry,) = catalogue.entries(name, "detector")
    published = get_model_weights(name).DEFAULT
    assert entry.url == published.url
    assert entry.checksum == f"sha256:{published.url.removesuffix('.pth')[-8:]}"
    assert entry.metrics == {"box AP": pytest.approx(published.meta["_metrics"]["COCO-val2017"]["box_map"] / 100)}
    assert entry.licence == "BSD-3-Clause"
    assert catalogue.choose(name, kind="detector") is entry
    assert catalogue.cache_path(entry).name == f"{name}-coco.pth"
    assert published.meta["categories"][:2] == ["__background__", "person"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [FASTER, "ssdlite320_mobilenet_v3_large", "fcos_resnet50_fpn"])
def test_entries_name_the_networks_sides(name):
    """Networks without a fixed size keep the shape of a frame."""
    (entry,) = catalogue.entries(name, "detector")
    assert entry.input_size == shapes_only(name).transform.fixed_size


@pytest.mark.slow
def test_loaded_weights_give_what_torchvision_gives(monkeypatch, tmp_path):
    """torchvision uses other batch norms with published weights."""
    name = "fasterrcnn_resnet50_fpn"
    torch.manual_seed(0)
    state = get_model(name, weights=None, weights_backbone=None).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: state)
    theirs = get_model(name, weights="DEFAULT").eval()
    ours = create_detector(name, weights=tmp_path / "weights.pth").network
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        for one, other in zip(ours.backbone(images).values(), theirs.backbone(images).values(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_batch_norms_add_what_torchvisions_add(name, monkeypatch):
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: {})
    monkeypatch.setattr("hrkit_torchvision.detector.read_checkpoint", lambda _: SimpleNamespace(state={}))
    with torch.device("meta"):
        theirs = get_model(name, weights="DEFAULT")
        ours = create_detector(name, weights=__file__).network
    assert eps_by_name(ours) == eps_by_name(theirs)


def eps_by_name(network):
    return {name: part.eps for name, part in network.named_modules() if hasattr(part, "eps")}


@pytest.fixture(scope="module")
def people_file(tmp_path_factory):
    """The tensors of an untrained `FASTER` for people only."""
    network = get_model(FASTER, weights=None, weights_backbone=None, num_classes=2)
    path = tmp_path_factory.mktemp("weights") / "people.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.slow
def test_older_files_fit(people_file, tmp_path):
    """torchvision's first files have other names for layers of the pyramid and proposals, and no batch counts."""
    state = torch.load(people_file, weights_only=True)
    state = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    old = {re.sub(r"(_blocks\.\d\.|rpn\.head\.conv\.0\.)0\.", r"\1", name): tensor for name, tensor in state.items()}
    old = {name.replace("rpn.head.conv.0.", "rpn.head.conv."): tensor for name, tensor in old.items()}
    assert {"rpn.head.conv.weight", "backbone.fpn.inner_blocks.0.weight"} <= set(old)
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "old.pth")
    network = get_model(FASTER, weights=None, weights_backbone=None, num_classes=2)
    load_weights(network, tmp_path / "old.pth", FASTER)
    loaded = network.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
def test_weights_that_do_not_fit(people_file, tmp_path):
    with pytest.raises(WeightsError, match=r"people.pth does not fit ssdlite320_mobilenet_v3_large: Missing key"):
        load_weights(shapes_only("ssdlite320_mobilenet_v3_large"), people_file, "ssdlite320_mobilenet_v3_large")
    with pytest.raises(WeightsError, match="size mismatch") as caught:
        load_weights(shapes_only(FASTER), people_file, FASTER)
    assert "\n" not in str(caught.value)
    (tmp_path / "damaged.pth").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="damaged"):
        load_weights(nn.Identity(), tmp_path / "damaged.pth", FASTER)
    with pytest.raises(WeightsError, match="no weights file"):
        create_detector(FASTER, weights=tmp_path / "missing.pth")


@pytest.mark.slow
def test_other_classes(people_file):
    detector = create_detector(FASTER, weights=people_file, class_names=("person",), min_size=96)
    assert detector.class_names == ("person",)
    assert len(detector.detect([frame(40, 40)])) == 1


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"classes": ("persn",)}, UnknownNameError),
        ({"classes": ()}, HrkitError),
        ({"classes": (3,)}, HrkitError),
        ({"threshold": 1.5}, HrkitError),
        ({"nms_threshold": -1}, HrkitError),
        ({"max_batch_size": 0}, HrkitError),
    ],
)
def test_invalid_settings(settings, error):
    with pytest.raises(error):
        stub_detector(**settings)


@pytest.mark.parametrize(
    "image", [None, np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_invalid_frames(image):
    with pytest.raises(ImageError):
        stub_detector().detect([image])


def test_training_mode_does_not_matter():
    detector = stub_detector()
    detector.train()
    detector.detect([frame(4, 4)])
    assert not detector.network.training


@pytest.mark.slow
def test_plugs_into_a_pipeline():
    fixed = {"weights": None, "detector_weights": None, "device": "cpu"}
    pipeline = Pipeline.from_names("hrnet_w8", FASTER, nms_threshold=0.45, **fixed)
    poses = pipeline(frame(96, 64))
    assert poses.keypoints.shape == (len(poses), 17, 2)
    assert pipeline.detector.network.roi_heads.nms_thresh == 0.45


@pytest.mark.slow
def test_hooks_are_cheap():
    code = (
        "import sys, hrkit_torchvision as plugin\n"
        "plugin.register_detectors(), plugin.register_weights()\n"
        "assert 'torchvision' not in sys.modules"
    )
    path = [str(folder) for folder in sys.path]
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:] = {path!r}\n{code}"], check=True)


def test_a_name_is_a_torchvision_builder():
    assert set(NAMES) <= set(detectors.names())
