"""Each backbone of hrkit keeps its promises; sizes and costs are the published ones. The kit checks other plugins."""

from __future__ import annotations

import pytest
import torch

from hrkit import create_pose_model, list_names, registry
from hrkit.errors import HrkitError, UnknownNameError
from hrkit.runtimes.complexity import layer_groups

TIMM = ["timm/resnet10t", "timm/mobilenetv3_small_050", "timm/vit_tiny_patch16_224", "timm/convnext_atto"]

LARGE = ("hrnet_w3", "hrnet_w4", "pose_resnet")
OWN = [name for name in list_names("backbones") if registry.backbones.find(name)[0].plugin.startswith("hrkit.")]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name.startswith(LARGE) else ())
        for name in [*OWN, "hrnet_w8", *TIMM]
    ],
)
def test_the_contract(name: str) -> None:
    model = create_pose_model(name, input_size=(64, 64))
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        features = model.backbone(images)
        heatmaps = model(images)
    expected = [
        (2, channels, 64 // stride, 64 // stride)
        for channels, stride in zip(model.backbone.channels, model.backbone.strides, strict=True)
    ]
    assert [tuple(feature.shape) for feature in features] == expected
    assert heatmaps.shape[1:] == (17, 16, 16)
    assert heatmaps.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "millions"),
    [("hrnet_w32", 28.54), ("hrnet_w48", 63.60), ("pose_resnet_50", 34.0), ("pose_resnet_101", 53.0),
     ("pose_resnet_152", 68.6)],
)  # fmt: skip
def test_parameters_as_published(name: str, millions: float) -> None:
    with torch.device("meta"):  # shapes are all that is counted
        model = create_pose_model(name)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "official"), [("hrnet_w32", 7.1), ("pose_resnet_50", 8.9)])
def test_multiply_adds_as_published(name: str, official: float) -> None:
    with torch.device("meta"):
        groups = layer_groups(create_pose_model(name), torch.zeros(1, 3, 256, 192))
    assert sum(group.official for group in groups) / 1024**3 == pytest.approx(official, abs=0.1)


@pytest.mark.slow
def test_hrnet_with_all_its_branches_under_another_head() -> None:
    model = create_pose_model("hrnet_w8", head="fpn", backbone_options={"multi_scale": True}, input_size=(64, 64))
    assert model.backbone.channels == (8, 16, 32, 64)
    assert model.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 17, 16, 16)


@pytest.mark.slow
def test_gradients_reach_every_parameter() -> None:
    for name in ("hrnet_w8", "pose_resnet_18", "timm/resnet10t"):
        model = create_pose_model(name, input_size=(64, 64)).train()
        model(torch.rand(2, 3, 64, 64)).square().mean().backward()
        assert all(parameter.grad is not None for parameter in model.parameters()), name


def test_the_input_is_not_modified() -> None:
    images = torch.rand(1, 3, 64, 64)
    before = images.clone()
    create_pose_model("hrnet_w8", input_size=(64, 64))(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hrnet_w0", "positive number"),
        ("hrnet_wide", "positive number"),
        ("timm/resnet5O", "timm has no model 'resnet5O'; did you mean"),
    ],
)
def test_names_that_make_no_network(name: str, message: str) -> None:
    with pytest.raises(HrkitError, match=message):
        create_pose_model(name)


def test_an_unknown_name_lists_the_closest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown backbone 'hrnet_32'; did you mean .*hrnet_w32"):
        create_pose_model("hrnet_32")


@pytest.mark.parametrize("size", [(250, 190), (256, 200), (16, 16)])
def test_an_input_size_that_does_not_fit_says_which_does(size: tuple[int, int]) -> None:
    with pytest.raises(HrkitError, match=r"must be a multiple of 32; take \(\d+, \d+\)"):
        create_pose_model("hrnet_w8", input_size=size)


def test_a_head_that_does_not_fit_says_so() -> None:
    with pytest.raises(HrkitError, match="needs features of stride 4"):
        create_pose_model("timm/vit_tiny_patch16_224", head="heatmap", input_size=(64, 64))


def test_timm_pretrained_weights_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def offline(*_: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(HrkitError, match="cannot be fetched"):
        create_pose_model("timm/resnet10t", backbone_weights="pretrained")


def test_timm_knows_its_normalisation() -> None:
    backbone = registry.backbones.builder("timm/vit_tiny_patch16_224")()
    assert backbone.mean == (0.5, 0.5, 0.5)
