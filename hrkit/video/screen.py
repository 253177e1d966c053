"""The screen of this machine as a source of frames, by the library mss."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from hrkit.errors import VideoError, installed, one_line
from hrkit.structures import Frame

RATE = 30.0
"""Frames per second at most."""


class Screen:
    """A connection to a screen: number 1 is the first one, 0 all of them as one picture.

    Raises `VideoError` if there is no such screen, or without mss.
    """

    fps: float | None = None

    def __init__(self, number: int = 1) -> None:
        self._number = number
        self._grabber: Any = None  # mss has one class per system
        self._due = time.monotonic()
        self._grab()
        self.close()  # a grabber works in one thread, and frames are read in another

    def read(self) -> Frame:
        """The screen as it is now, (H,W,3) BGR, at most `RATE` times per second."""
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = time.monotonic() + 1 / RATE
        return self._grab()

    def _grab(self) -> Frame:
        mss = installed("mss", "the screen", "hrkit-pose[screen]", VideoError)
        try:
            self._grabber = self._grabber or mss.mss()
            there = self._grabber.monitors
            if self._number >= len(there):
                raise VideoError(f"there is no screen {self._number}; there are {len(there) - 1}")
            pixels = np.asarray(self._grabber.grab(there[self._number]), np.uint8)
        except mss.exception.ScreenShotError as error:
            raise VideoError(f"the screen cannot be read ({one_line(error)})") from None
        return np.ascontiguousarray(pixels[:, :, :3])  # of BGRA

    def close(self) -> None:
        """Frees the screen."""
        if self._grabber is not None:
            self._grabber.close()
        self._grabber = None
