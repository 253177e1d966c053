"""Seeded weights for networks with SiLU, as in `reference/models/README.md`: every tensor from its official name."""

from __future__ import annotations

import re
import zlib

import numpy as np
import torch

_SHARED = re.compile(r"(bbox_head\.(?:cls|reg)_convs)\.\d+(\.\d+\.conv\.weight)")


def seeded_tensor(name: str, shape: tuple[int, ...], gain: float = 1.0, *, shared: bool = False) -> torch.Tensor:
    """The value of one entry; `shared` is for heads whose convolutions are the same at all levels."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    random = np.random.RandomState(zlib.crc32((_SHARED.sub(r"\1.0\2", name) if shared else name).encode()))
    normal = random.rand(*shape) if name.endswith("running_var") else random.randn(*shape)
    return torch.from_numpy(np.asarray(_scaled(name, shape, gain, normal), np.float32))


def _scaled(name: str, shape: tuple[int, ...], gain: float, normal: np.ndarray) -> np.ndarray:
    last = "rtm_" in name
    rules = (
        (name.endswith("running_var"), 0.5, 1.0),
        (name.endswith("running_mean"), 0.0, 0.1),
        (len(shape) == 4 and last, 0.0, (0.1 / np.prod(shape[1:2])) ** 0.5),
        (len(shape) == 4, 0.0, (gain / np.prod(shape[1:])) ** 0.5),
        (name.endswith(".gamma"), 0.0, 1.0),
        (name.endswith(".beta"), 0.0, 0.1),
        (len(shape) == 2, 0.0, (1 / np.prod(shape[1:2])) ** 0.5),
        ("rtm_reg" in name, 2.0, 0.1),
        (name.endswith(("weight", ".g", ".scale")), 0.8, 0.1),
        (True, 0.0, 0.1),
    )
    middle, spread = next((middle, spread) for fits, middle, spread in rules if fits)
    return middle + spread * normal


def seeded_state(
    shapes: dict[str, list[int]], gain: float = 1.0, *, shared: bool = False
) -> dict[str, torch.Tensor]:
    """A whole state dict by official names and shapes."""
    return {name: seeded_tensor(name, tuple(shape), gain, shared=shared) for name, shape in shapes.items()}
