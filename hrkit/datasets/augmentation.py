"""From a row of a dataset to a training sample: crop, joints in crop px, and the augmentation of both.

Scale, rotation, half body and flip are those of the official HRNet code (lib/dataset/JointsDataset.py). All random
numbers of a sample come from (seed, epoch, place in the epoch), so a sample is the same in any worker, on any machine
and after a resume.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray

from hrkit import geometry
from hrkit.datasets.base import KeypointDataset
from hrkit.pose_spec import MARGIN
from hrkit.settings import Range, setting
from hrkit.structures import Frame, Size, Skeleton

SHARE = Range(0, 1)
HALF_BODY_MARGIN = 1.5
_LOWER_BODY = ("hip", "knee", "ankle", "pelvis")


@frozen(kw_only=True)
class Augmentation:
    """How samples are varied. The defaults are the official ones of HRNet on COCO; 0 turns a variation off."""

    scale: float = setting(
        0.35, "deviation of the factor on the box, which is cut off at one deviation", Range(0, 1, below=True)
    )
    box_jitter: float = setting(
        0.0,
        "deviation of the normal move of each edge of the box, as a part of its side, cut off at two deviations",
        SHARE,
    )
    rotation: float = setting(
        45.0, "deviation of the rotation in degrees, which is cut off at two deviations", Range(0, 180)
    )
    rotation_probability: float = setting(0.6, "share of samples that are rotated", SHARE)
    flip: float = setting(0.5, "share of samples that are mirrored", SHARE)
    half_body: float = setting(0.3, "share of samples that show only the upper or lower body", SHARE)
    half_body_joints: int = setting(8, "half body needs more labelled joints than this", Range(0))
    brightness: float = setting(0.0, "largest change of brightness, as a share of the full range", SHARE)
    contrast: float = setting(0.0, "largest relative change of contrast", SHARE)
    saturation: float = setting(0.0, "largest relative change of saturation", SHARE)
    dropout: float = setting(0.0, "share of samples with a covered rectangle, up to a third of each side", SHARE)


@frozen(eq=False)
class Sample:
    """One person as the network sees it."""

    crop: Frame
    """(H,W,3) BGR."""
    keypoints: NDArray[np.float32]
    """(K,2) crop px."""
    visible: NDArray[np.float32]
    """(K,) 1 if the joint is labelled, else 0."""
    to_crop: NDArray[np.float64]
    """(2,3) frame px -> crop px, mirroring included."""
    row: int
    """The row in the dataset."""


@frozen(eq=False)
class PersonCrops:
    """The people of a dataset as samples. Without `augmentation` crops are not varied; `margin` is that of the network.

    `crops[epoch, place, row]` is the person of a row, varied by the epoch and the place in its order.
    """

    dataset: KeypointDataset
    input_size: Size
    udp: bool = False
    augmentation: Augmentation | None = None
    seed: int = 0
    margin: float = MARGIN
    unit = "people"

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int, int]) -> Sample:
        epoch, place, row = key
        frame = self.dataset.read_frame(row)
        keypoints, visible = self.dataset.keypoints[row], self.dataset.visible[row]
        box = geometry.xyxy_to_xywh(self.dataset.boxes[row])
        if self.augmentation is None:
            to_crop = geometry.crop_transform(box, self.input_size, margin=self.margin, udp=self.udp)
            crop = geometry.warp_crops(frame, to_crop[None], self.input_size)[0]
        else:
            random = np.random.default_rng([self.seed, epoch, place])
            to_crop, keypoints, visible = self._vary(self.augmentation, box, row, frame.shape[1], random)
            crop = geometry.warp_crops(frame, to_crop[None], self.input_size)[0]
            crop = vary_colors(crop, self.augmentation, random)
        mapped = geometry.apply_affine(to_crop, keypoints).astype(np.float32)
        return Sample(crop, mapped, np.array(visible, np.float32), to_crop, row)

    def collate(self, samples: list[Sample]) -> dict[str, torch.Tensor]:
        """`crops` (N,H,W,3) uint8 BGR, `keypoints` (N,K,2) crop px, `visible` (N,K), `to_crop` (N,2,3), `rows` (N,)."""
        names = {"crops": "crop", "keypoints": "keypoints", "visible": "visible", "to_crop": "to_crop"}
        batch = {name: torch.from_numpy(np.stack([getattr(s, of) for s in samples])) for name, of in names.items()}
        return {**batch, "rows": torch.tensor([sample.row for sample in samples])}

    def describe(self, rows: list[int]) -> str:
        """The ids of the rows' annotations."""
        return f"annotations of the batch: {self.dataset.ids[rows].tolist()}"

    def _vary(
        self, given: Augmentation, box: NDArray[np.float64], row: int, frame_width: int, random: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
        """Transform (2,3) frame px -> crop px, keypoints (K,2) frame px and labels (K,) of a varied sample."""
        keypoints, visible, margin = self.dataset.keypoints[row], self.dataset.visible[row], self.margin
        if visible.sum() > given.half_body_joints and random.random() < given.half_body:
            half = half_body_box(keypoints, visible > 0, self.dataset.skeleton, random)
            if half is not None:
                box, margin = half, HALF_BODY_MARGIN
        if given.box_jitter:  # 0 draws nothing, so other settings keep their draws
            box = jitter_box(box, given.box_jitter, random)
        factor = np.clip(1 + given.scale * random.standard_normal(), 1 - given.scale, 1 + given.scale)
        angle = np.clip(given.rotation * random.standard_normal(), -2 * given.rotation, 2 * given.rotation)
        rotation = float(angle) if random.random() <= given.rotation_probability else 0.0
        mirror = None
        if random.random() < given.flip:
            # the frame is mirrored first; the box moves with it, the rotation stays as drawn
            mirror = np.array([[-1.0, 0, frame_width - 1], [0, 1, 0], [0, 0, 1]])
            box = box * [-1, 1, 1, 1] + [frame_width - 1 - box[2], 0, 0, 0]
            swap = self.dataset.skeleton.flip_indices
            keypoints, visible = keypoints[swap], visible[swap]
        to_crop = geometry.crop_transform(box, self.input_size, rotation, margin * factor, self.udp)
        return to_crop if mirror is None else to_crop @ mirror, keypoints, visible


def half_body_box(
    keypoints: NDArray[np.float32], visible: NDArray[np.bool_], skeleton: Skeleton, random: np.random.Generator
) -> NDArray[np.float64] | None:
    """A box (4,) xywh in frame px, centred on the mean of the labelled joints of the upper or lower body.

    None if fewer than two of them are labelled.
    """
    lower = np.array([any(part in name for part in _LOWER_BODY) for name in skeleton.keypoint_names])
    above, below = visible & ~lower, visible & lower
    # as the official code: a normal number below 0.5 chooses the upper body, if it has more than two joints
    chosen = above if random.standard_normal() < 0.5 and above.sum() > 2 else below if below.sum() > 2 else above
    if chosen.sum() < 2:
        return None
    points = keypoints[chosen].astype(np.float64)
    center, size = points.mean(0), points.max(0) - points.min(0)
    if size.max() == 0:
        return None
    size = np.maximum(size, 1e-3 * size.max())  # joints may lie exactly below or beside each other
    return np.concatenate([center - size / 2, size])


def jitter_box(box: NDArray[np.float64], deviation: float, random: np.random.Generator) -> NDArray[np.float64]:
    """(4,) xywh with each edge moved on its own, as boxes of a detector differ from annotated ones.

    Each move is normal with `deviation` times the side, cut off at two deviations. No side shrinks below a tenth.
    """
    moves = deviation * np.clip(random.standard_normal(4), -2, 2) * np.tile(box[2:], 2)
    corner, size = box[:2] + moves[:2], np.maximum(box[2:] - moves[:2] + moves[2:], 0.1 * box[2:])
    return np.concatenate([corner, size])


def vary_colors(crop: Frame, augmentation: Augmentation, random: np.random.Generator) -> Frame:
    """Varies brightness, contrast and saturation and covers a rectangle of a (H,W,3) BGR crop, perhaps in place."""
    given = augmentation
    if given.brightness or given.contrast:
        gain = 1 + given.contrast * random.uniform(-1, 1)
        offset = 255 * given.brightness * random.uniform(-1, 1) + 128 * (1 - gain)
        table = np.clip(np.arange(256) * gain + offset, 0, 255).astype(np.uint8)
        crop = cv2.LUT(crop, table).astype(np.uint8, copy=False)
    if given.saturation:
        grey = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        keep = 1 + given.saturation * random.uniform(-1, 1)
        crop = cv2.addWeighted(crop, keep, grey, 1 - keep, 0).astype(np.uint8, copy=False)
    if given.dropout and random.random() < given.dropout:
        height, width = crop.shape[:2]
        h, w = random.integers(1, height // 3 + 1), random.integers(1, width // 3 + 1)
        y, x = random.integers(0, height - h + 1), random.integers(0, width - w + 1)
        crop[y : y + h, x : x + w] = random.integers(0, 256, 3)
    return crop
