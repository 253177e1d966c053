"""Finds the slope and offset with which a detector's score says how many of such boxes are people.

    python fit_score.py judged.json

`judged.json` is a list of [score, right] pairs, right being 1 for a box that shows a person and 0 for one that does
not. COCO's keypoint files leave people out, so boxes that no annotated person explains must be judged by eye.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional


def fit(scores: Tensor, right: Tensor, weights: Tensor | None = None) -> tuple[float, float]:
    """Slope and offset of the logit of least cross-entropy (Platt, 1999); (N,) scores, (N,) 0 or 1, (N,) weights."""
    logits = scores.double().clamp(1e-6, 1 - 1e-6).logit()
    numbers = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([numbers], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.binary_cross_entropy_with_logits(
            numbers[0] * logits + numbers[1], right.double(), None if weights is None else weights.double()
        )
        value.backward()
        return value

    optimizer.step(loss)
    slope, offset = numbers.tolist()
    return slope, offset


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("judged", type=Path)
    scores, right = torch.tensor(json.loads(parser.parse_args().judged.read_text())).T
    slope, offset = fit(scores, right)
    print(f"--slope {slope:.3f} --offset {offset:.3f}")
    calibrated = (slope * scores.logit() + offset).sigmoid()
    for low in torch.arange(0, 1, 0.1).tolist():
        within = (calibrated >= low) & (calibrated < low + 0.1)
        if within.any():
            mean, share = calibrated[within].mean().item(), right[within].mean().item()
            print(f"{mean:.2f} {share:.2f} {int(within.sum())}")


if __name__ == "__main__":
    main()
