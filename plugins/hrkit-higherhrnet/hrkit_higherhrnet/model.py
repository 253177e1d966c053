"""The pose model: it finds the people in whole pictures.

As in the official HigherHRNet code (tools/valid.py, lib/core/inference.py), the maps of one or more scales, and of the
mirrored picture for the flip test, are resized to the input, averaged and grouped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from hrkit import geometry, warping
from hrkit.errors import HrkitError
from hrkit.pose_model import BottomUpModel
from hrkit.profiling import section
from hrkit.runtimes.prepare import OWN
from hrkit.structures import Detections, Frame, Poses, Skeleton
from hrkit_higherhrnet.grouping import Grouping, People, group
from hrkit_higherhrnet.outputs import merged, resized, unpacked
from hrkit_higherhrnet.pictures import input_size, to_input

if TYPE_CHECKING:
    from hrkit.datasets.base import KeypointDataset
    from hrkit.datasets.loading import Samples
    from hrkit.pose_model import PoseModel
    from hrkit.training.config import Augmentation, TrainConfig
    from hrkit.training.objective import Objective

__all__ = ["HigherModel", "grouping_order", "unpacked"]

NETWORK_MULTIPLE = 32
"""Sides of the input must be multiples of this, so that features of all strides fit together."""

_PARTS = ("nose", "eye", "ear", "shoulder", "hip", "elbow", "wrist", "knee", "ankle")
"""Parts of joint names, in the order of grouping. Joints near the trunk are seen best and come first."""


class HigherModel(BottomUpModel):
    """Normalised pictures (N,3,H,W) -> (N,6K,H/4,W/4), which `unpacked` splits.

    `grouping` holds the settings of the grouping. `scales` are the scales of the pictures in `find_poses`: (1.0,) by
    default, (0.5, 1.0, 2.0) in the official multi-scale test, which takes several times as long.
    """

    grouping = Grouping()
    scales: tuple[float, ...] = (1.0,)
    one_size = False
    """Whether every picture is fitted into `input_size`, with black around it, as some runtimes take one size only."""

    def prepared(
        self, device: torch.device | str = "cpu", precision: str = "auto", runtime: str = "auto"
    ) -> HigherModel:
        """As `PoseModel.prepared`. Runtimes of the registry take pictures of one size."""
        fast = super().prepared(device, precision, runtime)
        assert isinstance(fast, HigherModel)
        fast.one_size = runtime not in OWN
        return fast

    @torch.inference_mode()
    def find_poses(
        self, frames: Sequence[Frame], *, flip_test: bool = False, return_heatmaps: bool = False
    ) -> list[Poses]:
        """Returns one `Poses` per (H,W,3) BGR frame, best people first. Frames of equal size share a batch."""
        alike: dict[tuple[int, int], list[int]] = defaultdict(list)
        for place, frame in enumerate(frames):
            alike[frame.shape[:2]].append(place)
        found: dict[int, Poses] = {}
        for frame_size, places in alike.items():
            heatmaps, tags = self.maps([frames[place] for place in places], flip_test=flip_test)
            size = heatmaps.shape[2:]
            to_frame = geometry.invert_affine(to_input(frame_size, (size[0], size[1])))
            for place, own_heatmaps, own_tags in zip(places, heatmaps, tags.unbind(1), strict=True):
                with section("grouping"):
                    maps = own_heatmaps.cpu().numpy()
                    people = group(maps, own_tags.cpu().numpy(), grouping_order(self.skeleton), self.grouping)
                    seen = people.keypoint_scores > self.grouping.detection_threshold
                    found[place] = _poses(people, seen, to_frame, frame_size, self.skeleton)
                if return_heatmaps:
                    crops = _crops(maps, to_frame, found[place].detections)
                    found[place] = found[place].replace(heatmaps=crops)
        return [found[place] for place in range(len(frames))]

    def maps(self, frames: Sequence[Frame], *, flip_test: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames of one size -> float32 heatmaps (N,K,H,W) and tags (T,N,K,H,W), of the input's size at scale 1.

        Heatmaps are means over scales and passes. Tags are those of each pass at the scale nearest to 1. Raises
        `HrkitError` for scales that the network cannot process.
        """
        if not self.scales:
            raise HrkitError("scales must hold at least one scale, as in (1.0,)")
        frame_size = frames[0].shape[0], frames[0].shape[1]
        base = self._size(frame_size, 1.0)
        heatmaps: list[torch.Tensor] = []
        tags: list[torch.Tensor] = []
        for scale in sorted(self.scales, reverse=True):
            size = self._size(frame_size, scale)
            with section("pictures"):
                images = self.normalise(self._warp_frames(frames, size))
            with section("pose network"):
                here, own_tags = self.passes(images, flip_test=flip_test)
            heatmaps.append(resized(here, base))
            if scale == min(self.scales, key=lambda one: abs(one - 1)):
                tags = [resized(one, base) for one in own_tags]
        return torch.stack(heatmaps).mean(0), torch.stack(tags)

    def passes(self, images: torch.Tensor, *, flip_test: bool = False) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(N,3,H,W) -> heatmaps (N,K,H/2,W/2), the mean over resolutions and passes, and the tags of each pass."""
        heatmaps, tags = merged(self(images).float())
        if not flip_test:
            return heatmaps, [tags]
        mirror = self.skeleton.flip_indices.tolist()
        flipped, flipped_tags = (maps.flip(3)[:, mirror] for maps in merged(self(images.flip(3)).float()))
        return (heatmaps + flipped) / 2, [tags, flipped_tags]

    def samples(
        self, people: KeypointDataset, augmentation: Augmentation | None = None, seed: int = 0
    ) -> Samples:
        """Training samples: whole pictures with people."""
        from hrkit_higherhrnet.samples import PictureSamples

        return PictureSamples(people, self.input_size, augmentation, seed)

    def objective(self, config: TrainConfig, teacher: PoseModel | None = None) -> Objective:
        """Training objective: heatmaps at both resolutions, and tags."""
        from hrkit_higherhrnet.objective import TagObjective

        return TagObjective(config, self, teacher)

    def _size(self, frame_size: tuple[int, int], scale: float) -> tuple[int, int]:
        """The (height, width) of the input at a scale."""
        if self.one_size:
            return self.input_size
        size = input_size(frame_size, min(self.input_size), scale, min(self.scales))
        if any(side % NETWORK_MULTIPLE for side in size):
            shown = "x".join(map(str, size))
            raise HrkitError(f"scales {self.scales} give an input of {shown}, not multiples of {NETWORK_MULTIPLE}")
        return size

    def _warp_frames(self, frames: Sequence[Frame], size: tuple[int, int]) -> torch.Tensor:
        """(N,H,W,3) uint8 inputs of frames of one size."""
        transforms = to_input(frames[0].shape[:2], size)[None]
        return torch.cat([warping.warp_crops(frame, transforms, size, self.device) for frame in frames])


def grouping_order(skeleton: Skeleton) -> list[int]:
    """Joints in the order of `_PARTS`, other joints last. For COCO this is the official order."""
    ranks = [
        next((rank for rank, part in enumerate(_PARTS) if part in name), len(_PARTS))
        for name in skeleton.keypoint_names
    ]
    return sorted(range(len(skeleton)), key=lambda joint: ranks[joint])


def _poses(
    people: People,
    seen: NDArray[np.bool_],
    to_frame: NDArray[np.float64],
    frame_size: tuple[int, int],
    skeleton: Skeleton,
) -> Poses:
    """People in input px -> poses in frame px, best first. Boxes enclose the joints that were `seen` (P,K)."""
    best = np.argsort(-people.scores, kind="stable")
    keypoints = geometry.apply_affine(to_frame, people.keypoints[best]).astype(np.float32)
    scores = people.scores[best]
    found = Detections(_boxes(keypoints, seen[best], frame_size), scores, np.zeros(len(best)))
    return Poses(keypoints, people.keypoint_scores[best], found, skeleton, own_scores=scores)


def _boxes(keypoints: NDArray[np.float32], seen: NDArray[np.bool_], frame_size: tuple[int, int]) -> NDArray[np.float32]:
    """Boxes (P,4) around the seen joints, inside the frame and at least a pixel wide and high."""
    height, width = frame_size
    limits = np.array([width, height], np.float32)
    low = np.where(seen[..., None], keypoints, np.inf).min(1, initial=np.inf)
    high = np.where(seen[..., None], keypoints, -np.inf).max(1, initial=-np.inf)
    low, high = np.clip(low, 0, limits - 1), np.clip(high, 0, limits)
    return np.concatenate([low, np.maximum(high, low + 1)], axis=1)


def _crops(maps: NDArray[np.float32], to_frame: NDArray[np.float64], people: Detections) -> NDArray[np.float32]:
    """Crops (P,K,64,48) of maps (K,H,W) at each person's box, like the heatmaps of a top-down network."""
    size = (256, 192)
    to_crop = geometry.crop_transform(geometry.xyxy_to_xywh(people.xyxy), size)
    crops = np.empty((len(people), len(maps), size[0] // 4, size[1] // 4), np.float32)
    for crop, transform in zip(crops, to_crop, strict=True):
        linear = transform[:, :2] @ to_frame[:, :2]
        offset = transform[:, :2] @ to_frame[:, 2] + transform[:, 2]
        from_maps = np.column_stack([linear, offset]) / 4
        for joint, own in enumerate(maps):
            cv2.warpAffine(own, from_maps, (crop.shape[2], crop.shape[1]), dst=crop[joint], flags=cv2.INTER_LINEAR)
    return crops
