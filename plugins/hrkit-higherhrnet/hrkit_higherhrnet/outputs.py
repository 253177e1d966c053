"""The two outputs of the head, which travel in one tensor so that any runtime can carry them.

Shapes: N pictures, K joints; (h,w) is a quarter of the input, (2h,2w) half of it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812


def packed(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """(N,2K,h,w) heatmaps and tags, and (N,K,2h,2w) heatmaps -> (N,6K,h,w)."""
    count, channels, height, width = low.shape
    folded = F.pixel_unshuffle(high, 2).reshape(count, 2 * channels, height, width)  # an empty batch stays as it was
    return torch.cat([low, folded], dim=1)


def unpacked(outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N,6K,h,w) -> (N,2K,h,w) heatmaps and tags, and (N,K,2h,2w) heatmaps."""
    joints = outputs.shape[1] // 6
    return outputs[:, : 2 * joints], F.pixel_shuffle(outputs[:, 2 * joints :], 2)


def merged(outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N,6K,h,w) -> the mean heatmaps of both resolutions and the tags, (N,K,2h,2w) each."""
    low, high = unpacked(outputs)
    heatmaps, tags = resized(low, (high.shape[2], high.shape[3])).chunk(2, dim=1)
    return (heatmaps + high) / 2, tags


def resized(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (N,C,h,w) at another (height, width), bilinear."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
