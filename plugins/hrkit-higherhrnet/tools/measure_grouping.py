"""Measures how long grouping takes on one core, in use and in a plain way.

    python tools/measure_grouping.py [PEOPLE]

Maps are made up with noise, at half the size of the network's input as it gives them, and brought to that size as in
use. The plain version, `tests/plain_grouping.py`, goes through people, joints and cells one after the other, as the
official code does.
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

from hrkit.runtimes.allocator import keep_freed_memory
from hrkit.skeletons import coco17

ROUNDS = 31


def doubled(maps: np.ndarray) -> np.ndarray:
    """(...,H,W) -> (...,2H,2W)."""
    flat = torch.from_numpy(maps).flatten(0, -3)[None]
    large = F.interpolate(flat, scale_factor=2, mode="bilinear", align_corners=False)[0].numpy()
    return np.ascontiguousarray(large.reshape(*maps.shape[:-2], *large.shape[-2:]))


def main(people: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()  # as the command line does
    order = grouping_order(coco17)
    for seen in (1.0, 0.9, 0.7):
        for side in (256, 512, 640):
            maps = [doubled(one) for one in made_maps(people, (side // 2, side // 2), seen=seen)]
            started = time.perf_counter()
            found = len(plain_group(*maps, order))
            plain = f"plain {1e3 * (time.perf_counter() - started):.0f} ms"
            took = measured(maps, order)
            print(f"{seen:.0%} of the joints seen, {side}x{side}, {found} people: {took}, {plain}", flush=True)


def measured(maps: list[np.ndarray], order: list[int]) -> str:
    """The median, lowest and highest time, in words."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        group(*maps, order)
        seconds.append(time.perf_counter() - started)
    return f"{1e3 * statistics.median(seconds):.1f} ms ({1e3 * min(seconds):.1f} to {1e3 * max(seconds):.1f})"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
