"""Any feature extractor of timm (github.com/huggingface/pytorch-image-models) as a backbone."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import nn

from hrkit.errors import DownloadError, HrkitError

_LOADING = {"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}
"""Options of timm that read other weights than its own, pickles among them."""


class TimmBackbone(nn.Module):
    """`timm.create_model(name, features_only=True)`, its outputs of stride 4 and coarser.

    `pretrained` fetches timm's own weights; further options go to timm (`img_size=(256, 192)` for the few
    transformers that want to know it). Raises `HrkitError` for a name that timm does not have or a model that gives
    no feature maps, `DownloadError` where the pretrained weights cannot be fetched.
    """

    default_head = "fpn"
    channel_order = "rgb"

    def __init__(self, name: str, pretrained: bool = False, **options: Any) -> None:
        super().__init__()
        self.network = _create(name, pretrained, options)
        info: Any = self.network.feature_info
        wanted = [i for i, stride in enumerate(info.reduction()) if stride >= 4]
        if not wanted:
            raise HrkitError(f"timm/{name} gives no features of stride 4 or coarser; take another model")
        self._wanted = wanted
        self.channels = tuple(info.channels()[i] for i in wanted)
        self.strides = tuple(info.reduction()[i] for i in wanted)
        config = getattr(self.network, "pretrained_cfg", None) or {}
        self.mean = tuple(config.get("mean", (0.485, 0.456, 0.406)))
        self.std = tuple(config.get("std", (0.229, 0.224, 0.225)))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(N,3,H,W) -> [(N,C_i,H/s_i,W/s_i), ...], finest first."""
        features = self.network(images)
        return [_channels_first(features[i], channels) for i, channels in zip(self._wanted, self.channels, strict=True)]


@torch.fx.wrap  # which no tracer looks into
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
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see timm.list_models()"
        raise HrkitError(f"timm has no model {name!r}; {hint}")
    # only vision transformers know this switch, and without it they take one size of picture alone
    attempts = [{"dynamic_img_size": True, **options}, options]
    for attempt in attempts:
        try:
            return timm.create_model(name, pretrained=pretrained, features_only=True, **attempt)
        except TypeError as error:
            if attempt is options:
                raise HrkitError(f"timm/{name} does not take these options: {error}") from error
        except (RuntimeError, AttributeError, NotImplementedError) as error:
            raise HrkitError(f"timm/{name} cannot be built as a feature extractor: {_first_line(error)}") from error
        except OSError as error:
            raise DownloadError(
                f"timm's pretrained weights of {name} cannot be fetched ({_first_line(error)}); "
                "pass backbone_weights=None or a file"
            ) from error
    raise AssertionError("the last attempt returns or raises")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
