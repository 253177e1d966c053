"""What a keypoint file was made from and with: the input, the networks, the settings, the versions."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

from hrkit import __version__
from hrkit.extraction.inputs import Inputs, is_picture
from hrkit.files import FilePath
from hrkit.pipeline import Pipeline
from hrkit.video.files import SourceInfo
from hrkit.weights.downloads import digest

FIRST = 2**20
"""Bytes at the beginning of an input that its digest covers."""


def keypoint_meta(
    info: SourceInfo, pipeline: Pipeline, settings: Mapping[str, Any], made_from: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What readers of a keypoint file need: facts about the source, the joints, the networks, and the `settings`.

    `made_from` identifies the input, as `file_record` and `files_record` do; None for a camera or stream.
    """
    skeleton, model = pipeline.skeleton, pipeline.pose_model
    networks = networks_record(pipeline, settings)
    return {
        "source": info.name,
        "input": made_from,
        **settings,
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
        "skeleton": skeleton.name,
        "keypoint_names": skeleton.keypoint_names,
        "edges": skeleton.edges,
        "pipeline": repr(pipeline),
        "detector": networks["detector"] and networks["detector"]["name"],
        "networks": networks,
        "ran_on": {"device": str(model.device), "precision": str(model.dtype).removeprefix("torch.")},
        "versions": versions(),
    }


def networks_record(pipeline: Pipeline, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The networks of a pipeline: names, thresholds, and the sha256 of the files with their weights.

    A sha256 is None for weights that are not from a file.
    """
    model, detector = pipeline.pose_model, pipeline.detector
    exported = str(settings.get("runtime") or "").partition(":")[2]  # as in onnx:FILE
    pose: dict[str, Any] = {"name": model.name, "sha256": _sha256(exported or model.weights_file)}
    pose |= {"codec": settings.get("decoder") or model.spec.codec, "input_size": model.input_size}
    if pipeline.bottom_up:
        pose["threshold"] = model.threshold
    if detector is None:
        return {"pose": pose, "detector": None}
    return {
        "pose": pose,
        "detector": {
            "name": getattr(detector, "registered_name", type(detector).__name__),
            "sha256": _sha256(getattr(detector, "weights_file", None)),
            **{name: getattr(detector, name, None) for name in ("threshold", "nms_threshold")},
        },
    }


def file_record(path: FilePath) -> dict[str, Any] | None:
    """Size, time and digest of the beginning of a file, to tell it from another of the same name; None without one."""
    if not os.path.isfile(path):
        return None
    found = os.stat(path)
    with open(path, "rb") as file:
        beginning = hashlib.sha256(file.read(FIRST)).hexdigest()
    return {"size": found.st_size, "modified": found.st_mtime_ns, "sha256_of_first_mib": beginning}


def files_record(inputs: Inputs) -> dict[str, Any]:
    """The same for many files: their number, and a digest of names, sizes and times."""
    listed = hashlib.sha256()
    for name, path in zip(inputs.names, inputs.paths, strict=True):
        try:
            found = os.stat(path)
            listed.update(os.fsencode(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0"))
        except (OSError, ValueError):  # it fails when it is read
            listed.update(os.fsencode(f"{name}\0?\0"))
    return {"files": len(inputs.names), "sha256_of_names_sizes_and_times": listed.hexdigest()}


def mark(path: FilePath) -> str:
    """A short digest by which a file is known again. It covers size and time and, of a video, the beginning too."""
    if is_picture(os.fspath(path)):  # of which there may be millions
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return ""
        record: Any = (found.st_size, found.st_mtime_ns)
    else:
        record = file_record(path)
    return hashlib.sha256(repr(record).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """The versions of what computes the rows."""
    packages = {"torch": torch, "numpy": np, "opencv": cv2, "av": av}
    found = {name: str(package.__version__) for name, package in packages.items()}
    return {"hrkit": __version__, "python": platform.python_version(), **found}


def _sha256(path: FilePath | None) -> str | None:
    return digest(Path(path), "sha256") if path and os.path.isfile(path) else None
