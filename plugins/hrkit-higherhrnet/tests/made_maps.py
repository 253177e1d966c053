"""Synthetic maps of people."""

from __future__ import annotations

import numpy as np

SIGMA = 2.0


def made_maps(people: int, size: tuple[int, int], *, joints: int = 17, passes: int = 2, seed: int = 0, seen=0.7):
    """Heatmaps (K,H,W) and tags (T,K,H,W) of people side by side, with noise; some joints are hidden."""
    random = np.random.default_rng(seed)
    height, width = size
    heatmaps = (0.02 * random.random((joints, height, width))).astype(np.float32)
    tags = random.normal(0, 0.3, (passes, joints, height, width)).astype(np.float32)
    columns = max(1, round(np.sqrt(people * width / height)))
    rows = max(1, -(-people // columns))
    room = np.array([height / rows, width / columns])
    y, x = np.mgrid[:height, :width]
    for place, number in enumerate(random.permutation(people)):
        own = 3.0 * (number + 1) + random.normal(0, 0.05, passes)
        middle = (np.array(divmod(place, columns)) + 0.5) * room
        for joint in range(joints):
            at = np.clip(middle + random.uniform(-0.5, 0.5, 2) * room, 0, [height - 1, width - 1])
            if random.random() > seen:
                continue
            top, left = np.maximum(at.astype(int) - 7, 0)
            part = np.s_[top : top + 16, left : left + 16]
            bump = np.exp(-((y[part] - at[0]) ** 2 + (x[part] - at[1]) ** 2) / (2 * SIGMA**2))
            bump = (bump * random.uniform(0.3, 1)).astype(np.float32)
            mine = bump > heatmaps[joint][part]
            heatmaps[joint][part] = np.maximum(heatmaps[joint][part], bump)
            for t in range(passes):
                tags[t, joint][part][mine] = own[t] + random.normal(0, 0.05)
    return heatmaps, tags
