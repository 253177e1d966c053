"""Maps of people that are made up."""

from __future__ import annotations

import numpy as np

SIGMA = 2.0


def made_maps(people: int, size: tuple[int, int], *, joints: int = 17, passes: int = 2, seed: int = 0, seen=0.7):
    """(K,H,W) heatmaps and (T,K,H,W) tags of people of about the right size, some of whose joints are hidden."""
    random = np.random.default_rng(seed)
    height, width = size
    heatmaps = (0.02 * random.random((joints, height, width))).astype(np.float32)
    tags = random.normal(0, 0.3, (passes, joints, height, width)).astype(np.float32)
    extent = max(8, min(size) // 5)
    y, x = np.mgrid[:height, :width]
    for person in random.permutation(people):
        own = 3.0 * (person + 1) + random.normal(0, 0.05, passes)
        middle = random.uniform(0, 1, 2) * [height, width]
        for joint in range(joints):
            at = np.clip(middle + random.uniform(-extent, extent, 2), 0, [height - 1, width - 1]).astype(int)
            if random.random() > seen:
                continue
            top, left = np.maximum(at - 7, 0)
            part = np.s_[top : at[0] + 8, left : at[1] + 8]
            bump = np.exp(-((y[part] - at[0]) ** 2 + (x[part] - at[1]) ** 2) / (2 * SIGMA**2))
            bump = (bump * random.uniform(0.3, 1)).astype(np.float32)
            mine = bump > heatmaps[joint][part]
            heatmaps[joint][part] = np.maximum(heatmaps[joint][part], bump)
            for t in range(passes):
                tags[t, joint][part][mine] = own[t] + random.normal(0, 0.05)
    return heatmaps, tags
