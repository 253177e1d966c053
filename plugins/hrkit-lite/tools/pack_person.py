"""Averages the weights of training runs, calibrates the score, and stores float16: how `lite_person` was made.

    python tools/pack_person.py runs/person/average.safetensors hrkit_lite/lite_person.safetensors \\
        --slope 1.2 --offset 0.4

The logit of a person becomes slope * logit + offset, which `fit_score.py` finds, so that of the boxes with score s
about the share s are people (Platt, 1999). The order of boxes stays the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from hrkit.files import atomic_path

LEVELS = 3


def calibrated(state: dict[str, Tensor], slope: float, offset: float) -> dict[str, Tensor]:
    """Weights of a `PersonNetwork` whose logit of a person is `slope` times what it was, plus `offset`."""
    changed = {name: values.clone() for name, values in state.items()}
    for level in range(LEVELS):
        changed[f"out.{level}.weight"][0] *= slope
        bias = changed[f"out.{level}.bias"]
        bias[0] = slope * bias[0] + offset
    return changed


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="weights of one run or several from one start")
    parser.add_argument("output", type=Path, help="the .safetensors file to write")
    parser.add_argument("--slope", type=float, default=1.0)
    parser.add_argument("--offset", type=float, default=0.0)
    arguments = parser.parse_args()
    states = [safetensors.torch.load_file(run) for run in arguments.runs]
    mean = {name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]}
    stored = {name: values.half() for name, values in calibrated(mean, arguments.slope, arguments.offset).items()}
    with atomic_path(arguments.output) as temporary:
        safetensors.torch.save_file(stored, temporary)
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
