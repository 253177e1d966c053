"""What a codec is: both directions between keypoints in crop px and what a pose network gives for a crop."""

from __future__ import annotations

import abc
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hrkit.errors import HrkitError
from hrkit.ops.tensors import ArrayOrTensor
from hrkit.settings import SIGMA
from hrkit.structures import Size

Outputs: TypeAlias = Any  # which it is depends on the codec
"""What a network gives for N crops: one array or tensor, or a tuple of them."""


class Codec(abc.ABC):
    """Encodes keypoints as training targets and decodes network outputs to keypoints.

    `input_size` and `heatmap_size` are (height, width) of the crop and of the network's grid; `sigma` is the spread of
    the targets in cells of that grid. Raises `HrkitError` if `sigma` is not one number of `hrkit.settings.SIGMA`.
    """

    udp = False
    """Whether crops are cut with `crop_transform(..., udp=True)`."""

    def __init__(self, *, input_size: Size, heatmap_size: Size, sigma: float) -> None:
        if isinstance(sigma, tuple):
            name = type(self).__name__
            raise HrkitError(f"{name} takes one sigma, not {sigma}; keep the codec that the network was made for")
        if sigma not in SIGMA:
            raise HrkitError(f"sigma must be {SIGMA}, not {sigma}")
        self.input_size: Size = (int(input_size[0]), int(input_size[1]))
        self.heatmap_size: Size = (int(heatmap_size[0]), int(heatmap_size[1]))
        self.sigma = sigma

    @property
    def decoded_scale(self) -> tuple[float, float]:
        """Crop px per unit of what `decode` gives, as (x, y)."""
        return 1.0, 1.0

    @abc.abstractmethod
    def encode(self, keypoints: ArrayOrTensor, visible: ArrayOrTensor) -> tuple[Outputs, ArrayOrTensor]:
        """(N,K,2) keypoints in crop px and (N,K) visibility -> training targets and (N,K) weights.

        Visibility is 0 for a joint without a label, and 1 or 2, as in COCO, for one with a label.
        """

    @abc.abstractmethod
    def decode(self, outputs: Outputs) -> tuple[Any, Any]:
        """Network outputs -> (N,K,2) keypoints in crop px and (N,K) scores."""

    @abc.abstractmethod
    def mirrored(self, outputs: Outputs, flip_indices: NDArray[np.int64]) -> Outputs:
        """Outputs for mirrored crops -> outputs for the crops themselves, which the flip test averages.

        `flip_indices[k]` is the joint that k becomes in a mirror (`Skeleton.flip_indices`).
        """
