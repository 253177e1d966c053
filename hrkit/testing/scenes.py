"""Frames to look at: a photo with two people, a painted person, noise, nobody, and awkward sizes."""

from __future__ import annotations

import numpy as np

from hrkit.images import read_image
from hrkit.runtimes.calibration import ASSETS, PEOPLE
from hrkit.structures import Frame
from hrkit.synthetic import paint_people

PHOTO = ASSETS / "basketball.jpg"
"""640x480, two people playing ball; see NOTICE for its source."""

PHOTO_PEOPLE = np.array(PEOPLE[PHOTO.name], np.float32)
"""(2,4) xyxy, frame px of `photo()`, measured by eye."""


def photo() -> Frame:
    """(480,640,3) BGR: a photo with the people of `PHOTO_PEOPLE`."""
    return read_image(PHOTO)


def player() -> Frame:
    """(480,320,3) BGR: the left half of the photo, with one person."""
    return np.ascontiguousarray(photo()[:, :320])


def painted() -> Frame:
    """(240,320,3) BGR: one painted person on black, wider and higher than their distance from the upper left corner."""
    joints = np.array([[k % 3 / 2, k // 3 / 5] for k in range(17)])
    return paint_people((240, 320), [joints * [110, 130] + [30, 40]], radius=4)


def noise(height: int, width: int, seed: int = 0) -> Frame:
    """(height,width,3): random values."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def nobody() -> dict[str, Frame]:
    """Empty frames, by name."""
    greys = {"black": 0, "grey": 128}
    return {f"a frame all {name}": np.full((96, 128, 3), grey, np.uint8) for name, grey in greys.items()}


def awkward() -> dict[str, Frame]:
    """Frames of awkward sizes, by name: odd sides, one pixel, long and thin."""
    sizes = ((61, 97), (1, 1), (1, 7), (200, 3))
    return {f"a frame of {height}x{width}": noise(height, width, seed) for seed, (height, width) in enumerate(sizes)}
