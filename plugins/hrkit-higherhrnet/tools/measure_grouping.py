"""Measures the time of grouping on one core, and that of the plain version in `tests/plain_grouping.py`.

    python tools/measure_grouping.py [PEOPLE]

The maps are synthetic, with noise. As in use, they have half the size of the network's input and are resized to it.
Like the official code, the plain version goes through people, joints and cells one by one.
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
            started = time.process_time()
            found = len(plain_group(*maps, order))
            plain = f"plain {1e3 * (time.process_time() - started):.0f} ms"
            took = measured(maps, order)
            print(f"{seen:.0%} of the joints seen, {side}x{side}, {found} people: {took}, {plain}", flush=True)


def measured(maps: list[np.ndarray], order: list[int]) -> str:
    """The median, lowest and highest time, as text."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        group(*maps, order)
        seconds.append(time.process_time() - started)
    return f"{1e3 * statistics.median(seconds):.1f} ms ({1e3 * min(seconds):.1f} to {1e3 * max(seconds):.1f})"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
