"""A dataset against the contract of `hrkit.hookspecs.register_datasets`."""

from __future__ import annotations

import inspect
import pickle
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any  # a builder may build anything

import attrs
import numpy as np

from hrkit.datasets.augmentation import PersonCrops
from hrkit.datasets.base import PER_PERSON, KeypointDataset
from hrkit.testing.report import ONE_LINE, Checking, Contract, Examining, NotJudged, Wrong, expect, refusal

MOST_PEOPLE = 16
"""The number of people, from all over the dataset, whose pictures are read."""

FACE = (("lefteye", "leye"), ("righteye", "reye"), ("nose",))
"""Names of joints, without other signs than letters."""
FEWEST_FACES = 8

SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"))

BUILDER: Contract = Contract("dataset")
CONTRACT: Contract = Contract("dataset")


@BUILDER.rule("path that is not there", ONE_LINE)
def _missing_path(build: Callable[..., Any]) -> None:
    try:
        inspect.signature(build).bind("path", split="train")
    except TypeError:
        raise NotJudged("it takes no path") from None
    except ValueError:  # it has no signature
        pass
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nothing"
        refusal(lambda: build(path, split="train"), "a path that does not exist")


def _rows(data: KeypointDataset) -> list[int]:
    """Some people, from the first to the last. Raises `NotJudged` if there are none."""
    expect(len(data.boxes), "there is nobody in it", NotJudged)
    return np.unique(np.linspace(0, len(data.boxes) - 1, MOST_PEOPLE).astype(int)).tolist()


@CONTRACT.rule("it is a dataset", "build a hrkit.datasets.base.KeypointDataset", vital=True)
def _is_a_dataset(data: object) -> None:
    expect(isinstance(data, KeypointDataset), f"{type(data).__name__} is no KeypointDataset")


@CONTRACT.rule("tables fit each other", "let its constructor check and lock the tables", vital=True)
def _tables(data: KeypointDataset) -> None:
    fresh = KeypointDataset(**{one.name: getattr(data, one.name) for one in attrs.fields(KeypointDataset)})
    expect(len(data) == len(fresh), f"its length is {len(data)}, with {len(fresh)} boxes")
    for name in ("image_ids", *PER_PERSON):
        table, wanted = getattr(data, name), getattr(fresh, name)
        expect(table.dtype == wanted.dtype, f"{name} is {table.dtype}, not {wanted.dtype}")
        expect(not table.flags.writeable, f"{name} can be written to")


@CONTRACT.rule("ids are unique", "give each picture a path and an id of its own, and each person an id")
def _ids(data: KeypointDataset) -> None:
    ids = {"image_ids": data.image_ids.tolist(), "ids": [one for one in data.ids.tolist() if one != -1]}
    for name, values in {**ids, "image_paths": data.image_paths}.items():
        for value, count in Counter(values).most_common(1):
            expect(count == 1, f"{name} holds {value} {count} times")


@CONTRACT.rule("values make sense", "a joint is labelled (1) or not (0); areas are above 0")
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


@CONTRACT.rule("people are labelled", "a joint with a label is visible (1), also if something hides it")
def _labelled(data: KeypointDataset) -> None:
    expect(len(data), "there is nobody in it", NotJudged)
    expect((data.visible > 0).any(), f"none of {len(data)} people has a labelled joint")


@CONTRACT.rule("people are in pictures of their own", "image_index is the row of each person's picture in image_paths")
def _image_index(data: KeypointDataset) -> None:
    people, pictures = len(data), len(data.image_paths)
    expect(pictures > 1 and people >= pictures, "there are too few people to tell", NotJudged)
    expect((data.image_index > 0).any(), f"all {people} people are in the first of {pictures} pictures")


@CONTRACT.rule("areas fit boxes", "give each person's area in frame px squared, which OKS divides by")
def _areas(data: KeypointDataset) -> None:
    expect(len(data), "there is nobody in it", NotJudged)
    share = np.median(data.areas / (data.boxes[:, 2:] - data.boxes[:, :2]).prod(1))
    expect(0.01 <= share <= 1.5, f"the median area is {share:.3g} of the box")


@CONTRACT.rule("flip pairs", "pair each joint of the left with that of the right, once")
def _skeleton(data: KeypointDataset) -> None:
    skeleton = data.skeleton
    for name, count in Counter(name for pair in skeleton.flip_pairs for name in pair).most_common(1):
        expect(count == 1, f"flip_pairs holds {name!r} twice")
    pairs = {frozenset(pair) for pair in skeleton.flip_pairs}
    for name in skeleton.keypoint_names:
        for left, right in SIDES:
            other = name.replace(left, right)
            if left in name and other in skeleton.keypoint_names:
                expect({name, other} in pairs, f"flip_pairs does not hold {name!r} with {other!r}")
    expect(((skeleton.sigmas > 0) & np.isfinite(skeleton.sigmas)).all(), "a sigma is not above 0")


@CONTRACT.rule("left and right", "left is the person's own left: on the right of the picture if they face the camera")
def _sides(data: KeypointDataset) -> None:
    """A person with both eyes visible faces the camera, so with the nose below them, the left eye is on the right."""
    rows = {re.sub("[^a-z]", "", name.lower()): row for row, name in enumerate(data.skeleton.keypoint_names)}
    found = [rows[name] for names in FACE for name in names if name in rows]
    expect(len(found) == len(FACE), "it has no eyes and nose to tell by", NotJudged)
    faces = data.keypoints[(data.visible[:, found] > 0).all(1)][:, found].astype(float)
    expect(len(faces) >= FEWEST_FACES, f"{len(faces)} faces with both eyes and nose are too few to tell", NotJudged)
    across, down = faces[:, 0] - faces[:, 1], faces[:, 2] - faces[:, :2].mean(1)
    swapped = int((across[:, 0] * down[:, 1] < across[:, 1] * down[:, 0]).sum())
    expect(swapped <= 0.8 * len(faces), f"in {swapped} of {len(faces)} faces the left eye is on the side of the right")


@CONTRACT.rule("pictures can be read", "give paths of pictures, or archive.zip@member", vital=True)
def _pictures(data: KeypointDataset) -> None:
    for row in _rows(data):
        frame: object = data.read_frame(row)
        picture = isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
        expect(picture, f"the picture of person {row} is no (H,W,3) uint8 array")


@CONTRACT.rule("boxes are in their pictures", "give boxes as x1, y1, x2, y2 in frame px")
def _boxes_in_pictures(data: KeypointDataset) -> None:
    for row in _rows(data):
        height, width = data.read_frame(row).shape[:2]
        x1, y1, x2, y2 = data.boxes[row]
        box = ", ".join(f"{value:.4g}" for value in data.boxes[row])
        problem = f"the box of person {row} is {box}, outside its picture, {width} wide and {height} high"
        expect(x1 < width and y1 < height and x2 > 0 and y2 > 0, problem)


@CONTRACT.rule("joints are in their boxes", "give keypoints as x, y and boxes as x1, y1, x2, y2")
def _joints_in_boxes(data: KeypointDataset) -> None:
    rows = _rows(data)
    labelled, boxes = data.visible[rows] > 0, data.boxes[rows]
    joints, sides = data.keypoints[rows][labelled], boxes[:, 2:] - boxes[:, :2]
    expect(len(joints), "nobody that was looked at has a labelled joint", NotJudged)
    largest = np.abs(joints).max()
    shares = largest <= 2 and sides.min() > 2
    expect(not shares, f"no labelled joint is beyond {largest:.3g}, as if they were shares of the picture")
    low, high = (boxes[:, :2] - sides / 2)[:, None], (boxes[:, 2:] + sides / 2)[:, None]  # twice as large
    beyond = (data.keypoints[rows] < low) | (data.keypoints[rows] > high)
    outside = int(np.any(beyond, axis=2)[labelled].sum())
    problem = f"{outside} of {len(joints)} labelled joints are neither in the boxes of their people nor near"
    expect(outside <= len(joints) / 2, problem)


@CONTRACT.rule("select", "keep the select of KeypointDataset")
def _selects(data: KeypointDataset) -> None:
    last = len(data) - 1
    for rows in ([], [last] if len(data) else []):
        chosen = data.select(np.array(rows, int))
        expect(len(chosen) == len(rows), f"select of {len(rows)} people gives {len(chosen)}")
        expect(np.array_equal(chosen.keypoints, data.keypoints[rows]), f"select([{last}]) gives somebody else")


@CONTRACT.rule("people can be cut out", "let a row always give the same picture and person")
def _crops(data: KeypointDataset) -> None:
    crops, joints = PersonCrops(data, (64, 48)), (len(data.skeleton), 2)
    for row in _rows(data)[:2]:
        sample, again = crops[0, 0, row], crops[0, 0, row]
        problem = f"the crop of person {row} has shape {sample.crop.shape}, joints {sample.keypoints.shape}"
        expect(sample.crop.shape == (64, 48, 3) and sample.keypoints.shape == joints, problem)
        same = np.array_equal(sample.crop, again.crop) and np.array_equal(sample.keypoints, again.keypoints)
        expect(same, f"person {row} is different when cut out again")


@CONTRACT.rule("pickled for workers", "keep no open file, lambda or lock in it")
def _pickles(data: KeypointDataset) -> None:
    try:
        copied = pickle.loads(pickle.dumps(data))
    except Exception as error:
        raise Wrong(f"it cannot be pickled ({type(error).__name__}: {error})") from error
    expect(np.array_equal(copied.keypoints, data.keypoints, equal_nan=True), "its copy has other keypoints")
    same = not len(copied) or np.array_equal(copied.read_frame(0), data.read_frame(0))
    expect(same, "its copy reads other pictures")


check_dataset: Checking = CONTRACT.check
"""`check_dataset(dataset, *, part="dataset")`: what is wrong with a `hrkit.datasets.base.KeypointDataset`.

All rows of its tables are checked, and a few of its pictures.
"""
examine_dataset: Examining = CONTRACT.examine
