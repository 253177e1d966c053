"""How long grouping takes on one core, and a plain version of the same.

    python tools/measure_grouping.py [PEOPLE]

Maps are made up as a network of input 512 gives them, with noise, and brought to larger sizes, 512x512 in use. Where
joints are hidden the official way takes people for several at times, so that more are found. The plain version,
`tests/plain_grouping.py`, goes through people, joints and cells one after the other, as the official code does.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from hrkit_higherhrnet.grouping import group
from hrkit_higherhrnet.model import grouping_order
from made_maps import made_maps
from plain_grouping import plain_group

from hrkit.skeletons import coco17

ROUNDS = 15


def resized(maps: np.ndarray, side: int) -> np.ndarray:
    """(...,H,W) -> (...,side,side)."""
    flat = torch.from_numpy(maps).flatten(0, -3)[None]
    large = F.interpolate(flat, size=(side, side), mode="bilinear", align_corners=False)
    return np.ascontiguousarray(large[0].numpy().reshape(*maps.shape[:-2], side, side))


def main(people: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for seen in (1.0, 0.7):
        heatmaps, tags = made_maps(people, (128, 128), seen=seen)
        for side in (128, 256, 512):
            took = measured(resized(heatmaps, side), resized(tags, side))
            print(f"{seen:.0%} of the joints seen, {side}x{side}: {took}", flush=True)


def measured(heatmaps: np.ndarray, tags: np.ndarray) -> str:
    """Both, in words."""
    order = grouping_order(coco17)
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        found = group(heatmaps, tags, order)
        seconds.append(time.perf_counter() - started)
    started = time.perf_counter()
    plain = plain_group(heatmaps, tags, order)
    plain_seconds = time.perf_counter() - started
    return (
        f"{len(found)} people ({len(plain)} plain), {1e3 * statistics.median(seconds):.1f} ms "
        f"({1e3 * min(seconds):.1f} to {1e3 * max(seconds):.1f}), plain {1e3 * plain_seconds:.0f} ms"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
