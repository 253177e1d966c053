"""The kit finds what is wrong with datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve, frozen

from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.coco import coco
from hrkit.structures import Skeleton
from hrkit.testing import check_dataset, describe, examine_dataset


@pytest.fixture
def people(painted_coco: Path) -> KeypointDataset:
    """Six pictures of two painted people each."""
    return coco(painted_coco)


def altered(people: KeypointDataset, **values: Any) -> KeypointDataset:
    """A copy with other values, past what the constructor checks."""
    copied = evolve(people)
    for name, value in values.items():
        object.__setattr__(copied, name, value)
    return copied


def frozen_array(values: Any) -> Any:
    values = np.array(values)
    values.flags.writeable = False
    return values


@frozen(eq=False, repr=False)
class Locked(KeypointDataset):
    """Cannot be pickled."""

    read: Callable[[], int] = lambda: 1


@frozen(eq=False, repr=False)
class OneShort(KeypointDataset):
    """Its length differs from its tables'."""

    def __len__(self) -> int:
        return len(self.boxes) - 1


@frozen(eq=False, repr=False)
class ChangingPictures(KeypointDataset):
    def read_frame(self, row: int) -> Any:
        return np.random.default_rng().integers(0, 256, (240, 340, 3), np.uint8)


@frozen(eq=False, repr=False)
class FloatPictures(KeypointDataset):
    def read_frame(self, row: int) -> Any:
        return super().read_frame(row) / 255


@frozen(eq=False, repr=False)
class SelectsTheFirst(KeypointDataset):
    def select(self, rows: Any) -> Any:
        return super().select(range(len(rows)))


def of(kind: type) -> Callable[[KeypointDataset], Any]:
    """The people as another class of dataset."""
    fields = [attribute.name for attribute in KeypointDataset.__attrs_attrs__]  # type: ignore[attr-defined]
    return lambda people: kind(**{name: getattr(people, name) for name in fields})


def paired(people: KeypointDataset, *pairs: tuple[str, str]) -> Skeleton:
    return evolve(people.skeleton, flip_pairs=pairs)


def faced(people: KeypointDataset) -> KeypointDataset:
    """The people with eyes and nose as they are seen from the front."""
    keypoints = people.keypoints.copy()
    nose, left_eye, right_eye = range(3)
    keypoints[:, left_eye] = keypoints[:, nose] + [2, -2]
    keypoints[:, right_eye] = keypoints[:, nose] + [-2, -2]
    return altered(people, keypoints=frozen_array(keypoints))


def mirrored(people: KeypointDataset) -> Any:
    return people.skeleton.flip_indices


FAULTS: dict[str, tuple[Callable[[KeypointDataset], Any], str]] = {
    "no dataset": (lambda people: [1, 2], "it is a dataset"),
    "keypoints (N,K,3)": (
        lambda people: altered(people, keypoints=frozen_array(np.zeros((len(people), 17, 3), np.float32))),
        "tables fit each other",
    ),
    "a length of its own": (of(OneShort), "tables fit each other"),
    "float64 keypoints": (
        lambda people: altered(people, keypoints=frozen_array(people.keypoints.astype(np.float64))),
        "tables fit each other",
    ),
    "tables to write to": (lambda people: altered(people, boxes=people.boxes.copy()), "tables fit each other"),
    "an index too high": (
        lambda people: altered(people, image_index=frozen_array(people.image_index + 1)),
        "tables fit each other",
    ),
    "a picture's id twice": (
        lambda people: altered(people, image_ids=frozen_array(people.image_ids * 0)),
        "ids are unique",
    ),
    "a person's id twice": (
        lambda people: altered(people, ids=frozen_array(people.ids * 0)),
        "ids are unique",
    ),
    "boxes xywh": (
        lambda people: altered(
            people,
            boxes=frozen_array(np.concatenate([people.boxes[:, :2], people.boxes[:, 2:] - people.boxes[:, :2]], 1)),
        ),
        "tables fit each other",
    ),
    "boxes NaN": (lambda people: altered(people, boxes=frozen_array(people.boxes * np.nan)), "tables fit each other"),
    "COCO's visibility": (
        lambda people: altered(people, visible=frozen_array(people.visible * 2)),
        "values make sense",
    ),
    "joints nowhere": (
        lambda people: altered(people, keypoints=frozen_array(people.keypoints * np.float32("nan"))),
        "values make sense",
    ),
    "nobody labelled": (
        lambda people: altered(people, visible=frozen_array(people.visible * 0)),
        "people are labelled",
    ),
    "everybody in the first picture": (
        lambda people: altered(people, image_index=frozen_array(people.image_index * 0)),
        "people are in pictures of their own",
    ),
    "left and right swapped": (
        lambda people: altered(people, keypoints=frozen_array(faced(people).keypoints[:, mirrored(people)])),
        "left and right",
    ),
    "no areas": (lambda people: altered(people, areas=frozen_array(people.areas * 0)), "values make sense"),
    "areas in shares": (
        lambda people: altered(people, areas=frozen_array(people.areas / (240 * 340))),
        "areas fit boxes",
    ),
    "areas of any size": (
        lambda people: altered(people, areas=frozen_array(people.areas * 0 + 1e9)),
        "areas fit boxes",
    ),
    "a pair twice": (
        lambda people: altered(people, skeleton=paired(people, ("left_eye", "right_eye"), ("left_eye", "right_ear"))),
        "flip pairs",
    ),
    "pairs forgotten": (lambda people: altered(people, skeleton=paired(people)), "flip pairs"),
    "no pictures": (
        lambda people: altered(people, image_paths=tuple(f"{path}.gone" for path in people.image_paths)),
        "pictures can be read",
    ),
    "pictures of floats": (of(FloatPictures), "pictures can be read"),
    "boxes outside": (
        lambda people: altered(people, boxes=frozen_array(people.boxes + 1000)),
        "boxes are in their pictures",
    ),
    "joints relative to boxes": (
        lambda people: altered(people, keypoints=frozen_array(people.keypoints + np.float32(500))),
        "joints are in their boxes",
    ),
    "joints in shares": (
        lambda people: altered(people, keypoints=frozen_array(people.keypoints / np.float32(340))),
        "joints are in their boxes",
    ),
    "selects somebody else": (of(SelectsTheFirst), "select"),
    "pictures that change": (of(ChangingPictures), "people can be cut out"),
    "not picklable": (of(Locked), "pickled for workers"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str, people: KeypointDataset) -> None:
    broken, check = FAULTS[fault]
    findings = check_dataset(broken(people))
    assert check in [finding.check for finding in findings], describe(findings)


def test_a_sound_dataset_passes(people: KeypointDataset) -> None:
    findings = list(examine_dataset(faced(people)))
    assert {finding.verdict for finding in findings} == {"ok"}, describe(findings)


def test_nobody(people: KeypointDataset) -> None:
    findings = list(examine_dataset(people.select([])))
    assert {finding.verdict for finding in findings} == {"ok", "not judged"}
