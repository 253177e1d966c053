"""Crops and letterboxes for a network: made with torch on a device that is fast at it, else with OpenCV on the CPU.

The pixels are the same up to rounding: at most one grey level from OpenCV 5, which interpolates in floats too. The warp
of OpenCV 4 samples on a grid of 1/32 px and is a few levels off where a picture is sharp.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from hrkit import geometry
from hrkit.structures import Frame, Size


def on_device(device: torch.device) -> bool:
    """Whether torch makes crops on `device` itself."""
    return device.type == "cuda"


def warp_crops(frame: Frame, transforms: NDArray[np.float64], input_size: Size, device: torch.device) -> Tensor:
    """(N,H,W,3) uint8 crops of a frame by (N,2,3) maps (frame px -> crop px): bilinear, black outside.

    They are on `device` if `on_device` says so, else on the CPU.
    """
    if on_device(device):
        return warp_tensor(upload(frame, device), torch.tensor(transforms), input_size)
    return torch.from_numpy(geometry.warp_crops(frame, transforms, input_size))


def letterbox(frames: Sequence[Frame], input_size: Size, device: torch.device) -> Tensor:
    """(N,H',W',3) uint8 from N frames of any size, each resized into the middle; grey 128 around it.

    They are on `device` if `on_device` says so, else on the CPU.
    """
    if on_device(device):
        return letterbox_tensors([upload(frame, device) for frame in frames], input_size)
    squares = np.empty((len(frames), *input_size, 3), np.uint8)
    for frame, square in zip(frames, squares, strict=True):
        geometry.letterbox(frame, square)
    return torch.from_numpy(squares)


def normalise(
    crops: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    rgb: bool = False,
) -> Tensor:
    """(N,H,W,3) uint8 BGR -> (N,3,H,W) on `device`: (pixel / 255 - mean) / std, per channel of BGR or of RGB."""
    middle, spread = (255 * np.array(values, np.float32) for values in (mean, std))
    if device.type == "cpu" and crops.numel():  # a table of all 256 values gives the same bits in half the time
        table = (np.arange(256, dtype=np.float32)[:, None] - middle) / spread
        rows = crops.cpu().numpy().reshape(-1, crops.shape[2], 3)
        rows = cv2.LUT(cv2.cvtColor(rows, cv2.COLOR_BGR2RGB) if rgb else rows, table[None])
        return torch.from_numpy(rows).view(crops.shape).permute(0, 3, 1, 2).to(dtype)
    images = crops.to(device).permute(0, 3, 1, 2)
    images = images.flip(1) if rgb else images
    middles, spreads = (torch.from_numpy(values).to(device).view(1, 3, 1, 1) for values in (middle, spread))
    return ((images.float() - middles) / spreads).to(dtype)


def upload(frame: Frame, device: torch.device) -> Tensor:
    """A copy of a frame on `device`."""
    return torch.tensor(np.ascontiguousarray(frame), device=device)


def warp_tensor(frame: Tensor, transforms: Tensor, input_size: Size) -> Tensor:
    """`warp_crops` of a (H,W,3) uint8 tensor, on its device and without waiting for it."""
    to_grid = _to_grid(transforms, (frame.shape[0], frame.shape[1])).to(frame.device, torch.float32)
    # float32 from here on, as in the sums of grid_sample: within 1/900 px at 8K
    rows, columns = (torch.arange(side, dtype=torch.float32, device=frame.device) for side in input_size)
    across = to_grid[:, None, None, :, 0] * columns[:, None]
    down = to_grid[:, None, None, :, 1] * rows[:, None, None] + to_grid[:, None, None, :, 2]
    grid = across + down
    # N views of one picture; with align_corners=True cuDNN would take over, which copies it N times
    pictures = _channels_first(frame).expand(len(grid), -1, -1, -1)
    crops = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return crops.round_().permute(0, 2, 3, 1).to(torch.uint8, memory_format=torch.contiguous_format)


def letterbox_tensors(frames: Sequence[Tensor], input_size: Size) -> Tensor:
    """`letterbox` of at least one (H,W,3) uint8 tensor, on their device."""
    out = torch.full((len(frames), *input_size, 3), 128, dtype=torch.uint8, device=frames[0].device)
    for frame, square in zip(frames, out, strict=True):
        scale_x, scale_y, left, top = geometry.letterbox_transform((frame.shape[0], frame.shape[1]), input_size)
        height, width = round(scale_y * frame.shape[0]), round(scale_x * frame.shape[1])
        resized = F.interpolate(_channels_first(frame), size=(height, width), mode="bilinear", align_corners=False)
        square[top : top + height, left : left + width] = resized[0].round_().permute(1, 2, 0)
    return out


def _channels_first(frame: Tensor) -> Tensor:
    """(H,W,3) uint8 -> (1,3,H,W) float32."""
    return frame.permute(2, 0, 1)[None].float()


def _to_grid(transforms: Tensor, frame_size: Size) -> Tensor:
    """Inverts (N,2,3) maps and scales them to the coordinates of `grid_sample`.

    There -1 and 1 are the outer edges of the first and the last pixel.
    """
    inverse = torch.linalg.inv_ex(transforms[:, :, :2]).inverse  # `inv` waits for the device to report errors
    to_frame = torch.cat([inverse, -inverse @ transforms[:, :, 2:]], 2)
    height, width = frame_size
    x = to_frame[:, 0] * (2 / width)
    y = to_frame[:, 1] * (2 / height)
    x[:, 2] += 1 / width - 1
    y[:, 2] += 1 / height - 1
    return torch.stack([x, y], 1)
