"""Averages the weights of training runs and stores them as float16: how the pose networks of this package were made.

    python tools/pack_pose.py runs/lite/best.safetensors hrkit_lite/lite_pose.safetensors

Several runs must be of one network from one start; their mean is often better than each of them (Wortsman et al., Model
Soups, ICML 2022).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from hrkit.files import atomic_path
from hrkit.weights.checkpoints import read_checkpoint


def mean_state(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor, float16."""
    return {name: torch.stack([state[name].float() for state in states]).mean(0).half() for name in states[0]}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="best.safetensors of one run or several")
    parser.add_argument("output", type=Path, help="the .safetensors file to write")
    parser.add_argument("--backbone", help="its registered name, where it was trained under another")
    arguments = parser.parse_args()
    checkpoints = [read_checkpoint(run) for run in arguments.runs]
    metadata = dict(checkpoints[0].metadata)
    if arguments.backbone is not None:
        metadata.update(backbone=arguments.backbone, backbone_options={})
    stored = mean_state([dict(checkpoint.state) for checkpoint in checkpoints])
    with atomic_path(arguments.output) as temporary:
        safetensors.torch.save_file(stored, temporary, {"hrkit": json.dumps(metadata)})
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
