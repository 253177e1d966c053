"""Any feature extractor of timm (github.com/huggingface/pytorch-image-models) as a backbone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hrkit.errors import DownloadError, HrkitError, close_names, one_line
from hrkit.pose_spec import IMAGENET_MEAN, IMAGENET_STD
from hrkit.weights import hub

_LOADING = {"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}
"""Options of timm that read other weights than its own, pickles among them."""


class TimmBackbone(nn.Module):
    """`timm.create_model(name, features_only=True)`, its outputs of stride 4 and coarser.

    `pretrained` fetches timm's own weights; further options go to timm (`img_size=(256, 192)` for the few
    transformers that need it). Raises `HrkitError` for a name that timm does not have or a model that gives no feature
    maps, `DownloadError` if the pretrained weights cannot be fetched.
    """

    default_head = "fpn"
    channel_order = "rgb"

    def __init__(self, name: str, pretrained: bool = False, **options: Any) -> None:
        super().__init__()
        self.network: nn.Module = _create(name, pretrained, options)
        info: Any = self.network.feature_info  # Any: timm's own
        wanted = [i for i, stride in enumerate(info.reduction()) if stride >= 4]
        if not wanted:
            raise HrkitError(f"timm/{name} gives no features of stride 4 or coarser; take another model")
        self._wanted = wanted
        self.channels: tuple[int, ...] = tuple(info.channels()[i] for i in wanted)
        self.strides: tuple[int, ...] = tuple(info.reduction()[i] for i in wanted)
        config = getattr(self.network, "pretrained_cfg", None) or {}
        self.mean: tuple[float, ...] = tuple(config.get("mean", IMAGENET_MEAN))
        self.std: tuple[float, ...] = tuple(config.get("std", IMAGENET_STD))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(N,3,H,W) -> [(N,C_i,H/s_i,W/s_i), ...], finest first."""
        features = self.network(images)
        return [_channels_first(features[i], channels) for i, channels in zip(self._wanted, self.channels, strict=True)]


@torch.fx.wrap  # tracers do not look into it
def _channels_first(feature: torch.Tensor, channels: int) -> torch.Tensor:
    """Some of timm's transformers give (N,H,W,C)."""
    return feature if feature.shape[1] == channels else feature.permute(0, 3, 1, 2)


def _create(name: str, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    import timm

    refused = sorted(_LOADING & options.keys())
    if refused:
        raise HrkitError(f"timm/{name}: the option {refused[0]} is not taken; pass weights or backbone_weights")
    known = timm.list_models()
    if name.split(".")[0] not in known:
        close = close_names(name, known)
        hint = f"did you mean {' or '.join(close)}?" if close else "see timm.list_models()"
        raise HrkitError(f"timm has no model {name!r}; {hint}")
    switches: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {})
    for more in switches:  # vision transformers without it take one size of picture
        try:
            repository = getattr(timm.get_pretrained_cfg(name), "hf_hub_id", None) if pretrained else None
            if repository:  # fetched by hrkit, which checks what the server says before it writes anything
                more = {**more, "pretrained_cfg_overlay": {"file": str(hub.fetch(f"hf-hub:{repository}"))}}
            return timm.create_model(name, pretrained=pretrained, features_only=True, **{**more, **options})
        except TypeError as error:  # other models do not know the switch
            problem = f"does not take these options: {error}"
        except (OSError, DownloadError) as error:
            reason = f"timm's pretrained weights of {name} cannot be fetched ({one_line(error)[:200]})"
            raise DownloadError(f"{reason}; pass backbone_weights=None or a file") from error
        except Exception as error:  # hundreds of models, and files of weights, have errors of their own
            problem = f"cannot be built as a feature extractor: {one_line(error)[:200]}"
            break
    raise HrkitError(f"timm/{name} {problem}")
