"""A dataset against the contract of `hrkit.hookspecs.register_datasets`."""

from __future__ import annotations

import pickle
from collections import Counter

import attrs
import numpy as np

from hrkit.datasets.augmentation import PersonCrops
from hrkit.datasets.base import PER_PERSON, KeypointDataset
from hrkit.testing.report import Check, Contract, NotJudged, Wrong

MOST_PEOPLE = 16
"""The number of people, from all over the dataset, whose pictures are read."""

SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"))


def _rows(data: KeypointDataset) -> list[int]:
    """Some people, from the first to the last. Raises `NotJudged` if there are none."""
    if not len(data.boxes):
        raise NotJudged("there is nobody in it")
    return np.unique(np.linspace(0, len(data.boxes) - 1, MOST_PEOPLE).astype(int)).tolist()


def _is_a_dataset(data: object) -> None:
    if not isinstance(data, KeypointDataset):
        raise Wrong(f"{type(data).__name__} is no KeypointDataset")


def _tables(data: KeypointDataset) -> None:
    fresh = KeypointDataset(**{one.name: getattr(data, one.name) for one in attrs.fields(KeypointDataset)})
    if len(data) != len(fresh):
        raise Wrong(f"its length is {len(data)}, with {len(fresh)} boxes")
    for name in ("image_ids", *PER_PERSON):
        table, wanted = getattr(data, name), getattr(fresh, name)
        if table.dtype != wanted.dtype:
            raise Wrong(f"{name} is {table.dtype}, not {wanted.dtype}")
        if table.flags.writeable:
            raise Wrong(f"{name} can be written to")


def _values(data: KeypointDataset) -> None:
    nowhere = (data.visible > 0) & ~np.isfinite(data.keypoints).all(2)
    for problem, rows in (
        ("visibility that is neither 0 nor 1", ~np.isin(data.visible, (0, 1)).all(1)),
        ("a labelled joint that is nowhere", nowhere.any(1)),
        ("an area that is not above 0", ~((data.areas > 0) & np.isfinite(data.areas))),
        ("a score that is not finite", ~np.isfinite(data.scores)),
    ):
        if rows.any():
            raise Wrong(f"{int(rows.sum())} of {len(data)} people have {problem}, the first at row {rows.argmax()}")


def _areas(data: KeypointDataset) -> None:
    if not len(data):
        raise NotJudged("there is nobody in it")
    share = np.median(data.areas / (data.boxes[:, 2:] - data.boxes[:, :2]).prod(1))
    if not 0.01 <= share <= 1.5:
        raise Wrong(f"the median area is {share:.3g} of the box")


def _ids(data: KeypointDataset) -> None:
    for name, values in (
        ("image_ids", data.image_ids.tolist()),
        ("ids", data.ids[data.ids >= 0].tolist()),
        ("image_paths", data.image_paths),
    ):
        for value, count in Counter(values).most_common(1):
            if count > 1:
                raise Wrong(f"{name} holds {value} {count} times")


def _skeleton(data: KeypointDataset) -> None:
    skeleton = data.skeleton
    paired = Counter(name for pair in skeleton.flip_pairs for name in pair)
    for name, count in paired.most_common(1):
        if count > 1:
            raise Wrong(f"flip_pairs holds {name!r} twice")
    pairs = {frozenset(pair) for pair in skeleton.flip_pairs}
    for name in skeleton.keypoint_names:
        for left, right in SIDES:
            other = name.replace(left, right)
            if left in name and other in skeleton.keypoint_names and frozenset((name, other)) not in pairs:
                raise Wrong(f"flip_pairs does not hold {name!r} with {other!r}")
    if not ((skeleton.sigmas > 0) & np.isfinite(skeleton.sigmas)).all():
        raise Wrong("a sigma is not above 0")


def _pictures(data: KeypointDataset) -> None:
    for row in _rows(data):
        frame: object = data.read_frame(row)
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise Wrong(f"the picture of person {row} is no (H,W,3) uint8 array")


def _boxes_in_pictures(data: KeypointDataset) -> None:
    for row in _rows(data):
        height, width = data.read_frame(row).shape[:2]
        x1, y1, x2, y2 = data.boxes[row]
        if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
            box = ", ".join(f"{value:.4g}" for value in (x1, y1, x2, y2))
            raise Wrong(f"the box of person {row} is {box}, outside its picture, {width} wide and {height} high")


def _joints_in_boxes(data: KeypointDataset) -> None:
    rows = _rows(data)
    labelled, boxes = data.visible[rows] > 0, data.boxes[rows]
    joints = data.keypoints[rows][labelled]
    if not len(joints):
        raise NotJudged("nobody has a labelled joint")
    if np.abs(joints).max() <= 2 and (boxes[:, 2:] - boxes[:, :2]).min() > 2:
        raise Wrong(f"no labelled joint is beyond {np.abs(joints).max():.3g}, as if they were shares of the picture")
    half = (boxes[:, 2:] - boxes[:, :2]) / 2  # each box is taken twice as large about its middle
    low, high = (boxes[:, :2] - half)[:, None], (boxes[:, 2:] + half)[:, None]
    beyond = (data.keypoints[rows] < low) | (data.keypoints[rows] > high)
    outside = int(np.any(beyond, axis=2)[labelled].sum())
    if outside > len(joints) / 2:
        raise Wrong(f"{outside} of {len(joints)} labelled joints are neither in the boxes of their people nor near")


def _selects(data: KeypointDataset) -> None:
    last = len(data) - 1
    for rows in ([], [last] if len(data) else []):
        chosen = data.select(np.array(rows, int))
        if len(chosen) != len(rows):
            raise Wrong(f"select of {len(rows)} people gives {len(chosen)}")
        if rows and not np.array_equal(chosen.keypoints[0], data.keypoints[last]):
            raise Wrong(f"select([{last}]) gives somebody else")


def _crops(data: KeypointDataset) -> None:
    joints = len(data.skeleton)
    crops = PersonCrops(data, (64, 48))
    for row in _rows(data)[:2]:
        sample, again = crops[0, 0, row], crops[0, 0, row]
        if sample.crop.shape != (64, 48, 3) or sample.keypoints.shape != (joints, 2):
            raise Wrong(f"the crop of person {row} has shape {sample.crop.shape}, joints {sample.keypoints.shape}")
        if not np.array_equal(sample.crop, again.crop) or not np.array_equal(sample.keypoints, again.keypoints):
            raise Wrong(f"person {row} is different when cut out again")


def _pickles(data: KeypointDataset) -> None:
    try:
        copied = pickle.loads(pickle.dumps(data))
    except Exception as error:
        raise Wrong(f"it cannot be pickled ({type(error).__name__}: {error})") from error
    if not np.array_equal(copied.keypoints, data.keypoints, equal_nan=True):
        raise Wrong("its copy has other keypoints")
    if len(copied) and not np.array_equal(copied.read_frame(0), data.read_frame(0)):
        raise Wrong("its copy reads other pictures")


CONTRACT = Contract(
    "dataset",
    (
        Check("it is a dataset", _is_a_dataset, "build a hrkit.datasets.base.KeypointDataset", vital=True),
        Check("tables fit each other", _tables, "let its constructor check and lock the tables", vital=True),
        Check("ids are unique", _ids, "give each picture a path and an id of its own, and each person an id"),
        Check("values make sense", _values, "a joint is labelled (1) or not (0); areas are above 0"),
        Check("areas fit boxes", _areas, "give each person's area in frame px squared, which OKS divides by"),
        Check("flip pairs", _skeleton, "pair each joint of the left with that of the right, once"),
        Check("pictures can be read", _pictures, "give paths of pictures, or archive.zip@member", vital=True),
        Check("boxes are in their pictures", _boxes_in_pictures, "give boxes as x1, y1, x2, y2 in frame px"),
        Check("joints are in their boxes", _joints_in_boxes, "give keypoints as x, y and boxes as x1, y1, x2, y2"),
        Check("select", _selects, "keep the select of KeypointDataset"),
        Check("people can be cut out", _crops, "let a row always give the same picture and person"),
        Check("pickled for workers", _pickles, "keep no open file, lambda or lock in it"),
    ),
)

check_dataset = CONTRACT.check
"""`check_dataset(dataset, *, part="dataset")`: what is wrong with a `hrkit.datasets.base.KeypointDataset`.

All rows of its tables are checked, and a few of its pictures.
"""
examine_dataset = CONTRACT.examine
