"""What a network records of its output: by itself, in files, and as its head says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hrkit import create_pose_model, hookimpl
from hrkit.errors import HrkitError
from hrkit.heads.codecs import DarkCodec
from hrkit.pose_spec import PoseSpec
from hrkit.registry import plugins


def test_one_deviation_or_two() -> None:
    assert PoseSpec(sigma=[4.9, 5.66]).sigma == (4.9, 5.66)
    for wrong in (0, 1e-300, 1e300, (1.0,), (1.0, 0.0), (1.0, 2.0, 3.0)):
        with pytest.raises(HrkitError, match=r"sigma must be from 0\.001 to 1000"):
            PoseSpec(sigma=wrong)


def test_metadata_come_back() -> None:
    spec = PoseSpec(codec="dark", sigma=(4.9, 5.66), codec_options={"kernel": 11}, input_size=(384, 288), margin=1.1)
    assert PoseSpec.from_metadata(spec.to_metadata()) == spec
    new = ("codec_options", "margin")
    older = {name: value for name, value in spec.to_metadata().items() if name not in new}
    assert PoseSpec.from_metadata(older) == spec.replaced(codec_options={}, margin=1.25)


@pytest.mark.parametrize("margin", [0, -1.1, float("nan"), float("inf")])
def test_a_margin_that_makes_no_crop(margin: float) -> None:
    with pytest.raises(HrkitError, match="margin must be above 0"):
        PoseSpec(margin=margin)


@pytest.mark.slow
def test_crops_have_the_margin_of_the_network() -> None:
    box, frame = [[40, 20, 120, 100]], np.zeros((120, 160, 3), np.uint8)
    model = create_pose_model("timm/test_resnet", input_size=(64, 64))
    sides = []
    for margin in (1.25, 1.0):
        model.spec = model.spec.replaced(margin=margin)
        crops = model.crops([(frame, box)], model.create_codec())
        sides.append(64 * crops.to_frame[0, 0, 0] / model.create_codec().decoded_scale)
    assert sides == pytest.approx([100, 80])


class SizedHead(nn.Module):
    """A linear layer as large as the features, for a codec with options."""

    def __init__(self, channels, strides, num_joints) -> None:
        super().__init__()
        self.final_layer = nn.Conv2d(channels[0], num_joints, 1)
        self.places = nn.Linear(1, 1)

    def set_input_size(self, size) -> None:
        cells = size[0] * size[1] // 16
        self.places = nn.Linear(cells, cells)

    def output_spec(self, input_size):
        return {"codec": "dark", "sigma": input_size[0] / 16, "codec_options": {"kernel": 5}}

    def forward(self, features) -> Tensor:
        maps = self.final_layer(features[0])
        return self.places(maps.flatten(2)).view(maps.shape)


@pytest.fixture
def sized():
    plugins.register(SimpleNamespace(register_heads=hookimpl(lambda: {"sized": SizedHead})), "sized")
    yield
    plugins.unregister("sized")


@pytest.mark.slow
def test_a_head_says_what_reads_its_output(sized: None, tmp_path: Path) -> None:
    size = {"head": "sized", "input_size": (64, 96)}
    model = create_pose_model("timm/test_resnet", **size)
    assert (model.spec.codec, model.spec.sigma, model.spec.codec_options) == ("dark", 4.0, {"kernel": 5})
    assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 17, 16, 24)
    codec = model.create_codec()
    assert isinstance(codec, DarkCodec)
    assert codec.kernel == 5
    assert model.create_codec("udp").sigma == 4.0  # the options are those of its own codec

    other = create_pose_model("timm/test_resnet", **size, codec="msra", sigma=1.0)
    assert (other.spec.codec, other.spec.sigma, other.spec.codec_options) == ("msra", 1.0, {})

    other.save(tmp_path / "other.safetensors")
    loaded = create_pose_model("timm/test_resnet", weights=tmp_path / "other.safetensors", input_size=None)
    assert loaded.spec == other.spec
