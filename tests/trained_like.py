"""Weights as after training, so that outputs are of a size at which differences show."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from hrkit.pose_model import PoseModel

Network = TypeVar("Network", bound=nn.Module)


def trained_like(network: Network) -> Network:
    """Fills convolutions so that they keep the variance, and batch norms with statistics and factors of their own.

    Both are drawn anew; as initialised, heatmaps are zero to ten digits, and batch norms do nothing.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
                part.weight.normal_(0, (2 / part.weight[0].numel()) ** 0.5, generator=generator)
            elif isinstance(part, nn.BatchNorm2d):
                assert part.running_mean is not None
                assert part.running_var is not None
                part.running_mean.normal_(0, 0.2, generator=generator)
                part.running_var.uniform_(0.6, 1.4, generator=generator)
                if part.affine:
                    part.weight.uniform_(0.6, 1.4, generator=generator)
                    part.bias.normal_(0, 0.2, generator=generator)
    return network.eval()


def trained_like_pose_model(model: PoseModel) -> PoseModel:
    """The same for a pose network, whose heatmaps then reach from -1 or so to 1, or the other way round."""
    trained_like(model)
    last = [part for part in model.head.modules() if isinstance(part, nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight /= model(torch.ones(1, 3, *model.input_size)).abs().max()
    return model
