"""`SimpleHRNet`: the class of simple-HRNet, with its arguments and its results, on top of `Pipeline`.

What a caller sees is the same: the same arguments in the same order, the same order of results, joints as (y, x,
confidence). What is inside is hrkit's, so the numbers differ, for the better:

- Crops are the official ones (the box grown to the input's aspect, a margin of 1.25, the picture's own content around
  it), the same for one picture and for many, and in single-person mode; `interpolation` has no effect.
- Joints are read with the official quarter-cell shift, and lie where they are also when a person reaches outside the
  frame.
- Boxes are the detector's, clipped to the frame, not the enlarged ones of the crops.
- Detectors have hrkit's thresholds: 0.25 on objectness times class probability, 0.45 for suppression.
- Where nobody is found, shapes stay: joints (0,J,3), heatmaps (0,J,h,w), boxes (0,4); of several pictures everything is
  a list with one array a picture.
- Official `pose_resnet` weights are given BGR, as they were trained.
- Weights are loaded strictly, and nothing in the file is executed; errors are `HrkitError`s, which are `ValueError`s.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from hrkit.detectors.base import Detector
from hrkit.errors import HrkitError, ImageError
from hrkit.pipeline import Pipeline, create_detector
from hrkit.pose_model import create_pose_model
from hrkit.structures import Poses

StrPath = str | os.PathLike[str]

_BACKBONES = {
    **dict.fromkeys(("HRNet", "hrnet"), "hrnet_w{}"),
    **dict.fromkeys(("PoseResNet", "poseresnet", "ResNet", "resnet"), "pose_resnet_{}"),
}
"""`model_name` -> the backbone's name, to be filled with `c`."""

_OLD_FOLDER = ("models_", "detectors", "yolo")
"""Where simple-HRNet kept the files of its detector; what is named there and is not, hrkit has itself."""


class SimpleHRNet:
    """People and their joints in pictures, called as simple-HRNet's class of that name.

    `c` is the width of HRNet or the depth of PoseResNet; `resolution` is (height, width). `checkpoint_path` is an
    official file, a checkpoint of simple-HRNet's training (`{"model": ...}`), or anything else that hrkit's `weights`
    takes. `multiperson=False` takes the whole picture for one person. `max_batch_size` holds for people and for
    frames. `yolo_model_def` picks YOLOv3, or YOLOv3-tiny where its name says `yolov3-tiny`; paths into simple-HRNet's
    own folder that are not there mean hrkit's files (weights are fetched once), and `yolo_weights_path=None` leaves
    the detector as initialised. `device` is a `torch.device` or a name; "cuda" is all GPUs.

    Raises `HrkitError` for an unknown `model_name` or `yolo_version`, for YOLOv5 and TensorRT, which hrkit does
    without, for a file that is missing or does not fit, and for a device that is not there.
    """

    def __init__(
        self,
        c: int,
        nof_joints: int,
        checkpoint_path: StrPath | None,
        model_name: str = "HRNet",
        resolution: tuple[int, int] = (384, 288),
        interpolation: int = cv2.INTER_CUBIC,
        multiperson: bool = True,
        return_heatmaps: bool = False,
        return_bounding_boxes: bool = False,
        max_batch_size: int = 32,
        yolo_version: str = "v3",
        yolo_model_def: StrPath = "./models_/detectors/yolo/config/yolov3.cfg",
        yolo_class_path: StrPath = "./models_/detectors/yolo/data/coco.names",
        yolo_weights_path: StrPath | None = "./models_/detectors/yolo/weights/yolov3.weights",
        device: torch.device | str = torch.device("cpu"),  # noqa: B008  (the old default; it is immutable)
        enable_tensorrt: bool = False,
    ) -> None:
        if enable_tensorrt:
            raise HrkitError(
                "enable_tensorrt: hrkit runs no TensorRT engines; leave it out, and for speed on a GPU take "
                "hrkit.Pipeline with precision='float16', or `hrkit export` for other runtimes"
            )
        if model_name not in _BACKBONES:
            raise HrkitError(f"unknown model_name {model_name!r}; choices: {', '.join(_BACKBONES)}")
        self.multiperson = multiperson
        self.return_heatmaps = return_heatmaps
        self.return_bounding_boxes = return_bounding_boxes
        detector = None
        if multiperson:
            _check_yolo_version(yolo_version)
            detector = _create_yolo(yolo_model_def, yolo_class_path, yolo_weights_path, max_batch_size)
        pose_model = create_pose_model(
            _BACKBONES[model_name].format(c), weights=checkpoint_path, num_joints=nof_joints, input_size=resolution
        )
        self.pipeline = Pipeline(  # in the precision of old, so that results are the same
            pose_model, detector, max_batch_size=max_batch_size, device=_device_names(device), precision="float32"
        )

    def predict(self, image: NDArray[np.uint8]) -> Any:
        """The people of a (H,W,3) BGR picture, or of each of (N,H,W,3).

        Gives the joints, or the list `[heatmaps,] [boxes,] joints` where more is asked for. For P people, J joints:

        - joints float32, (y, x, confidence) in px of the picture: (P,J,3); of N pictures a list of such, with
          `multiperson=False` one array (N,1,J,3);
        - heatmaps float32: (P,J,h,w); a list of such, with `multiperson=False` one array (N,J,h,w);
        - boxes x1, y1, x2, y2: (P,4) int32; a list of such. With `multiperson=False` the whole picture, float32: (1,4)
          for one, (N,4) for N.

        Raises `ImageError` for anything but such an array.
        """
        if not isinstance(image, np.ndarray) or image.ndim not in (3, 4) or image.shape[-1] != 3:
            got = f"one of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise ImageError(f"wrong image format: wanted an array (H,W,3) or (N,H,W,3) BGR, not {got}")
        frames = [image] if image.ndim == 3 else list(image)
        people = self.pipeline.predict_batch(frames, return_heatmaps=self.return_heatmaps)
        parts = [
            *([[_heatmaps(poses) for poses in people]] if self.return_heatmaps else []),
            *([[self._boxes(poses) for poses in people]] if self.return_bounding_boxes else []),
            [_joints(poses) for poses in people],
        ]
        results: list[Any] = parts
        if image.ndim == 3:
            results = [part[0] for part in parts]
        elif not self.multiperson:
            results = self._stacked(parts, frames)
        return results if len(results) > 1 else results[0]

    def _boxes(self, poses: Poses) -> NDArray[Any]:
        boxes = poses.detections.xyxy
        return np.round(boxes).astype(np.int32) if self.multiperson else boxes

    def _stacked(self, parts: list[list[NDArray[Any]]], frames: list[NDArray[np.uint8]]) -> list[NDArray[Any]]:
        """One array a part, for one person a frame: heatmaps and boxes without the axis of people, joints with it."""
        if not frames:
            joints, size = len(self.pipeline.skeleton), self.pipeline.pose_model.heatmap_size
            nothing = [(0, joints, *size)] * self.return_heatmaps + [(0, 4)] * self.return_bounding_boxes
            return [np.zeros(shape, np.float32) for shape in [*nothing, (0, 1, joints, 3)]]
        *others, joints_of = parts
        return [*(np.concatenate(part) for part in others), np.stack(joints_of)]


def _joints(poses: Poses) -> NDArray[np.float32]:
    """(P,J,3) y, x, confidence."""
    return np.concatenate([poses.keypoints[..., ::-1], poses.keypoint_scores[..., None]], axis=2)


def _heatmaps(poses: Poses) -> NDArray[np.float32]:
    assert poses.heatmaps is not None
    return poses.heatmaps


def _check_yolo_version(version: str) -> None:
    if version == "v5":
        raise HrkitError(
            "yolo_version 'v5': hrkit has no YOLOv5; take yolo_version='v3', or hrkit.Pipeline with any detector "
            "that `hrkit plugins` lists"
        )
    if version != "v3":
        raise HrkitError(f"unknown yolo_version {version!r}; take 'v3'")


def _create_yolo(cfg: StrPath, class_names: StrPath, weights: StrPath | None, max_batch_size: int) -> Detector:
    name = "yolov3_tiny" if "yolov3-tiny" in Path(cfg).name else "yolov3"
    options: dict[str, Any] = {"cfg": _file(cfg), "class_names": _file(class_names)}
    return create_detector(
        name,
        weights=None if weights is None else _file(weights) or "auto",
        max_batch_size=max_batch_size,
        **{option: value for option, value in options.items() if value is not None},
    )


def _file(path: StrPath) -> Path | None:
    """The path, or None where simple-HRNet had the file in its own folder and it is not there.

    Raises `HrkitError` for another file that is missing.
    """
    file = Path(path)
    if file.is_file():
        return file
    if file.parts[: len(_OLD_FOLDER)] == _OLD_FOLDER:
        return None
    raise HrkitError(f"there is no file {file}; check the path, or leave it out to take hrkit's own")


def _device_names(device: torch.device | str) -> str:
    """ "cuda" was every GPU; any other device is the one it says."""
    count = torch.cuda.device_count() if str(device) == "cuda" else 0
    return f"cuda:{','.join(map(str, range(count)))}" if count > 1 else str(device)
