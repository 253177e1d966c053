"""Where numpy and torch meet: functions of hrkit take either and give back the kind they were given."""

from typing import Any, TypeVar

import numpy as np
import torch

ArrayOrTensor = TypeVar("ArrayOrTensor", np.ndarray[Any, Any], torch.Tensor)


def as_tensor(values: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A tensor of `values`, shared where possible."""
    return torch.as_tensor(values if torch.is_tensor(values) else np.ascontiguousarray(values), dtype=dtype)


def like(result: torch.Tensor, given: Any) -> Any:
    """`result` as what `given` is: a tensor for a tensor, else a numpy array."""
    return result if torch.is_tensor(given) else result.cpu().numpy()
