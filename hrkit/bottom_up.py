"""Networks that find everybody in a picture at once, without boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hrkit.errors import HrkitError
from hrkit.heads.codecs import Codec
from hrkit.pose_model import PoseModel
from hrkit.structures import Crops, Poses


class BottomUpModel(PoseModel):
    """A `PoseModel` for whole pictures; a subclass of it is what a head may name as its `pose_model`.

    What `forward` gives, (N,C,h,w), is its own affair. `input_size` is that of pictures in training.
    """

    threshold = 0.0
    """A `Pipeline` leaves out people whose score is lower."""

    def find_poses(
        self, frames: Sequence[NDArray[np.uint8]], *, flip_test: bool = False, return_heatmaps: bool = False
    ) -> list[Poses]:
        """One `Poses` for each (H,W,3) uint8 BGR frame, in order; best people first.

        Frames may differ in size, and none is modified. The boxes are those around the joints; their scores, and
        `own_scores` of the poses, say how sure it is of each person. With `return_heatmaps` poses hold those of the
        crop of each person's box, as for `msra`.
        """
        raise NotImplementedError

    def crops(self, people: object, codec: object) -> Crops:
        """Raises `HrkitError`: it sees whole pictures."""
        raise HrkitError(f"{self.describe()} sees whole pictures, not people one by one")

    def heatmaps(self, images: object, *, flip_test: bool = False, shift: bool = True) -> torch.Tensor:
        """Raises `HrkitError`: what it gives are not heatmaps of one person."""
        raise HrkitError(f"{self.describe()} sees whole pictures, not people one by one")

    def create_codec(self, name: str | None = None) -> Codec:
        """How heatmaps that poses hold are read. Raises `HrkitError` for any other codec."""
        if name not in (None, self.codec_name):
            raise HrkitError(f"{self.describe()} makes people of its maps by itself; leave the decoder out")
        return super().create_codec()
