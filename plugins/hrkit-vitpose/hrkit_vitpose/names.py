"""The tensors of other projects' ViTPose files under the names of this network.

The backbone has the names of transformers, the head those of MMPose. MMPose and the authors of ViTPose, whose names are
also those of timm, keep query, key and value in one tensor.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

State = dict[str, Tensor]

_RULES = [
    (re.compile(pattern), new)
    for pattern, new in (
        (r"^backbone\.pos_embed$", "backbone.embeddings.position_embeddings"),
        (r"^backbone\.patch_embed\.proj(?:ection)?\.", "backbone.embeddings.patch_embeddings.projection."),
        (r"^backbone\.(?:ln1|last_norm)\.", "backbone.layernorm."),
        (r"^backbone\.(?:layers|blocks)\.", "backbone.encoder.layer."),
        (r"\.(?:ln|norm)1\.", ".layernorm_before."),
        (r"\.(?:ln|norm)2\.", ".layernorm_after."),
        (r"\.attn\.proj\.", ".attention.output.dense."),
        (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
        (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
        (r"^head\.deconv1\.", "head.deconv_layers.0."),
        (r"^head\.batchnorm1\.", "head.deconv_layers.1."),
        (r"^head\.deconv2\.", "head.deconv_layers.3."),
        (r"^head\.batchnorm2\.", "head.deconv_layers.4."),
        (r"^head\.conv\.", "head.final_layer."),
    )
]


def renamed(state: State) -> State:
    """The tensors by the names of this network; other names stay."""
    result: State = {}
    for old, tensor in state.items():
        name = old
        for pattern, new in _RULES:
            name = pattern.sub(new, name)
        before, fused, after = name.partition(".attn.qkv.")
        if fused:
            parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
            result |= {f"{before}.attention.attention.{part}.{after}": third for part, third in parts}
        elif old == "backbone.pos_embed" and "backbone.ln1.weight" in state:
            result[name] = torch.cat([torch.zeros_like(tensor[:, :1]), tensor], 1)  # MMPose has none for the class
        else:
            result[name] = tensor
    return result
