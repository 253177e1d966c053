"""Where numpy and torch meet: functions of hrkit take either and give back the kind they were given."""

from typing import Any, TypeVar

import numpy as np
import torch

ArrayOrTensor = TypeVar("ArrayOrTensor", np.ndarray[Any, Any], torch.Tensor)


def as_tensor(values: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A tensor of `values` without gradient, shared with them where possible."""
    if torch.is_tensor(values):
        return values.detach().to(dtype or values.dtype)
    array = np.ascontiguousarray(values)
    return torch.as_tensor(array if array.flags.writeable else array.copy(), dtype=dtype)


def like(result: torch.Tensor, given: Any) -> Any:
    """`result` as what `given` is: a tensor on its device for a tensor, else a numpy array."""
    if not torch.is_tensor(given):
        return result.cpu().numpy()
    if given.device.type == "mps" and result.dtype == torch.float64:  # which it does not have
        result = result.float()
    return result.to(given.device)
