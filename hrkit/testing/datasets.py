"""A dataset against the contract of `hrkit.hookspecs.register_datasets`."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hrkit.datasets.augmentation import PersonCrops
from hrkit.datasets.base import KeypointDataset
from hrkit.testing.report import Check, Finding, NotJudged, Wrong, examine, wrong

MOST_PEOPLE = 16
"""So many, from all over the dataset, are looked at in their pictures."""

SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"))


def check_dataset(dataset: Any, *, part: str = "dataset") -> list[Finding]:
    """What is wrong with a `hrkit.datasets.base.KeypointDataset`; an empty list if nothing is.

    Its tables are looked at as a whole, its pictures here and there. `part` is what findings call it.
    """
    return wrong(examine_dataset(dataset, part=part))


def examine_dataset(dataset: Any, *, part: str = "dataset") -> Iterator[Finding]:
    """As `check_dataset`, with what is right too, each as soon as it is known."""
    yield from examine(part, _Trial(dataset), CHECKS)


@frozen(eq=False)
class _Trial:
    """A dataset."""

    dataset: Any

    @property
    def rows(self) -> list[int]:
        """Some people, from the first to the last; raises `NotJudged` if there are none."""
        people = len(self.dataset.boxes)
        if not people:
            raise NotJudged("there is nobody in it")
        return np.unique(np.linspace(0, people - 1, MOST_PEOPLE).astype(int)).tolist()


def _is_a_dataset(trial: _Trial) -> None:
    if not isinstance(trial.dataset, KeypointDataset):
        raise Wrong(f"{type(trial.dataset).__name__} is no KeypointDataset")


def _tables(trial: _Trial) -> None:
    data = trial.dataset
    people, joints, pictures = len(data), len(data.skeleton), len(data.image_paths)
    for name, shape, dtype in (
        ("image_ids", (pictures,), np.int64),
        ("image_index", (people,), np.int64),
        ("boxes", (people, 4), np.float64),
        ("keypoints", (people, joints, 2), np.float32),
        ("visible", (people, joints), np.float32),
        ("areas", (people,), np.float64),
        ("scores", (people,), np.float32),
        ("ids", (people,), np.int64),
    ):
        array = getattr(data, name)
        if array.shape != shape or array.dtype != dtype:
            raise Wrong(f"{name} is {array.dtype} of shape {array.shape}, not {np.dtype(dtype)} of {shape}")
        if array.flags.writeable:
            raise Wrong(f"{name} can be written to")


def _values(trial: _Trial) -> None:
    data = trial.dataset
    labelled = data.visible > 0
    for problem, rows in (
        ("a box that is not finite or has no area", ~(data.boxes[:, 2:] > data.boxes[:, :2]).all(1)),
        ("a box that is not finite or has no area", ~np.isfinite(data.boxes).all(1)),
        ("visibility that is neither 0 nor 1", ~np.isin(data.visible, (0, 1)).all(1)),
        ("a labelled joint that is nowhere", (labelled & ~np.isfinite(data.keypoints).all(2)).any(1)),
        ("an area that is not above 0", ~((data.areas > 0) & np.isfinite(data.areas))),
        ("a score that is not finite", ~np.isfinite(data.scores)),
    ):
        if rows.any():
            raise Wrong(f"{int(rows.sum())} of {len(data)} people have {problem}, the first at row {rows.argmax()}")


def _areas(trial: _Trial) -> None:
    data = trial.dataset
    if not len(data):
        raise NotJudged("there is nobody in it")
    with np.errstate(divide="ignore", invalid="ignore"):  # of boxes without an area
        share = np.median(data.areas / (data.boxes[:, 2:] - data.boxes[:, :2]).prod(1))
    if not 0.01 <= share <= 1.5:
        raise Wrong(f"the median of areas is {share:.3g} of that of the box")


def _index(trial: _Trial) -> None:
    data = trial.dataset
    outside = (data.image_index < 0) | (data.image_index >= len(data.image_paths))
    if outside.any():
        row = int(outside.argmax())
        raise Wrong(f"person {row} is in picture {data.image_index[row]} of {len(data.image_paths)}")
    for name, ids in (("image_ids", data.image_ids), ("ids", data.ids[data.ids >= 0])):
        values, counts = np.unique(ids, return_counts=True)
        if (counts > 1).any():
            raise Wrong(f"{name} holds {values[counts.argmax()]} {counts.max()} times")
    if len(set(data.image_paths)) < len(data.image_paths):
        raise Wrong(f"image_paths holds {Counter(data.image_paths).most_common(1)[0][0]} twice")


def _skeleton(trial: _Trial) -> None:
    skeleton = trial.dataset.skeleton
    paired = [name for pair in skeleton.flip_pairs for name in pair]
    twice = [name for name, count in Counter(paired).items() if count > 1]
    if twice:
        raise Wrong(f"flip_pairs holds {twice[0]!r} twice")
    pairs = {frozenset(pair) for pair in skeleton.flip_pairs}
    names = set(skeleton.keypoint_names)
    for name in skeleton.keypoint_names:
        for left, right in SIDES:
            other = name.replace(left, right)
            if left in name and other in names and frozenset((name, other)) not in pairs:
                raise Wrong(f"flip_pairs does not hold {name!r} with {other!r}")
    if not ((skeleton.sigmas > 0) & np.isfinite(skeleton.sigmas)).all():
        raise Wrong("a sigma is not above 0")


def _pictures(trial: _Trial) -> None:
    for row in trial.rows:
        frame = trial.dataset.read_frame(row)
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise Wrong(f"the picture of person {row} is no (H,W,3) uint8 array")


def _boxes_in_pictures(trial: _Trial) -> None:
    for row in trial.rows:
        height, width = trial.dataset.read_frame(row).shape[:2]
        x1, y1, x2, y2 = trial.dataset.boxes[row]
        if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
            where = ", ".join(f"{value:.4g}" for value in (x1, y1, x2, y2))
            raise Wrong(f"the box of person {row} is {where}, outside its picture, {width} wide and {height} high")


def _joints_in_boxes(trial: _Trial) -> None:
    data, rows = trial.dataset, trial.rows
    labelled = [data.keypoints[row][data.visible[row] > 0] for row in rows]
    joints = np.concatenate(labelled)
    if not len(joints):
        raise NotJudged("nobody has a labelled joint")
    if np.abs(joints).max() <= 2 and (data.boxes[rows, 2:] - data.boxes[rows, :2]).min() > 2:
        raise Wrong(f"no labelled joint is beyond {np.abs(joints).max():.3g}, as if they were shares of the picture")
    inside = [_within(points, _grown(data.boxes[row])) for points, row in zip(labelled, rows, strict=True)]
    outside = int((~np.concatenate(inside)).sum())
    if outside > len(joints) / 2:
        raise Wrong(f"{outside} of {len(joints)} labelled joints are not in the boxes of their people, nor near")


def _grown(box: NDArray[Any]) -> NDArray[Any]:
    """(4,) xyxy, twice as large about its middle."""
    half = (box[2:] - box[:2]) / 2
    return np.concatenate([box[:2] - half, box[2:] + half])


def _within(points: NDArray[Any], box: NDArray[Any]) -> NDArray[Any]:
    return np.all((points >= box[:2]) & (points <= box[2:]), axis=1)


def _selects(trial: _Trial) -> None:
    data = trial.dataset
    last = len(data) - 1 if len(data) else None
    for rows in ([], [] if last is None else [last]):
        chosen = data.select(np.array(rows, int))
        if len(chosen) != len(rows):
            raise Wrong(f"select of {len(rows)} people gives {len(chosen)}")
        if rows and not np.array_equal(chosen.keypoints[0], data.keypoints[rows[0]]):
            raise Wrong(f"select([{last}]) gives somebody else")


def _crops(trial: _Trial) -> None:
    joints = len(trial.dataset.skeleton)
    crops = PersonCrops(trial.dataset, (64, 48))
    for row in trial.rows[:2]:
        sample, again = crops[0, 0, row], crops[0, 0, row]
        if sample.crop.shape != (64, 48, 3) or sample.keypoints.shape != (joints, 2):
            raise Wrong(f"the crop of person {row} has shape {sample.crop.shape}, joints {sample.keypoints.shape}")
        if not np.array_equal(sample.crop, again.crop) or not np.array_equal(sample.keypoints, again.keypoints):
            raise Wrong(f"person {row} is another when cut out again")


def _pickles(trial: _Trial) -> None:
    try:
        copied = pickle.loads(pickle.dumps(trial.dataset))
    except Exception as error:
        raise Wrong(f"it cannot be pickled ({type(error).__name__}: {error})") from error
    if not np.array_equal(copied.keypoints, trial.dataset.keypoints, equal_nan=True):
        raise Wrong("its copy has other keypoints")
    if len(copied) and not np.array_equal(copied.read_frame(0), trial.dataset.read_frame(0)):
        raise Wrong("its copy reads other pictures")


CHECKS: tuple[Check[_Trial], ...] = (
    Check("it is a dataset", _is_a_dataset, "build a hrkit.datasets.base.KeypointDataset", vital=True),
    Check("tables fit each other", _tables, "give each table a row for each person, or picture", vital=True),
    Check(
        "people point at pictures",
        _index,
        "image_index counts the rows of image_paths from 0, ids are unique",
        vital=True,
    ),
    Check("values make sense", _values, "leave out people without a box; a joint is labelled (1) or not (0)"),
    Check("areas fit boxes", _areas, "areas are of people, in frame px squared: OKS goes by them"),
    Check("flip pairs", _skeleton, "pair each joint of the left with that of the right, once"),
    Check("pictures can be read", _pictures, "give paths of pictures, or archive.zip@member", vital=True),
    Check("boxes are in their pictures", _boxes_in_pictures, "boxes are x1, y1, x2, y2 in frame px"),
    Check("joints are in their boxes", _joints_in_boxes, "keypoints are x, y in frame px, boxes x1, y1, x2, y2"),
    Check("select", _selects, "leave select as KeypointDataset has it"),
    Check("people can be cut out", _crops, "let the same row always give the same picture and person"),
    Check("pickled for workers", _pickles, "keep no open file, lambda or lock in it"),
)
