"""Seeded weights: every tensor of a network from its own official name, as in `reference/README.md`."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def seeded_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The value of one entry of the official state dict."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.int64)
    if name.endswith("running_var"):
        values = 0.5 + random.rand(*shape)
    elif name.endswith("running_mean"):
        values = 0.1 * random.randn(*shape)
    elif len(shape) == 4:
        values = random.randn(*shape) * np.sqrt(1 / (shape[1] * shape[2] * shape[3]))
    elif name.endswith("weight"):
        values = 0.8 + 0.1 * random.randn(*shape)
    else:
        values = 0.1 * random.randn(*shape)
    return torch.from_numpy(values.astype(np.float32))


def seeded_state(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """A whole state dict by official names and shapes."""
    return {name: seeded_tensor(name, tuple(shape)) for name, shape in shapes.items()}
