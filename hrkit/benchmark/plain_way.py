"""The plain way to find people's poses, to compare with: what many programs do, simple-HRNet among them.

Eager float32 networks with their batch norms, in NCHW; one frame at a time, its people in one batch; crops cut and
resized by PIL one by one; the peak of each heatmap looked for in loops. Only the NMS of its detector is hrkit's.
"""

from __future__ import annotations

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from hrkit.detectors.base import Detector
from hrkit.pose_model import PoseModel
from hrkit.structures import Detections


class PlainWay:
    """A detector and a pose network, both as they were built."""

    def __init__(self, pose_model: PoseModel, detector: Detector | None = None) -> None:
        self.pose_model, self.detector = pose_model, detector
        self._normalise = v2.Normalize(pose_model.mean, pose_model.std)

    @torch.inference_mode()
    def __call__(self, frame: NDArray[np.uint8], people: Detections) -> NDArray[np.float64]:
        """(N,K,3) x, y, frame px, and score, of the people of a (H,W,3) BGR frame; the detector runs, for its time."""
        if self.detector is not None:
            self.detector.detect([frame])
        keypoints = np.zeros((len(people), len(self.pose_model.skeleton), 3))
        if len(people):
            heatmaps = self.pose_model(self.crops(frame, people)).numpy()
            for row, (maps, box) in enumerate(zip(heatmaps, people.xyxy, strict=True)):
                for joint, heatmap in enumerate(maps):
                    y, x = np.unravel_index(np.argmax(heatmap), heatmap.shape)
                    at_x = box[0] + x / heatmap.shape[1] * (box[2] - box[0])
                    at_y = box[1] + y / heatmap.shape[0] * (box[3] - box[1])
                    keypoints[row, joint] = at_x, at_y, heatmap[y, x]
        return keypoints

    def crops(self, frame: NDArray[np.uint8], people: Detections) -> Tensor:
        """(N,3,H,W) normalised."""
        height, width = self.pose_model.input_size
        colors = frame if self.pose_model.spec.channel_order == "bgr" else frame[:, :, ::-1]
        picture = PIL.Image.fromarray(np.ascontiguousarray(colors))
        crops = []
        for box in people.xyxy.tolist():
            crop = picture.crop(tuple(box)).resize((width, height), PIL.Image.Resampling.BICUBIC)
            crops.append(self._normalise(v2.functional.pil_to_tensor(crop).float() / 255))
        return torch.stack(crops)
