"""Draws the pictures of the documentation with hrkit itself: `python docs/make_pictures.py`. Needs hrkit-lite."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from hrkit import Pipeline, Poses, geometry
from hrkit.drawing import BoxAnnotator, HeatmapAnnotator, SkeletonAnnotator
from hrkit.drawing.colors import INK, PAPER
from hrkit.images import read_image

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(__file__).with_name("images")
PHOTO = ROOT / "hrkit" / "assets" / "oath.jpg"
PAIR = slice(826, None)
"""The columns of the photo that show two people."""

Frame = NDArray[np.uint8]


def make_pictures(folder: Path) -> list[Path]:
    """Writes all pictures to a folder as small JPEGs and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = read_image(PHOTO)
    pipeline = Pipeline.from_names("lite", "lite_person", device="cpu", precision="float32")
    everybody = pipeline.predict(frame)
    pair = np.ascontiguousarray(frame[:, PAIR])
    poses = pipeline.predict(pair, return_heatmaps=True)
    return [
        _save(folder / "poses.jpg", SkeletonAnnotator()(BoxAnnotator()(frame, everybody), everybody)),
        _save(folder / "stages.jpg", stages(pipeline, pair, poses)),
        _save(folder / "drawings.jpg", drawings(pair, poses, pipeline.pose_model.spec.margin)),
    ]


def stages(pipeline: Pipeline, frame: Frame, poses: Poses) -> Frame:
    """The steps of the pipeline side by side: boxes, crops, heatmaps, joints."""
    model = pipeline.pose_model
    boxes = geometry.xyxy_to_xywh(poses.detections.xyxy)
    to_crops = geometry.crop_transform(boxes, model.input_size, margin=model.spec.margin)
    crops = geometry.warp_crops(frame, to_crops, model.input_size)
    sheets = (crops, [_heatmaps(values, model.input_size) for values in _of(poses)])
    columns = [np.concatenate([_bordered(picture) for picture in pictures]) for pictures in sheets]
    height = columns[0].shape[0]
    whole = [BoxAnnotator(labels=False)(frame, poses), SkeletonAnnotator()(frame, poses)]
    first, last = (_to_height(picture, height) for picture in whole)
    gap = np.full((height, 24, 3), PAPER, np.uint8)
    return np.concatenate([first, gap, columns[0], gap, columns[1], gap, last], axis=1)


def drawings(frame: Frame, poses: Poses, margin: float) -> Frame:
    """The annotators side by side: by side of the body, by person, heatmaps."""
    pictures = (
        SkeletonAnnotator()(frame, poses),
        SkeletonAnnotator(color_by="person")(BoxAnnotator(color_by="person")(frame, poses), poses),
        HeatmapAnnotator(margin=margin)(frame, poses),
    )
    gap = np.full((frame.shape[0], 12, 3), PAPER, np.uint8)
    return np.concatenate([pictures[0], gap, pictures[1], gap, pictures[2]], axis=1)


def _of(poses: Poses) -> NDArray[np.float32]:
    """(N,h,w) the maximum over the heatmaps of each person."""
    assert poses.heatmaps is not None
    return np.asarray(poses.heatmaps.max(1))


def _heatmaps(values: NDArray[np.float32], size: tuple[int, int]) -> Frame:
    grey = np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)
    colored = cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.resize(colored, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def _bordered(picture: Frame) -> Frame:
    return np.asarray(cv2.copyMakeBorder(picture, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=INK), np.uint8)


def _to_height(picture: Frame, height: int) -> Frame:
    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _save(path: Path, picture: Frame, widest: int = 1000) -> Path:
    if picture.shape[1] > widest:
        picture = _to_height(picture, round(picture.shape[0] * widest / picture.shape[1]))
    PIL.Image.fromarray(picture[:, :, ::-1]).save(path, quality=78, optimize=True, progressive=True)
    return path


if __name__ == "__main__":
    for made in make_pictures(FOLDER):
        sys.stdout.write(f"{made.relative_to(ROOT)}: {made.stat().st_size / 1000:.0f} kB\n")
