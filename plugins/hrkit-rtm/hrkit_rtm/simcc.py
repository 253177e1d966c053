"""The codec `simcc`: a joint as one distribution over x and one over y, two bins per px.

Li et al., SimCC: a Simple Coordinate Classification Perspective for Human Pose Estimation, ECCV 2022. As MMPose's
SimCCLabel and KLDiscretLoss, so that its weights decode and train as published. Shapes: N people, K joints, crops of
(H, W).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from hrkit.errors import HrkitError
from hrkit.heads.base import Codec
from hrkit.ops.tensors import ArrayOrTensor, as_tensor, like
from hrkit.structures import Size

BINS_PER_PX = 2
BETA = 10.0
"""The factor on predictions and labels before their softmax, in `simcc_loss`."""


def official_sigma(input_size: Size) -> tuple[float, float]:
    """The deviation of the published models' labels for crops of (height, width): bins along x and along y."""
    height, width = input_size
    return round((width / 8) ** 0.5, 2), round((height / 8) ** 0.5, 2)


class SimccCodec(Codec):
    """Keypoints as pairs of distributions, (N,K,2W) and (N,K,2H); NumPy arrays or tensors, and the same kind back.

    `sigma` is the deviation of the labels in bins: one number, or two for x and y. Raises `HrkitError` if one is not
    above 0.
    """

    def __init__(self, *, input_size: Size, heatmap_size: Size, sigma: float | tuple[float, float]) -> None:
        self.sigmas = tuple(sigma) if isinstance(sigma, (tuple, list)) else (sigma, sigma)
        super().__init__(input_size=input_size, heatmap_size=heatmap_size, sigma=min(self.sigmas))
        height, width = self.input_size
        self.bins = (width * BINS_PER_PX, height * BINS_PER_PX)

    def encode(
        self, keypoints: ArrayOrTensor, visible: ArrayOrTensor
    ) -> tuple[tuple[ArrayOrTensor, ArrayOrTensor], ArrayOrTensor]:
        """(N,K,2) crop px and (N,K) visibility -> labels (N,K,2W) and (N,K,2H), at most 1, and (N,K) weights.

        A joint whose labels lie wholly outside, or whose position is NaN, gets weight 0 and labels of 0.
        """
        centers = (as_tensor(keypoints, torch.float32) * BINS_PER_PX).round()  # halves to the even number
        weights = as_tensor(visible, torch.float32).to(centers.device).clamp(0, 1)
        sigma, size = centers.new_tensor(self.sigmas), centers.new_tensor(self.bins)
        inside = (centers - 3 * sigma < size) & (centers + 3 * sigma + 1 >= 0)  # False for NaN
        weights = weights * inside.all(-1)
        labels = []
        for axis, count in enumerate(self.bins):
            distance = torch.arange(count, device=centers.device) - centers[..., axis, None]
            label = torch.exp(-(distance**2) / (2 * self.sigmas[axis] ** 2))
            labels.append(torch.where((weights > 0)[..., None], label, 0.0))
        return (like(labels[0], keypoints), like(labels[1], keypoints)), like(weights, keypoints)

    def decode(self, outputs: tuple[ArrayOrTensor, ArrayOrTensor]) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """(N,K,2W) and (N,K,2H) -> (N,K,2) crop px and (N,K) scores, the smaller of the two maxima.

        Where it is not above 0 the position is (-0.5, -0.5), as in MMPose. A bin that is NaN counts as 0. Raises
        `HrkitError` for anything else than two distributions of these sizes.
        """
        if not isinstance(outputs, (tuple, list)) or len(outputs) != 2:
            raise HrkitError("simcc reads two distributions per joint, and the network gives something else")
        along = [as_tensor(one, torch.float32).nan_to_num(nan=0.0) for one in outputs]
        shapes = [tuple(one.shape) for one in along]
        if [shape[2:] for shape in shapes] != [(count,) for count in self.bins]:
            raise HrkitError(f"distributions have shapes {shapes}, wanted (N, K, bins) with {self.bins} bins")
        maxima, places = zip(*(one.max(-1) for one in along), strict=True)
        scores = torch.minimum(*maxima)
        points = torch.stack(places, -1).float() / BINS_PER_PX
        points = torch.where((scores > 0)[..., None], points, -1 / BINS_PER_PX)
        return like(points, outputs[0]), like(scores, outputs[0])

    def mirrored(
        self, outputs: tuple[ArrayOrTensor, ArrayOrTensor], flip_indices: NDArray
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Distributions for mirrored crops: left and right joints swapped, x reversed."""
        x, y = (as_tensor(one) for one in outputs)
        swap = torch.as_tensor(flip_indices, device=x.device)
        return like(x.flip(2)[:, swap], outputs[0]), like(y[:, swap], outputs[1])


def simcc_loss(outputs: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor], weights: Tensor) -> Tensor:
    """The divergence of predicted from labelled distributions, (N,K,2W) and (N,K,2H) each, with weights (N,K).

    Both go through a softmax of `BETA` times their values. It is a mean over bins and joints and a sum over people, as
    KLDiscretLoss of MMPose.
    """
    divergences = [
        F.kl_div(F.log_softmax(BETA * ours, -1), F.softmax(BETA * wanted, -1), reduction="none").mean(-1)
        for ours, wanted in zip(outputs, labels, strict=True)
    ]
    return (sum(divergences) * weights).sum() / weights.shape[1]
