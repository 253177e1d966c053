"""The oracle: ground truth as ideal maps, grouped and evaluated. It limits what any network can reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import cv2
import numpy as np
import pytest
import torch
from hrkit_higherhrnet.model import HigherModel
from hrkit_higherhrnet.pictures import input_size, to_input
from hrkit_higherhrnet.targets import joint_maps

from hrkit import create_pose_model, geometry
from hrkit.datasets.coco import coco
from hrkit.evaluation.coco import evaluate

SHORT_SIDE = 512
PICTURES = 50
TAG_STEP = 3.0


class Oracle(HigherModel):
    """Returns the ideal maps of each picture: heatmaps as in training, and the person's number as tag at each joint."""

    people = None
    picture = -1

    def _warp_frames(self, frames: Sequence[np.ndarray], size: tuple[int, int]) -> torch.Tensor:
        self.picture += len(frames)
        self.transform = to_input(frames[0].shape[:2], size)
        return torch.zeros(len(frames), *size, 3, dtype=torch.uint8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        own = self.people.image_index == self.picture
        points, visible = geometry.apply_affine(self.transform, self.people.keypoints[own]), self.people.visible[own]
        height, width = images.shape[2:]
        low = joint_maps(points / 4, visible, (height // 4, width // 4), 2.0)
        high = joint_maps(points / 2, visible, (height // 2, width // 2), 2.0)
        tags = np.zeros_like(low)
        highest = np.zeros_like(low)
        for person in range(len(points)):
            alone = joint_maps(points[person : person + 1] / 4, visible[person : person + 1], low.shape[1:], 2.0)
            tags = np.where(alone > highest, TAG_STEP * (person + 1), tags)
            highest = np.maximum(highest, alone)
        folded = torch.nn.functional.pixel_unshuffle(torch.from_numpy(high), 2)
        return torch.cat([torch.from_numpy(low), torch.from_numpy(tags).float(), folded])[None]


@pytest.mark.slow
@pytest.mark.needs_shared
def test_the_ceiling(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = coco(shared / "data" / "coco_val")
    people = everybody.select(np.flatnonzero(everybody.image_index < PICTURES))
    people = attrs.evolve(people, image_paths=people.image_paths[:PICTURES], image_ids=people.image_ids[:PICTURES])
    model = create_pose_model("higher_hrnet_w2", input_size=(SHORT_SIDE, SHORT_SIDE))
    model.__class__ = Oracle
    model.people = people
    # only the sizes of pictures matter here
    monkeypatch.setattr("hrkit.evaluation.detected_boxes.read_frame", lambda path: cv2.imread(path, cv2.IMREAD_COLOR))
    figures = evaluate(model, people, flip_test=False, batch_size=1, progress=False).metrics
    print(figures)
    assert figures["AP"] >= 0.95


def test_input_sizes_are_the_official_ones() -> None:
    assert input_size((480, 640), 512) == (512, 704)
    assert input_size((640, 480), 512) == (704, 512)
    assert input_size((480, 480), 500) == (512, 512)
    assert input_size((480, 640), 512, 2.0, 0.5) == (1024, 1536)  # twice 512x768, four times 256x384
    assert input_size((480, 640), 512, 0.5, 0.5) == (256, 384)
