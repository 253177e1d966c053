"""The network agrees with the official one and reads the official parameter names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hrkit_higherhrnet.network import HigherHead
from hrkit_higherhrnet.outputs import unpacked

from hrkit import create_pose_model
from hrkit.errors import HrkitError
from hrkit.weights import catalogue
from hrkit.weights.checkpoints import read_checkpoint
from seeded import seeded_state, seeded_tensor

REFERENCE = "higher_hrnet_w32_256"


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.slow
@pytest.mark.needs_shared
def test_outputs_of_seeded_weights(shared: Path, tmp_path: Path) -> None:
    state = seeded_state(json.loads((shared / "reference" / f"{REFERENCE}.keys.json").read_text()))
    torch.save(state, tmp_path / "official.pth")
    model = create_pose_model("higher_hrnet_w32", weights=tmp_path / "official.pth", input_size=(256, 256))
    image = torch.from_numpy(np.random.RandomState(7).randn(1, 3, 256, 256).astype(np.float32))
    with torch.inference_mode():
        low, high = unpacked(model(image))
    wanted = np.load(shared / "reference" / f"{REFERENCE}.npz")
    assert relative(low.numpy(), wanted["low"]) <= 1e-5
    assert relative(high.numpy(), wanted["high"]) <= 1e-5


@pytest.mark.slow
@pytest.mark.needs_shared
def test_parameter_names_are_the_official_ones(shared: Path) -> None:
    official = json.loads((shared / "reference" / f"{REFERENCE}.keys.json").read_text())
    with torch.device("meta"):
        model = create_pose_model("higher_hrnet_w32", input_size=None)
    assert model.input_size == (512, 512)
    own = {name.split(".", 1)[1]: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert own == official


@pytest.mark.parametrize(
    "renamed",
    [
        lambda name: f"1.{name.split('.', 1)[1]}",  # official files of training in half precision
        lambda name: name.split(".", 1)[1],
        lambda name: name.replace("head.", "keypoint_head."),  # MMPose
    ],
)
def test_published_layouts_are_read(tmp_path: Path, renamed) -> None:
    head = {f"head.{name}": tensor for name, tensor in HigherHead((4,), (4,), 14).state_dict().items()}
    state = {**head, "backbone.conv1.weight": torch.zeros(64, 3, 3, 3)}
    torch.save({renamed(name): tensor for name, tensor in state.items()}, tmp_path / "weights.pth")
    checkpoint = read_checkpoint(tmp_path / "weights.pth")
    assert checkpoint.num_joints == 14
    assert checkpoint.state.keys() == state.keys()
    assert all(torch.equal(tensor, checkpoint.state[name]) for name, tensor in state.items())


@pytest.mark.slow
def test_training_starts_from_an_imagenet_classifier(tmp_path: Path) -> None:
    for width in (32, 48):
        own, trunk = (catalogue.choose(f"{name}_w{width}", kind="backbone") for name in ("higher_hrnet", "hrnet"))
        assert (own.url, own.checksum) == (trunk.url, trunk.checksum)
    trunk = create_pose_model("hrnet_w4").backbone
    classifier = {"incre_modules.0.0.conv1.weight": torch.zeros(1), "classifier.bias": torch.zeros(1000)}
    torch.save({**trunk.state_dict(), **classifier}, tmp_path / "imagenet.pth")
    model = create_pose_model("higher_hrnet_w4", backbone_weights=tmp_path / "imagenet.pth", input_size=None)
    assert torch.equal(model.backbone.conv1.weight, trunk.conv1.weight)


def test_one_tensor_holds_both_outputs() -> None:
    head = HigherHead((8,), (4,), 5).eval()
    features = torch.randn(2, 8, 6, 10)
    with torch.inference_mode():
        low, high = unpacked(head([features]))
        wanted = head.final_layers[0](features)
        assert torch.equal(low, wanted)
        doubled = head.deconv_layers[0](torch.cat([features, wanted], dim=1))
        torch.testing.assert_close(high, head.final_layers[1](doubled))
    assert high.shape == (2, 5, 12, 20)


@pytest.mark.parametrize("name", ["higher_hrnet_w0", "higher_hrnet_wide"])
def test_invalid_widths(name: str) -> None:
    with pytest.raises(HrkitError, match="positive number, as in higher_hrnet_w32"):
        create_pose_model(name)


def test_a_trunk_of_another_stride_is_refused() -> None:
    with pytest.raises(HrkitError, match="needs features of stride 4; these have 8"):
        HigherHead((8,), (8,), 17)


def test_sizes_are_multiples_of_64() -> None:
    with pytest.raises(HrkitError, match="must be a multiple of 64"):
        create_pose_model("higher_hrnet_w4", input_size=(96, 96))


@pytest.mark.slow
@pytest.mark.needs_shared
def test_the_official_maps_of_both_passes(shared: Path) -> None:
    names = json.loads((shared / "reference" / "higher_hrnet_w32_256.keys.json").read_text())
    model = create_pose_model("higher_hrnet_w32", input_size=(256, 256))
    parts = {name: ("head." if name.startswith(("final", "deconv")) else "backbone.") + name for name in names}
    model.load_state_dict({parts[name]: seeded_tensor(name, tuple(shape)) for name, shape in names.items()})
    image = torch.from_numpy(np.random.RandomState(7).randn(1, 3, 256, 256).astype(np.float32))
    with torch.inference_mode():
        heatmaps, tags = model.passes(image, flip_test=True)
    found = [torch.nn.functional.interpolate(maps, size=(256, 256), mode="bilinear") for maps in (heatmaps, *tags)]
    reference = np.load(shared / "reference" / "higher_hrnet_w32_256.npz")
    for own, wanted in (
        (found[0], reference["flip_heatmaps_half"]),
        (torch.stack(found[1:], dim=-1), reference["flip_tags_half"]),
    ):
        halved = own[:, :, ::2, ::2].numpy()
        assert np.linalg.norm(halved - wanted) <= 1e-4 * np.linalg.norm(wanted)
