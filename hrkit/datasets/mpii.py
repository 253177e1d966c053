"""MPII Human Pose: the json of the official HRNet code (`annot/train.json`, `annot/valid.json`).

Andriluka et al., 2D Human Pose Estimation: New Benchmark and State of the Art Analysis, CVPR 2014.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.layouts import check_found, find_pictures
from hrkit.datasets.records import MpiiPerson, read_records
from hrkit.errors import DatasetError
from hrkit.files import FilePath, read_json
from hrkit.skeletons import mpii16


def mpii(
    path: FilePath = "data/mpii", *, split: str = "train", images: FilePath | None = None, skip_bad: bool = False
) -> KeypointDataset:
    """MPII people. Each box is such that its crop with margin 1.25 is the official one (lib/dataset/mpii.py).

    `path` is a json, or a folder with `annot/<split>.json` and `images/`. Joints and centres, which count from 1 in
    the file, count from 0 here. `ids` are the rows of the json. Raises `DatasetError`, with file, row, field and count,
    for missing or inconsistent data. With `skip_bad`, faulty rows are left out with a warning.
    """
    json_path = _json_path(path, split)
    folder = Path(images) if images is not None else json_path.parent.parent / "images"
    rows = read_json(json_path, DatasetError)
    if not isinstance(rows, list) or not rows:
        raise DatasetError(f"{json_path}: must be a list of at least one person")
    by_label = read_records(MpiiPerson, rows, json_path, "people", MpiiPerson.problem, skip_bad=skip_bad)
    people = list(by_label.values())
    names = list(dict.fromkeys(person.image for person in people))
    folder, paths = find_pictures(names, json_path, split, folder)
    check_found(names, paths, folder, json_path)
    place = {name: index for index, name in enumerate(names)}
    center = np.array([person.center for person in people])
    scale = np.array([person.scale for person in people])
    center[:, 1] += 15 * scale  # as the official code, which moves the crop down to keep the feet in
    side = (200 * scale)[:, None]
    corner = center - 1 - side / 2
    none = np.zeros((16, 3))
    joints = np.array([none[:, :2] if person.joints is None else person.joints for person in people])
    visible = np.array([none[:, 2] if person.joints_vis is None else person.joints_vis for person in people]) > 0
    return KeypointDataset(
        name=f"mpii_{json_path.stem}",
        skeleton=mpii16,
        image_paths=[paths[name] for name in names],
        image_ids=np.arange(len(names)),
        image_index=[place[person.image] for person in people],
        boxes=np.concatenate([corner, corner + side], axis=1),
        keypoints=np.where(visible[..., None], joints - 1, 0),
        visible=visible,
        areas=side[:, 0] ** 2,
        scores=np.ones(len(people)),
        ids=[int(label.removeprefix("row ")) for label in by_label],
    )


@frozen(eq=False)
class MpiiTruth:
    """The ground truth for PCKh, one row per person of the json."""

    keypoints: NDArray[np.float64]
    """(N,16,2) x, y, frame px."""
    missing: NDArray[np.bool_]
    """(N,16) true if the joint is not labelled."""
    head_boxes: NDArray[np.float64]
    """(N,4) xyxy, frame px."""


def read_mpii_truth(path: FilePath = "data/mpii", *, split: str = "val") -> MpiiTruth:
    """Joints and head boxes from `annot/gt_<split>.mat`, which the official HRNet code measures with.

    `path` is that of `mpii`. Coordinates, which count from 1 in the file, count from 0 here. Raises `DatasetError`
    with the file.
    """
    from scipy.io import loadmat

    json_path = _json_path(path, split)
    file = json_path.with_name(f"gt_{json_path.stem}.mat")
    if not os.path.isfile(file):
        raise DatasetError(f"{file}: no such file; PCKh needs its head boxes, which are published with the json")
    try:
        content = loadmat(file)
        joints, missing, heads = (
            np.asarray(content[key], np.float64) for key in ("pos_gt_src", "jnt_missing", "headboxes_src")
        )
    except Exception as error:  # scipy raises many kinds of errors on damaged files
        raise DatasetError(f"{file}: cannot be read as MPII's ground truth ({error!r})") from None
    count = joints.shape[-1]
    if (joints.shape, missing.shape, heads.shape) != ((16, 2, count), (16, count), (2, 2, count)):
        shapes = f"{joints.shape}, {missing.shape}, {heads.shape}"
        raise DatasetError(f"{file}: joints, missing and heads have shapes {shapes}, wanted (16,2,N), (16,N), (2,2,N)")
    return MpiiTruth(joints.transpose(2, 0, 1) - 1, missing.T > 0, heads.transpose(2, 0, 1).reshape(count, 4) - 1)


def _json_path(path: FilePath, split: str) -> Path:
    name = "valid" if split == "val" else split
    return Path(path) if os.path.isfile(path) else Path(path) / "annot" / f"{name}.json"
