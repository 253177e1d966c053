"""What a network costs is what its layers cost by definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hrkit.runtimes.complexity import LayerGroup, layer_groups


class Layers(nn.Module):
    """A layer of each kind, on a (1,3,16,16) input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False)
        self.up = nn.ModuleDict({"deep": nn.Sequential(nn.ConvTranspose2d(8, 6, 4, 2, 1), nn.ReLU())})
        self.last = nn.Linear(6, 5)
        self.unused = nn.Conv2d(1, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.up["deep"](self.grouped(self.stem(images))).permute(0, 2, 3, 1))


def test_multiply_adds_are_the_weights_at_each_place() -> None:
    up = 8 * 6 * 4 * 4
    assert layer_groups(Layers().eval(), torch.zeros(1, 3, 16, 16)) == [
        LayerGroup("stem.0", 3 * 8 * 9 + 8, 8 * 8 * 3 * 8 * 9, 8 * 8 * 3 * 8 * 9),
        LayerGroup("grouped", 8 * 2 * 9, 8 * 8 * 8 * 2 * 9, 8 * 8 * 8 * 2 * 9),
        LayerGroup("up.deep", up + 6, 8 * 8 * up, 16 * 16 * up),
        LayerGroup("last", 6 * 5 + 5, 16 * 16 * 6 * 5, 16 * 16 * 6 * 5),
        LayerGroup("stem.1", 16, 0, 0),
        LayerGroup("unused", 2, 0, 0),
    ]


def test_a_network_that_fails_keeps_no_hooks() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(3, 3, 2), nn.Linear(1, 1))
    with pytest.raises(RuntimeError):
        layer_groups(network, torch.zeros(1, 3, 8, 8))
    assert not any(module._forward_hooks for module in network.modules())
