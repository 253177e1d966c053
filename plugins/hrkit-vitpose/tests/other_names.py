"""The names that other projects give to the tensors of a ViTPose."""

from __future__ import annotations

import re

import torch
from hrkit_vitpose.names import State


def mmposes(state: State, authors: bool) -> State:
    """The tensors under MMPose's names, or under those of the authors of ViTPose."""
    rules = [
        (r"embeddings\.position_embeddings", "pos_embed"),
        (r"embeddings\.patch_embeddings\.projection", "patch_embed.proj" if authors else "patch_embed.projection"),
        (r"backbone\.layernorm\.", "backbone.last_norm." if authors else "backbone.ln1."),
        (r"encoder\.layer\.", "blocks." if authors else "layers."),
        (r"layernorm_before", "norm1" if authors else "ln1"),
        (r"layernorm_after", "norm2" if authors else "ln2"),
        (r"attention\.output\.dense", "attn.proj"),
        *([] if authors else [(r"mlp\.fc1", "ffn.layers.0.0"), (r"mlp\.fc2", "ffn.layers.1")]),
    ]
    made: State = {}
    for name, tensor in state.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        name = name.replace("head.deconv1", "head.deconv_layers.0").replace("head.batchnorm1", "head.deconv_layers.1")
        name = name.replace("head.deconv2", "head.deconv_layers.3").replace("head.batchnorm2", "head.deconv_layers.4")
        name = name.replace("head.conv.", "head.final_layer.")
        part = re.search(r"\.attention\.attention\.(query|key|value)\.", name)
        if part is None:
            made[name] = tensor
        else:
            fused = name.replace(part[0], ".attn.qkv.")
            made[fused] = torch.cat([made[fused], tensor]) if fused in made else tensor
    return made
