"""The kit finds what is wrong with backbones and heads."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import nn

from hrkit.testing import check_backbone, check_head, describe


class Sound(nn.Module):
    """A small backbone with two outputs."""

    channels, strides, default_head = (8, 12), (4, 8), "heatmap"
    mean, std, channel_order = (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "rgb"

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 12, 2, 2)

    def forward(self, images: Any) -> Any:
        fine = self.fine(images)
        return [fine, self.coarse(fine)]


class NoMean(Sound):
    mean = property()  # type: ignore[assignment]


class Percent(Sound):
    mean = (123.0, 117.0, 104.0)


class Gbr(Sound):
    channel_order = "gbr"


class NoSuchHead(Sound):
    default_head = "heatmaps"


class LyingChannels(Sound):
    channels = (8, 16)


class LyingStrides(Sound):
    strides = (4, 16)


class CoarseFirst(Sound):
    channels, strides = (12, 8), (8, 4)

    def forward(self, images):
        return super().forward(images)[::-1]


class OneTooFew(Sound):
    def forward(self, images):
        return super().forward(images)[:1]


class NoList(Sound):
    def forward(self, images):
        return super().forward(images)[0]


class WidthFirst(Sound):
    def forward(self, images):
        return [feature.transpose(2, 3) for feature in super().forward(images)]


class Doubles(Sound):
    def forward(self, images):
        return [feature.double() for feature in super().forward(images)]


class NotANumber(Sound):
    def forward(self, images):
        return [feature.where(feature < feature.max(), torch.nan) for feature in super().forward(images)]


class InPlace(Sound):
    def forward(self, images):
        return super().forward(images.mul_(2))


class Dropout(Sound):
    def forward(self, images):
        return [nn.functional.dropout(feature) for feature in super().forward(images)]


class Running(Sound):
    """What was seen before is kept."""

    seen = 0.0

    def forward(self, images):
        shifted = [feature + self.seen for feature in super().forward(images)]
        self.seen = float(images.sum())
        return shifted


class OverTheBatch(Sound):
    def forward(self, images):
        return super().forward(images - images.mean(0, keepdim=True) if len(images) else images)


class NobodyThere(Sound):
    def forward(self, images):
        return super().forward(images / images.abs().max())


class StaysFloat(Sound):
    """Ignores `.to(dtype)`: a tensor that is neither parameter nor buffer."""

    def __init__(self):
        super().__init__()
        self.scale = torch.ones(8, 1, 1)

    def forward(self, images):
        fine = self.fine(images) * self.scale
        return [fine, self.coarse(fine.to(self.coarse.weight.dtype))]


class Locked(Sound):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Detached(Sound):
    """The second convolution learns, the first cannot."""

    def forward(self, images):
        fine = self.fine(images).detach()
        return [fine, self.coarse(fine)]


class Frozen(Sound):
    def forward(self, images):
        self.requires_grad_(False)
        return super().forward(images)


class WithoutGradients(Sound):
    @torch.no_grad()
    def forward(self, images):
        return super().forward(images)


SHAPES = "features are as channels and strides say"
FAULTS = {
    nn.Identity: "it is a backbone",
    dict: "it is a backbone",
    NoMean: "it is a backbone",
    Locked: "it is a backbone",
    Detached: "it can be trained",
    Frozen: "it can be trained",
    WithoutGradients: "it can be trained",
    CoarseFirst: "it is a backbone",
    Percent: "input is described",
    Gbr: "input is described",
    NoSuchHead: "default head is there",
    LyingChannels: SHAPES,
    LyingStrides: SHAPES,
    OneTooFew: SHAPES,
    NoList: SHAPES,
    WidthFirst: SHAPES,
    Doubles: "finite float32",
    NotANumber: "finite float32",
    InPlace: "inputs are not modified",
    Dropout: "same result twice",
    Running: "same result twice",
    OverTheBatch: "a batch is its people alone",
    NobodyThere: "nobody",
    StaysFloat: "other precisions",
}


@pytest.mark.parametrize(("broken", "check"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_of_a_backbone_is_found(broken: type, check: str) -> None:
    findings = check_backbone(broken())
    assert check in [finding.check for finding in findings], describe(findings)


def test_a_sound_backbone_passes_and_stays_as_it_is() -> None:
    backbone = Sound()
    assert check_backbone(backbone) == []
    assert backbone.training


class SoundHead(nn.Module):
    def __init__(self, channels: Any, strides: Any, num_joints: int) -> None:
        super().__init__()
        self.final_layer = nn.Conv2d(channels[0], num_joints, 1)

    def forward(self, features: Any) -> Any:
        return self.final_layer(features[0])


class AlwaysSeventeen(SoundHead):
    """The wrong number of joints, where another is asked for."""

    def __init__(self, channels, strides, num_joints):
        super().__init__(channels, strides, 17)


class AnEighth(SoundHead):
    def forward(self, features):
        return super().forward(features)[..., ::2, ::2]


class TakesNoStrides(SoundHead):
    def __init__(self, channels, num_joints):
        super().__init__(channels, (4,), num_joints)


class Tuples(SoundHead):
    def forward(self, features):
        return (super().forward(features),)


class PopsFeatures(SoundHead):
    def forward(self, features):
        return self.final_layer(features.pop(0))


class ReluInPlace(SoundHead):
    def forward(self, features):
        return super().forward([nn.functional.relu_(features[0])])


class PeakOverTheBatch(SoundHead):
    def forward(self, features):
        heatmaps = super().forward(features)
        return heatmaps / heatmaps.max() if len(heatmaps) else heatmaps


class StaysFloatHead(SoundHead):
    def __init__(self, channels, strides, num_joints):
        super().__init__(channels, strides, num_joints)
        self.taps = torch.ones(1, 1, 1, 1)

    def forward(self, features):
        return super().forward(features) * self.taps


class LogOfNothing(SoundHead):
    def forward(self, features):
        return super().forward(features).clamp(min=0).log()


class ForDark(SoundHead):
    def output_spec(self, input_size):
        return {"codec": "dark", "sigma": 1.5}


class ForAnotherSize(ForDark):
    """Stays as it is for 64x64."""

    def set_input_size(self, size):
        self.rows = 16

    def forward(self, features):
        return super().forward(features)[:, :, : self.rows]


HEAD_FAULTS = {
    ForAnotherSize: "heatmaps (N,K,H/4,W/4)",
    AlwaysSeventeen: "heatmaps (N,K,H/4,W/4)",
    AnEighth: "heatmaps (N,K,H/4,W/4)",
    TakesNoStrides: "it is a head",
    Tuples: "it is a head",
    PopsFeatures: "inputs are not modified",
    ReluInPlace: "inputs are not modified",
    PeakOverTheBatch: "a batch is its people alone",
    StaysFloatHead: "other precisions",
    LogOfNothing: "finite float32",
}


@pytest.mark.parametrize(("broken", "check"), HEAD_FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_of_a_head_is_found(broken: type, check: str) -> None:
    findings = check_head(broken)
    assert check in [finding.check for finding in findings], describe(findings)


def test_a_head_with_outputs_for_a_codec_passes() -> None:
    assert check_head(ForDark) == []


def test_a_sound_head_passes() -> None:
    assert check_head(SoundHead) == []
    assert check_head(SoundHead, channels=(5,), strides=(4,)) == []
    assert [finding.check for finding in check_head(SoundHead, strides=(8,), channels=(5,))] == [
        "heatmaps (N,K,H/4,W/4)"
    ]
