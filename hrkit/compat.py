"""`SimpleHRNet`: the class of simple-HRNet with its arguments and results, on top of `Pipeline`.

Arguments and results have the same order as before, and joints are (y, x, confidence). The numbers differ, because the
work is hrkit's:

- Crops are the official ones: the box, grown to the aspect of the input with a margin of 1.25, filled with the picture
  around it. They are the same for one picture, for many, and in single-person mode. `interpolation` has no effect.
- Joints have the official quarter-cell shift, and are right for people who reach outside the frame.
- Boxes are those of the detector, clipped to the frame, not the enlarged ones of the crops.
- Detectors have hrkit's thresholds: 0.25 for objectness times class probability, 0.45 for suppression.
- Without people, shapes stay: joints (0,J,3), heatmaps (0,J,h,w), boxes (0,4). For several pictures each result is a
  list with one array per picture.
- Official `pose_resnet` weights get BGR input, as in their training.
- Weights are loaded strictly, and nothing in the file is executed. Errors are `HrkitError`s, which are `ValueError`s.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any  # results are arrays or lists of them

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from hrkit.detectors.base import Detector
from hrkit.errors import HrkitError, ImageError
from hrkit.pipeline import Pipeline, create_detector
from hrkit.pose_model import create_pose_model

StrPath = str | os.PathLike[str]

_BACKBONES = {
    **dict.fromkeys(("HRNet", "hrnet"), "hrnet_w{}"),
    **dict.fromkeys(("PoseResNet", "poseresnet", "ResNet", "resnet"), "pose_resnet_{}"),
}
"""`model_name` -> name of the backbone, with a place for `c`."""

_OLD_FOLDER = ("models_", "detectors", "yolo")
"""simple-HRNet's folder of detector files. hrkit has its own version of those that are missing there."""


class SimpleHRNet:
    """Finds people and their joints in pictures. It takes the arguments of simple-HRNet's class of the same name.

    `c` is the width of HRNet or the depth of PoseResNet; `resolution` is (height, width). `checkpoint_path` is an
    official file, a checkpoint of simple-HRNet's training (`{"model": ...}`), or any other value of hrkit's `weights`.
    With `multiperson=False` the whole picture is one person. `max_batch_size` limits people and frames.
    `yolo_model_def` selects YOLOv3-tiny if its name contains `yolov3-tiny`, else YOLOv3. Missing paths in
    simple-HRNet's own folder stand for hrkit's files (weights are downloaded once); with `yolo_weights_path=None` the
    detector stays untrained. `device` is a `torch.device` or a name; "cuda" means all GPUs.

    Raises `HrkitError` for an unknown `model_name` or `yolo_version`, for YOLOv5 and TensorRT, which hrkit lacks, for a
    file that is missing or does not fit, and for a missing device.
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
            detector = _create_yolo(yolo_version, yolo_model_def, yolo_class_path, yolo_weights_path, max_batch_size)
        pose_model = create_pose_model(
            _BACKBONES[model_name].format(c), weights=checkpoint_path, num_joints=nof_joints, input_size=resolution
        )
        self.pipeline: Pipeline = Pipeline(  # float32 and one pose per box as before, for the same results
            pose_model,
            detector,
            max_batch_size=max_batch_size,
            doubles=None,
            device=_device_names(device),
            precision="float32",
        )

    def predict(self, image: NDArray[np.uint8]) -> Any:
        """The people of a (H,W,3) BGR picture, or of each of (N,H,W,3).

        Returns the joints, or the list `[heatmaps,] [boxes,] joints` if more is asked for. For P people, J joints:

        - joints float32, (y, x, confidence) in px of the picture: (P,J,3). For N pictures a list of these, or with
          `multiperson=False` one array (N,1,J,3);
        - heatmaps float32: (P,J,h,w). A list of these, or with `multiperson=False` one array (N,J,h,w);
        - boxes x1, y1, x2, y2: (P,4) int32, or a list of these. With `multiperson=False` the whole picture, float32:
          (1,4) for one, (N,4) for N.

        Raises `ImageError` for any other value.
        """
        if not isinstance(image, np.ndarray) or image.ndim not in (3, 4) or image.shape[-1] != 3:
            got = f"one of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise ImageError(f"wrong image format: wanted an array (H,W,3) or (N,H,W,3) BGR, not {got}")
        frames = [image] if image.ndim == 3 else list(image)
        people = self.pipeline.predict_batch(frames, return_heatmaps=self.return_heatmaps)
        boxes: list[NDArray[Any]] = [poses.detections.xyxy for poses in people]
        if self.multiperson:
            boxes = [np.round(xyxy).astype(np.int32) for xyxy in boxes]
        parts: list[Any] = [
            *([[poses.heatmaps for poses in people]] if self.return_heatmaps else []),
            *([boxes] if self.return_bounding_boxes else []),
            [np.dstack([poses.keypoints[..., ::-1], poses.keypoint_scores]) for poses in people],
        ]
        if image.ndim == 3:
            parts = [part[0] for part in parts]
        elif not self.multiperson:  # one array per part
            joints, size = len(self.pipeline.skeleton), self.pipeline.pose_model.heatmap_size
            shapes = [(joints, *size)] * self.return_heatmaps + [(4,)] * self.return_bounding_boxes + [(1, joints, 3)]
            parts = [
                np.reshape(np.array(part, np.float32), (len(frames), *shape))
                for part, shape in zip(parts, shapes, strict=True)
            ]
        return parts if len(parts) > 1 else parts[0]


def _create_yolo(
    version: str, cfg: StrPath, class_names: StrPath, weights: StrPath | None, max_batch_size: int
) -> Detector:
    if version != "v3":
        raise HrkitError(
            f"unknown yolo_version {version!r}: hrkit has YOLOv3; take yolo_version='v3', or hrkit.Pipeline with any "
            "detector that `hrkit plugins` lists"
        )
    name = "yolov3_tiny" if "yolov3-tiny" in Path(cfg).name else "yolov3"
    options: dict[str, Any] = {"cfg": _file(cfg), "class_names": _file(class_names)}
    options = {option: file for option, file in options.items() if file is not None}
    if "cfg" in options:
        options["input_size"] = 416  # the old code's, whatever the cfg says
    filled = None if weights is None else _file(weights) or "auto"
    return create_detector(name, weights=filled, max_batch_size=max_batch_size, **options)


def _file(path: StrPath) -> Path | None:
    """The path; None for a missing file in simple-HRNet's own folder. Raises `HrkitError` for any other missing one."""
    file = Path(path)
    if file.is_file():
        return file
    if file.parts[: len(_OLD_FOLDER)] == _OLD_FOLDER:
        return None
    raise HrkitError(f"there is no file {file}; check the path, or leave it out to take hrkit's own")


def _device_names(device: torch.device | str) -> str:
    """The name of the device. "cuda" stands for all GPUs, as in simple-HRNet."""
    count = torch.cuda.device_count() if str(device) == "cuda" else 0
    return f"cuda:{','.join(map(str, range(count)))}" if count > 1 else str(device)
