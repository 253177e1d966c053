"""Crops of people to fit int8 networks to: those of hrkit's own photos, varied a little."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from hrkit import geometry
from hrkit.images import read_image
from hrkit.structures import Frame, Size

ASSETS = Path(__file__).parents[1] / "assets"

PEOPLE = {
    "basketball.jpg": ((37, 80, 160, 480), (435, 22, 640, 480)),
    "oath.jpg": (
        *((117, 81, 179, 153), (494, 66, 732, 550), (225, 28, 512, 554), (1, 25, 261, 550), (1060, 32, 1279, 552)),
        *((840, 66, 1090, 556), (686, 82, 887, 553), (824, 95, 910, 559), (1048, 68, 1148, 343)),
    ),
}
"""The people in each photo, measured by eye: x1, y1, x2, y2 in px."""

WHOLE_PICTURE = 2.0
"""The margin of crops for networks that see whole pictures."""

FITTED, HELD_OUT = 100, 32
"""Number of crops that a network is fitted to, and of others that it is checked with."""


def varied_crops(size: Size, margin: float) -> Iterator[Frame]:
    """`FITTED` + `HELD_OUT` crops (H,W,3) BGR of people, each `margin` times as large as a box; the same every time.

    They are moved, turned, scaled, mirrored, and varied in brightness and contrast.
    """
    people = [(read_image(ASSETS / name), box) for name, boxes in PEOPLE.items() for box in boxes]
    for number in range(FITTED + HELD_OUT):
        random = np.random.default_rng(number)
        frame, (left, top, right, bottom) = people[number % len(people)]
        width, height = right - left, bottom - top
        x, y = (left, top) + np.clip(random.normal(0, 0.05, 2), -0.1, 0.1) * (width, height)
        scale, turn = float(np.exp(random.normal(0, 0.15))), float(random.normal(0, 10))
        box = np.array([x, y, width, height])
        crop = geometry.warp_crops(frame, geometry.crop_transform(box, size, turn, margin * scale)[None], size)[0]
        if random.random() < 0.5:
            crop = crop[:, ::-1]
        gain, shift = 1 + random.uniform(-0.15, 0.15), random.uniform(-20, 20)
        yield np.ascontiguousarray(cv2.convertScaleAbs(crop, alpha=gain, beta=max(0.0, 128 * (1 - gain) + shift)))
