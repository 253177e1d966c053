"""The transformer of ViTPose, built by Hugging Face transformers.

Xu et al., ViTPose: Simple Vision Transformer Baselines for Human Pose Estimation, NeurIPS 2022; Xu et al., ViTPose++:
Vision Transformer for Generic Body Pose Estimation, 2023.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import VitPoseBackbone, VitPoseBackboneConfig, VitPoseConfig

from hrkit.errors import HrkitError, UnknownNameError
from hrkit.pose_spec import IMAGENET_MEAN, IMAGENET_STD
from hrkit.structures import Size
from hrkit_vitpose.hub import read_config
from hrkit_vitpose.names import renamed

SIZES = {"s": (384, 12, 12), "b": (768, 12, 12), "l": (1024, 24, 16), "h": (1280, 32, 16)}
"""Width, layers and attention heads of each size."""
EXPERTS = 6
"""Of ViTPose+, one per group of datasets: COCO, AI Challenger, MPII, AP-10K, APT-36K and COCO-WholeBody."""


class ViTBackbone(nn.Module):
    """(N,3,H,W) -> [(N,C,H/16,W/16)], the tokens after the last norm.

    Position embeddings are of the input size in `config`; for another one they are resized (bicubic). A network with
    several experts uses the one number `dataset_index`. Raises `HrkitError` if there is no such expert.
    """

    default_head = "vitpose_classic"
    mean, std, channel_order = IMAGENET_MEAN, IMAGENET_STD, "rgb"
    strides = (16,)
    renamed = staticmethod(renamed)

    def __init__(self, config: VitPoseBackboneConfig, dataset_index: int = 0) -> None:
        super().__init__()
        if not 0 <= dataset_index < config.num_experts:
            raise HrkitError(f"dataset_index={dataset_index}; experts are numbered from 0 to {config.num_experts - 1}")
        built = VitPoseBackbone(config)
        self.embeddings, self.encoder, self.layernorm = built.embeddings, built.encoder, built.layernorm
        self.channels = (config.hidden_size,)
        height, width = config.image_size  # type: ignore[misc, unused-ignore]  # two numbers; transformers may be missing
        self.default_input_size: Size = (height, width)
        self.num_experts, self.dataset_index = config.num_experts, dataset_index

    def forward(self, images: Tensor) -> list[Tensor]:
        """Sides of the images must be multiples of 16."""
        height, width = self.default_input_size
        patches = self.embeddings.patch_embeddings.projection(images)
        tokens = _placed(patches, self.embeddings.position_embeddings, height // 16, width // 16)
        index = _indices(tokens, self.dataset_index) if self.num_experts > 1 else None
        tokens = self.encoder(tokens, dataset_index=index)[0]
        return [_as_map(self.layernorm(tokens), patches)]


@torch.fx.wrap  # tracers do not look into these three
def _placed(patches: Tensor, positions: Tensor, rows: int, columns: int) -> Tensor:
    """Patches (N,C,h,w) with the position embeddings (1,1+rows*columns,C) added, as tokens (N,h*w,C).

    Of an empty batch, which transformers does not take, they are those of one patch grid of zeros.
    """
    grid = positions[:, 1:] + positions[:, :1]
    if patches.shape[2:] != (rows, columns):
        maps = grid.transpose(1, 2).reshape(1, -1, rows, columns)
        grid = F.interpolate(maps, patches.shape[2:], mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    patches = patches.new_zeros(1, *patches.shape[1:]) if patches.shape[0] == 0 else patches
    return patches.flatten(2).transpose(1, 2) + grid


@torch.fx.wrap
def _indices(tokens: Tensor, index: int) -> Tensor:
    return torch.full((tokens.shape[0],), index, device=tokens.device)


@torch.fx.wrap
def _as_map(tokens: Tensor, patches: Tensor) -> Tensor:
    return tokens[: patches.shape[0]].transpose(1, 2).reshape(patches.shape)


def vitpose(size: str) -> ViTBackbone:
    """ViTPose of size "s", "b", "l" or "h". Raises `HrkitError` for another size."""
    return ViTBackbone(_config(f"vitpose_{size}", size))


def vitpose_plus(size: str, dataset_index: int = 0) -> ViTBackbone:
    """ViTPose+; `dataset_index` chooses the expert. Raises as `vitpose`."""
    return ViTBackbone(_config(f"vitpose_plus_{size}", size, num_experts=EXPERTS), dataset_index)


def _config(name: str, size: str, num_experts: int = 1) -> VitPoseBackboneConfig:
    if size not in SIZES:
        raise UnknownNameError("backbone", name, [name.removesuffix(size) + known for known in SIZES])
    width, layers, heads = SIZES[size]
    return VitPoseBackboneConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_experts=num_experts,
        part_features=width // 4,
    )


def from_hub(repository: str, dataset_index: int = 0) -> ViTBackbone:
    """The transformer that the `config.json` of `owner/name` on the Hub describes; its weights are left as initialised.

    Raises `DownloadError` if it cannot be fetched, `HrkitError` if it is another kind of network.
    """
    config = read_config(repository)
    if not isinstance(config, VitPoseConfig) or not isinstance(config.backbone_config, VitPoseBackboneConfig):
        raise HrkitError(f"hf/{repository} is a network of type {config.model_type}, not a ViTPose")
    backbone = ViTBackbone(config.backbone_config, dataset_index)
    backbone.default_head = "vitpose_simple" if config.use_simple_decoder else "vitpose_classic"
    return backbone
