"""Flip test: what the network says of the mirrored crop, brought back and averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def flip_back(heatmaps: torch.Tensor, flip_indices: Sequence[int]) -> torch.Tensor:
    """Heatmaps (N,K,h,w) of a mirrored crop as heatmaps of the crop: columns reversed, left and right joints swapped.

    `flip_indices[k]` is the joint that k becomes in a mirror (`Skeleton.flip_indices`).
    """
    return heatmaps.flip(3)[:, torch.as_tensor(flip_indices, device=heatmaps.device)]


def merge_flipped(heatmaps: torch.Tensor, flipped_back: torch.Tensor, shift: bool) -> torch.Tensor:
    """The average (N,K,h,w) of both passes.

    `shift` moves the second by one heatmap px to the right, as the official code does for crops whose mirror is off by
    a cell (SHIFT_HEATMAP in lib/core/function.py); UDP crops need none.
    """
    if shift:
        flipped_back = torch.cat([flipped_back[..., :1], flipped_back[..., :-1]], dim=3)
    return (heatmaps + flipped_back) / 2
