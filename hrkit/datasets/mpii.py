"""MPII Human Pose: the json of the official HRNet code (`annot/train.json`, `annot/valid.json`).

Andriluka et al., 2D Human Pose Estimation: New Benchmark and State of the Art Analysis, CVPR 2014.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hrkit.datasets.base import KeypointDataset, check_names
from hrkit.errors import DatasetError
from hrkit.files import read_json
from hrkit.skeletons import mpii16


def mpii(path: str | Path = "data/mpii", *, split: str = "train", images: str | Path | None = None) -> KeypointDataset:
    """MPII people. Each box is such that its crop with margin 1.25 is the official one (lib/dataset/mpii.py).

    `path` is a json, or a folder with `annot/<split>.json` and `images/`. Joints and centres, which count from 1 in
    the file, count from 0 here. Raises `DatasetError`, with file, row and count, for missing or inconsistent data.
    """
    json_path = _json_path(path, split)
    folder = Path(images) if images is not None else json_path.parent.parent / "images"
    rows = read_json(json_path, DatasetError)
    if not isinstance(rows, list) or not rows:
        raise DatasetError(f"{json_path}: must be a list of at least one person")
    wrong = [i for i, row in enumerate(rows) if "joints" in row and np.shape(row["joints"]) != (16, 2)]
    if wrong:
        raise DatasetError(f"{json_path}: {len(wrong)} people have not 16 joints, first at row {wrong[0]}")
    names = list(dict.fromkeys(row["image"] for row in rows))
    check_names(names, folder, json_path)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DatasetError(f"{folder}: {len(missing)} of {len(names)} pictures are missing, first {missing[0]}")
    place = {name: index for index, name in enumerate(names)}
    center = np.array([row["center"] for row in rows], np.float64)
    scale = np.array([row["scale"] for row in rows], np.float64)
    center[:, 1] += 15 * scale  # as the official code, which moves the crop down to keep the feet in
    side = (200 * scale)[:, None]
    corner = center - 1 - side / 2
    joints = np.array([row.get("joints", np.zeros((16, 2))) for row in rows], np.float64)
    visible = np.array([row.get("joints_vis", np.zeros(16)) for row in rows], np.float64) > 0
    return KeypointDataset(
        name=f"mpii_{json_path.stem}",
        skeleton=mpii16,
        image_paths=[folder / name for name in names],
        image_ids=np.arange(len(names)),
        image_index=[place[row["image"]] for row in rows],
        boxes=np.concatenate([corner, corner + side], axis=1),
        keypoints=(joints - 1) * visible[..., None],
        visible=visible,
        areas=side[:, 0] ** 2,
        scores=np.ones(len(rows)),
        ids=np.arange(len(rows)),
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


def read_mpii_truth(path: str | Path = "data/mpii", *, split: str = "val") -> MpiiTruth:
    """Joints and head boxes from `annot/gt_<split>.mat`, which the official HRNet code measures with.

    `path` is that of `mpii`. Coordinates, which count from 1 in the file, count from 0 here. Raises `DatasetError`
    with the file.
    """
    from scipy.io import loadmat

    json_path = _json_path(path, split)
    file = json_path.with_name(f"gt_{json_path.stem}.mat")
    if not file.is_file():
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


def _json_path(path: str | Path, split: str) -> Path:
    name = "valid" if split == "val" else split
    return Path(path) if Path(path).is_file() else Path(path) / "annot" / f"{name}.json"
