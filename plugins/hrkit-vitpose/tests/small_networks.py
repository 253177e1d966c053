"""Small networks of transformers, and their files as the Hub has them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import (
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
    VitPoseBackboneConfig,
    VitPoseConfig,
    VitPoseForPoseEstimation,
)

LABELS = ("N/A", "Person", "bicycle", "car")


def pose_config(simple: bool = True, experts: int = 1, joints: int = 17) -> VitPoseConfig:
    """A ViTPose of two layers."""
    backbone = VitPoseBackboneConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        out_indices=[2],
        num_experts=experts,
        part_features=8,
    )
    return VitPoseConfig(backbone_config=backbone, use_simple_decoder=simple, num_labels=joints)


def pose_network(simple: bool = True, experts: int = 1, joints: int = 17) -> VitPoseForPoseEstimation:
    torch.manual_seed(0)
    network = VitPoseForPoseEstimation(pose_config(simple, experts, joints)).eval()
    return randomised(network)


def detection_network() -> RTDetrForObjectDetection:
    """An RT-DETR of two layers."""
    torch.manual_seed(0)
    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[8, 16, 16],
        encoder_hidden_dim=16,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=2,
        decoder_attention_heads=2,
        num_queries=20,
        hidden_expansion=0.5,
        id2label=dict(enumerate(LABELS)),
    )
    network = randomised(RTDetrForObjectDetection(config).eval())
    for name, tensor in network.state_dict().items():
        if "class_embed" in name and name.endswith("bias"):
            tensor[1] += 3  # people are found, whatever the random values of this version are
    return network


def randomised(network: nn.Module) -> nn.Module:
    """Every tensor differs from its initial value, so that a tensor in the wrong place shows."""
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.3 * torch.randn_like(tensor))
    return network


def files_of(network: nn.Module, folder: Path) -> dict[str, bytes]:
    """The files of a repository with this network."""
    network.save_pretrained(folder)
    RTDetrImageProcessor(size={"height": 64, "width": 96}).save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}
