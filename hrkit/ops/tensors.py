"""Tensors and what may stand for them: arrays, and the several outputs of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Outputs: TypeAlias = torch.Tensor | tuple[torch.Tensor, ...]
"""What a network gives: one tensor, such as heatmaps (N,K,h,w), or several."""
ArrayOrTensor = TypeVar("ArrayOrTensor", NDArray[Any], torch.Tensor)  # Any: numbers of any kind
"""A numpy array or a tensor; a function returns the kind it was given."""


def as_tensor(values: Any, dtype: torch.dtype | None = None) -> torch.Tensor:  # Any: a tensor or an ArrayLike
    """A tensor of `values` without gradient. It shares their memory if possible."""
    if torch.is_tensor(values):
        return values.detach().to(dtype or values.dtype)
    array = np.ascontiguousarray(values)
    return torch.as_tensor(array if array.flags.writeable else array.copy(), dtype=dtype)


def like(result: torch.Tensor, given: Any) -> Any:  # Any: the kind of `given`
    """`result` as a tensor on the device of `given` if that is a tensor, else as a numpy array."""
    if not torch.is_tensor(given):
        return result.cpu().numpy()
    if given.device.type == "mps" and result.dtype == torch.float64:  # MPS has no float64
        result = result.float()
    return result.to(given.device)


def of_each(function: Callable[..., torch.Tensor], *outputs: Outputs) -> Outputs:
    """`function` of the outputs, or, if they are several tensors each, a tuple of `function` of their parts."""
    if any(isinstance(one, tuple) for one in outputs):
        return tuple(function(*parts) for parts in zip(*outputs, strict=True))
    return function(*outputs)


def in_chunks(function: Callable[[torch.Tensor], Outputs], images: torch.Tensor, most: int) -> Outputs:
    """`function` of (N,...) images, which is called with at most `most` of them at a time."""
    if len(images) <= most:
        return function(images)
    return of_each(lambda *parts: torch.cat(parts), *map(function, images.split(most)))


def parts_of(outputs: Outputs) -> tuple[torch.Tensor, ...]:
    """The tensors of a network's outputs."""
    return outputs if isinstance(outputs, tuple) else (outputs,)
