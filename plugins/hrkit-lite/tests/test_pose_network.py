"""`lite`: the network of MoveNet, and the weights in this package."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from hrkit_lite.pose_network import LiteBackbone, LiteHead, SameConv2d
from torch import Tensor, nn
from torch.nn import functional

from hrkit.cli import main
from hrkit.datasets.coco import coco
from hrkit.errors import HrkitError
from hrkit.evaluation.coco import evaluate
from hrkit.pose_model import create_pose_model
from hrkit.training.config import TrainConfig, load_config
from hrkit.training.objective import HeatmapObjective
from hrkit.weights import catalogue

RECIPES = sorted((Path(__file__).parents[1] / "training").glob("lite*.toml"))


class Network(nn.Module):
    """Backbone and head, named as in the weights files."""

    def __init__(self, width: float = 1.0, num_joints: int = 17) -> None:
        super().__init__()
        self.backbone = LiteBackbone(width=width)
        self.head = LiteHead(channels=self.backbone.channels, strides=self.backbone.strides, num_joints=num_joints)

    def logits(self, images: Tensor) -> Tensor:
        return self.head.logits(self.backbone(images))


@pytest.mark.needs_shared
@pytest.mark.parametrize(("name", "width"), [("lightning", 1.0), ("thunder", 1.75)])
def test_it_is_movenet(shared: Path, name: str, width: float) -> None:
    network = Network(width).eval()
    network.load_state_dict(safetensors.torch.load_file(shared / "weights" / f"movenet_{name}.safetensors"))
    images = (np.random.RandomState(7).rand(1, 3, 256, 192) * 2 - 1).astype(np.float32)
    wanted = np.load(shared / "reference" / f"movenet_{name}_256x192.npz")["logits"]
    with torch.inference_mode():
        got = network.logits(torch.from_numpy(images)).numpy()
    assert np.linalg.norm(got - wanted) <= 1e-4 * np.linalg.norm(wanted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "megabytes", "size"),
    [
        ("lite-coco-192x160", 13, (192, 160)),
        ("lite-coco-256x192", 5, (256, 192)),
        ("lite_plus-coco-256x192", 13, (256, 192)),
    ],
)
def test_the_weights_in_the_package_fit(
    registered: ModuleType, weights: str, megabytes: int, size: tuple[int, int]
) -> None:
    entry = catalogue.find(weights)
    assert catalogue.fetch(entry).stat().st_size <= megabytes * 1_000_000
    model = create_pose_model(entry.model, weights=weights, input_size=None).eval()
    assert isinstance(model.head, LiteHead)
    name = weights.split("-")[0]
    assert (model.name, model.spec.head, model.spec.codec, model.spec.sigma) == (name, "lite", "dark", 2.0)
    state = safetensors.torch.load_file(catalogue.fetch(entry))
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key].float()) for key, value in model.state_dict().items())
    with torch.inference_mode():
        heatmaps = model(torch.rand(2, 3, *size) * 2 - 1)
    assert heatmaps.shape == (2, 17, size[0] // 4, size[1] // 4)
    assert heatmaps.min() >= 0
    assert heatmaps.max() <= 1


@pytest.mark.slow
def test_what_a_name_stands_for(registered: ModuleType) -> None:
    for name, weights in (("lite", "lite-coco-192x160"), ("lite_plus", "lite_plus-coco-256x192")):
        assert catalogue.choose(name).name == weights
    small, narrow = (create_pose_model("lite", weights="auto", input_size=size) for size in (None, (256, 192)))
    plus = create_pose_model("lite_plus", weights="auto")
    assert (small.input_size, small.backbone_options) == ((192, 160), {"width": 1.75})
    assert all(torch.equal(value, plus.state_dict()[name]) for name, value in small.state_dict().items())
    assert narrow.backbone.channels == create_pose_model("lite").backbone.channels == (24, 32, 64, 1280)
    said = CliRunner().invoke(main, ["info", "lite"]).output
    assert "lite at 192x160" in said
    assert "6.2 M parameters" in said


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_the_recipes_can_be_read(registered: ModuleType, recipe: Path) -> None:
    config = load_config(recipe, TrainConfig)
    assert config.backbone == re.sub(r"_\d+$", "", recipe.stem)
    assert config.codec == catalogue.choose(config.backbone).codec


@pytest.mark.slow
@pytest.mark.needs_shared
@pytest.mark.parametrize(
    ("weights", "flip", "least"),
    [("lite-coco-192x160", False, 0.523), ("lite-coco-256x192", False, 0.476), ("lite_plus-coco-256x192", True, 0.577)],
)
def test_average_precision_on_people_it_has_not_seen(
    registered: ModuleType, shared: Path, weights: str, flip: bool, least: float
) -> None:
    """On every sixth of 584 people, whose AP is 0.543, 0.496 and 0.597: the bars are 0.02 below."""
    people = coco(shared / "data" / "coco_val", split="val")
    few = people.select(range(0, len(people), 6))
    model = create_pose_model(catalogue.find(weights).model, weights=weights, input_size=None)
    fast = model.prepared("cpu", "float32")
    evaluation = evaluate(fast, few, flip_test=flip, workers=0, progress=False)
    assert evaluation.metrics["AP"] >= least


@pytest.mark.slow
@pytest.mark.needs_shared
@pytest.mark.parametrize("name", ["lite", "lite_plus"])
def test_it_sees_the_joints_of_a_player(registered: ModuleType, shared: Path, name: str) -> None:
    from hrkit.pipeline import Pipeline

    poses = Pipeline.from_names(name, "lite_person", device="cpu")(shared / "media" / "basketball.jpg")
    assert len(poses) == 2
    assert poses.keypoint_scores[0].mean() > 0.4
    x1, y1, x2, y2 = poses.detections.xyxy[0]
    x, y = poses.keypoints[0].T
    assert ((x1 - 20 <= x) & (x <= x2 + 20) & (y1 - 20 <= y) & (y <= y2 + 20)).mean() > 0.9
    nose, ankles = y[0], y[15:]
    assert (nose < ankles).all()


@pytest.mark.parametrize(("width", "channels"), [(1.0, (24, 32, 64, 1280)), (1.75, (40, 56, 112, 1280))])
def test_features(width: float, channels: tuple[int, ...]) -> None:
    backbone = LiteBackbone(width=width)
    assert backbone.channels == channels
    features = backbone(torch.rand(1, 3, 64, 96))
    assert [tuple(f.shape) for f in features] == [
        (1, c, 64 // s, 96 // s) for c, s in zip(channels, backbone.strides, strict=True)
    ]


@pytest.mark.parametrize("size", [(250, 190), (33, 65), (1, 1)])
def test_sides_that_do_not_divide_are_rounded_up(size: tuple[int, int]) -> None:
    heatmaps = Network().logits(torch.rand(1, 3, *size))
    assert heatmaps.shape == (1, 17, -(-size[0] // 4), -(-size[1] // 4))


@pytest.mark.parametrize("size", [(8, 8), (7, 8), (8, 7), (7, 7), (1, 2)])
def test_strides_pad_as_tensorflow_does(size: tuple[int, int]) -> None:
    conv = SameConv2d(2, 3, 3, 2)
    images = torch.rand(1, 2, *size)
    out = [-(-side // 2) for side in size]
    total = [max((o - 1) * 2 + 3 - side, 0) for o, side in zip(out, size, strict=True)]
    padding = [part for t in reversed(total) for part in (t // 2, t - t // 2)]
    wanted = functional.conv2d(functional.pad(images, padding), conv.weight, conv.bias, stride=2)
    torch.testing.assert_close(conv(images), wanted)
    assert list(wanted.shape[-2:]) == out


def test_nobody() -> None:
    assert Network().logits(torch.zeros(0, 3, 64, 64)).shape == (0, 17, 16, 16)


def test_heatmaps_are_the_sigmoid_of_the_logits() -> None:
    network = Network(num_joints=5)
    features = network.backbone(torch.rand(1, 3, 64, 64))
    torch.testing.assert_close(network.head(features), network.head.logits(features).sigmoid())
    assert network.head(features).shape == (1, 5, 16, 16)


def test_it_is_trained_on_logits_unless_another_loss_is_named(registered: ModuleType) -> None:
    model = create_pose_model("lite", weights=None)
    for named, loss in ((None, "bce"), ("mse", "mse")):
        config = TrainConfig(output="run", datasets=("coco:data",), backbone="lite", loss=named)
        assert HeatmapObjective(config, model).loss_name == loss


@pytest.mark.slow
def test_untrained_it_learns() -> None:
    network = Network()
    logits = network.logits(torch.rand(2, 3, 64, 64))
    assert 0.01 < logits.std() < 100
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(HrkitError, match="takes features of strides 4, 8, 16, 32, not 8, 16"):
        LiteHead(channels=(1, 2), strides=(8, 16), num_joints=17)
    with pytest.raises(HrkitError, match="width=0"):
        LiteBackbone(width=0)
    head = LiteHead(channels=(48,), strides=(4,), num_joints=17)
    assert head([torch.rand(1, 48, 16, 12)]).shape == (1, 17, 16, 12)
