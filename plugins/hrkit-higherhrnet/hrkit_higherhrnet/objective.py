"""The training objective: heatmaps at both resolutions, and tags that are similar within a person only.

The losses are the official ones (lib/core/loss.py); those of tags are from Newell et al., Associative Embedding, NIPS
2017. Shapes: N pictures, P people, K joints, maps (h,w).
"""

from __future__ import annotations

import torch

from hrkit.errors import HrkitError
from hrkit.pose_model import PoseModel
from hrkit.training.config import TrainConfig
from hrkit_higherhrnet.outputs import unpacked

TAG_WEIGHT = 1e-3
"""Official weight of the tag losses relative to the heatmap losses."""

Batch = dict[str, torch.Tensor]


class TagObjective:
    """The objective of a bottom-up network. Raises `HrkitError` for settings that apply to crops of single people."""

    def __init__(self, config: TrainConfig, model: PoseModel, teacher: PoseModel | None = None) -> None:
        for name, given in (
            ("teacher", teacher is not None),
            ("joint_weights", config.joint_weights is not None),
            ("loss", config.loss not in (None, "mse")),
            ("codec", config.codec not in (None, "msra")),
            ("sigma", config.sigma is not None),
        ):
            if given:
                raise HrkitError(f"{name} is for networks that see people one by one; {model.describe()} takes none")
        self.model = model
        self.network: torch.nn.Module = model

    def prepare(self, batch: Batch) -> tuple[torch.Tensor, Batch]:
        """Images (N,3,H,W) and the targets of a batch, on the network's device and in its precision."""
        images = self.model.normalise(batch["images"])
        targets = {
            name: tensor.to(images.device, images.dtype if tensor.is_floating_point() else None, non_blocking=True)
            for name, tensor in batch.items()
            if name not in ("images", "rows")
        }
        return images, targets

    def loss(self, outputs: torch.Tensor, targets: Batch) -> torch.Tensor:
        """The loss of the network's outputs (N,6K,h,w)."""
        low, high = unpacked(outputs)
        heatmaps, tags = low.chunk(2, dim=1)
        push, pull = tag_losses(tags, targets["cells"], targets["there"])
        return (
            heatmap_loss(heatmaps, targets["low"], targets["low_mask"])
            + heatmap_loss(high, targets["high"], targets["high_mask"])
            + TAG_WEIGHT * (push + pull)
        )

    def heatmaps(self, outputs: torch.Tensor, targets: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Predicted and target heatmaps (N,K,2h,2w) of the higher resolution."""
        return unpacked(outputs)[1], targets["high"]


def heatmap_loss(heatmaps: torch.Tensor, targets: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Mean squared error of heatmaps (N,K,h,w) over all cells, counting those in which `masks` (N,h,w) are 1."""
    return ((heatmaps - targets).square() * masks[:, None]).mean()


def tag_losses(
    tags: torch.Tensor, cells: torch.Tensor, there: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Push loss between people and pull loss within people, as means over pictures.

    `cells` (N,P,K) are flat indices of the joints in tags (N,K,h,w); `there` (N,P,K) marks labelled joints. The push
    loss is half the mean of exp(-d^2) over pairs of people, where d is the difference of their mean tags. The pull loss
    is the mean variance of a person's tags. A picture with too few people counts as 0.
    """
    count = len(tags)
    weight = there.to(tags.dtype)
    own = tags.reshape(count, -1).gather(1, cells.reshape(count, -1)).view(cells.shape)
    joints = weight.sum(2)
    known = (joints > 0).to(tags.dtype)  # (N,P)
    means = (own * weight).sum(2) / joints.clamp(min=1)
    variances = ((own - means[..., None]).square() * weight).sum(2) / joints.clamp(min=1)
    people = known.sum(1)
    pull = (variances * known).sum(1) / people.clamp(min=1)
    pairs = known[:, :, None] * known[:, None]
    near = torch.exp(-(means[:, :, None] - means[:, None]).square()) * pairs
    push = 0.5 * (near.sum((1, 2)) - people) / (people * (people - 1)).clamp(min=1)
    return push.mean(), pull.mean()
