"""The losses agree with their definition, computed in float64 for one picture and person at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hrkit_higherhrnet.objective import heatmap_loss, tag_losses
from hypothesis import given, settings
from hypothesis import strategies as st


def plain_heatmap_loss(heatmaps: np.ndarray, targets: np.ndarray, masks: np.ndarray) -> float:
    pictures, joints, height, width = heatmaps.shape
    total = 0.0
    for n in range(pictures):
        own = 0.0
        for k in range(joints):
            for y in range(height):
                for x in range(width):
                    own += (heatmaps[n, k, y, x] - targets[n, k, y, x]) ** 2 * masks[n, y, x]
        total += own / (joints * height * width)
    return total / pictures


def plain_tag_losses(tags: np.ndarray, cells: np.ndarray, there: np.ndarray) -> tuple[float, float]:
    pushes, pulls = [], []
    for n in range(len(tags)):
        flat = tags[n].ravel()
        means, pull = [], 0.0
        for person in range(cells.shape[1]):
            own = [flat[cells[n, person, k]] for k in range(cells.shape[2]) if there[n, person, k]]
            if own:
                mean = sum(own) / len(own)
                means.append(mean)
                pull += sum((tag - mean) ** 2 for tag in own) / len(own)
        people = len(means)
        push = sum(math.exp(-((a - b) ** 2)) for i, a in enumerate(means) for j, b in enumerate(means) if i != j)
        pushes.append(0.5 * push / (people * (people - 1)) if people > 1 else 0.0)
        pulls.append(pull / people if people else 0.0)
    return sum(pushes) / len(tags), sum(pulls) / len(tags)


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(0, 5), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_as_defined(pictures: int, people: int, joints: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = 4, 5
    heatmaps, targets, tags = random.normal(0, 1, (3, pictures, joints, height, width))
    masks = (random.random((pictures, height, width)) < 0.7).astype(float)
    cells = random.integers(0, joints * height * width, (pictures, people, joints))
    there = random.random((pictures, people, joints)) < random.choice([0.0, 0.4, 1.0])
    found = heatmap_loss(*map(torch.from_numpy, (heatmaps, targets, masks)))
    assert found.item() == pytest.approx(plain_heatmap_loss(heatmaps, targets, masks), rel=1e-12)
    losses = tag_losses(*map(torch.from_numpy, (tags, cells, there)))
    assert [loss.item() for loss in losses] == pytest.approx(plain_tag_losses(tags, cells, there), rel=1e-9, abs=1e-12)


def test_gradients_are_finite_without_people() -> None:
    tags = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    cells, there = torch.zeros(2, 5, 3, dtype=torch.int64), torch.zeros(2, 5, 3, dtype=torch.bool)
    there[1, 0] = True
    push, pull = tag_losses(tags, cells, there)
    (push + pull).backward()
    assert torch.isfinite(tags.grad).all()
    assert push.item() == 0


def test_gradients_agree_with_differences() -> None:
    tags = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    cells = torch.randint(0, 48, (2, 4, 3))
    there = torch.rand(2, 4, 3) < 0.7
    assert torch.autograd.gradcheck(lambda values: tag_losses(values, cells, there), (tags,))
