"""Crops and the letterbox on the device that holds the frame: `geometry`'s, with torch in the place of OpenCV.

The same pixels but for rounding: at most a grey level from OpenCV 5, which interpolates in floats too. The warp of
OpenCV 4 places its samples on a grid of 1/32 px, and is a few levels off where a picture is sharp.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from hrkit.arrays import as_tensor
from hrkit.geometry import letterbox_transform
from hrkit.structures import Size


def on_device(device: torch.device) -> bool:
    """Whether pictures for a network on `device` are cut there; if not, OpenCV cuts them before they go there."""
    return device.type == "cuda"


def upload(frame: NDArray[np.uint8], device: torch.device) -> Tensor:
    """A (H,W,3) frame as a tensor on `device`, copied once."""
    return torch.tensor(np.ascontiguousarray(frame), device=device)


def warp_crops(frame: Tensor, transforms: NDArray[np.float64] | Tensor, input_size: Size) -> Tensor:
    """(N,H,W,3) uint8 crops of a (H,W,3) uint8 frame by (N,2,3) maps (frame px -> crop px): bilinear, black outside.

    They are where `frame` is, and nothing waits for that device.
    """
    frame_size = (frame.shape[0], frame.shape[1])
    to_grid = _to_grid(as_tensor(transforms, torch.float64), frame_size).to(frame.device, torch.float32)
    # float32 from here on, as grid_sample's own sums are: within 1/900 px at 8K
    rows, columns = (torch.arange(side, dtype=torch.float32, device=frame.device) for side in input_size)
    across = to_grid[:, None, None, :, 0] * columns[:, None]
    down = to_grid[:, None, None, :, 1] * rows[:, None, None] + to_grid[:, None, None, :, 2]
    grid = across + down
    # N views of one picture; with align_corners=True cuDNN would take over, which copies it N times
    pictures = _channels_first(frame).expand(len(grid), -1, -1, -1)
    crops = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return crops.round_().permute(0, 2, 3, 1).to(torch.uint8, memory_format=torch.contiguous_format)


def letterbox(frames: Sequence[Tensor], input_size: Size) -> Tensor:
    """(N,H',W',3) uint8 from N > 0 frames (H_i,W_i,3) uint8, each resized into the middle; grey 128 around it."""
    out = torch.full((len(frames), *input_size, 3), 128, dtype=torch.uint8, device=frames[0].device)
    for frame, square in zip(frames, out, strict=True):
        scale_x, scale_y, left, top = letterbox_transform((frame.shape[0], frame.shape[1]), input_size)
        height, width = round(scale_y * frame.shape[0]), round(scale_x * frame.shape[1])
        resized = F.interpolate(_channels_first(frame), size=(height, width), mode="bilinear", align_corners=False)
        square[top : top + height, left : left + width] = resized[0].round_().permute(1, 2, 0)
    return out


def _channels_first(frame: Tensor) -> Tensor:
    """(H,W,3) uint8 -> (1,3,H,W) float32."""
    return frame.permute(2, 0, 1)[None].float()


def _to_grid(transforms: Tensor, frame_size: Size) -> Tensor:
    """(N,2,3) maps, frame px -> crop px, turned round: crop px -> what `grid_sample` calls the places of a frame.

    There -1 and 1 are the outer edges of the first and the last pixel.
    """
    inverse = torch.linalg.inv_ex(transforms[:, :, :2]).inverse  # `inv` waits for the device to look for errors
    to_frame = torch.cat([inverse, -inverse @ transforms[:, :, 2:]], 2)
    height, width = frame_size
    x = to_frame[:, 0] * (2 / width)
    y = to_frame[:, 1] * (2 / height)
    x[:, 2] += 1 / width - 1
    y[:, 2] += 1 / height - 1
    return torch.stack([x, y], 1)
