"""Epochs: who is seen, in which order, on which rank."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hrkit import hookimpl, registry
from hrkit.datasets.augmentation import PersonCrops
from hrkit.datasets.coco import coco
from hrkit.datasets.loading import DatasetSpec, batches_in_order, epoch_batches, epoch_rows, load_batches
from hrkit.errors import DatasetError, PluginError, UnknownNameError
from made_coco import make_coco


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("coco", ("coco", None, 1.0)),
        ("coco:data/coco", ("coco", "data/coco", 1.0)),
        ("coco:data/coco*2", ("coco", "data/coco", 2.0)),
        ("mpii*0.25", ("mpii", None, 0.25)),
        (r"coco:C:\data\coco*3", ("coco", r"C:\data\coco", 3.0)),
        ("coco:odd*name/x", ("coco", "odd*name/x", 1.0)),
    ],
)
def test_specs(text: str, expected: tuple[str, str | None, float]) -> None:
    spec = DatasetSpec.parse(text)
    assert (spec.name, spec.path, spec.weight) == expected


def test_bad_specs(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is no NAME\[:PATH\]"):
        DatasetSpec.parse("*2")
    with pytest.raises(UnknownNameError, match="unknown dataset 'coca'; did you mean coco"):
        DatasetSpec.parse("coca").load("train")
    with pytest.raises(DatasetError, match="no COCO json there"):
        DatasetSpec.parse(f"coco:{tmp_path}").load("train")


@pytest.fixture
def strange_datasets() -> Iterator[None]:
    """A plugin `mine` with a dataset that gives what it is called with, and one that fails."""

    def called(*arguments: Any, split: str, images: Any = None) -> Any:
        return arguments, split, images

    def fails(*, split: str) -> Any:
        raise KeyError("width")

    datasets = {"called": called, "fails": fails}
    registry.plugins.register(SimpleNamespace(register_datasets=hookimpl(lambda: datasets)), "mine")
    yield
    registry.plugins.unregister("mine")


@pytest.mark.usefixtures("strange_datasets")
def test_builders_get_path_split_and_options_and_are_named_when_they_fail() -> None:
    assert DatasetSpec.parse("called").load("val") == ((), "val", None)
    assert DatasetSpec.parse("called:a/b*2").load("train", images="c") == ((Path("a/b"),), "train", "c")
    with pytest.raises(PluginError, match=r"^dataset 'fails' of plugin 'mine' cannot be built: KeyError: 'width'$"):
        DatasetSpec.parse("fails").load("val")
    with pytest.raises(PluginError, match="dataset 'fails' of plugin 'mine' does not take the option 'images'"):
        DatasetSpec.parse("fails").load("val", images="c")
    with pytest.raises(DatasetError, match=r"^the dataset 'custom' needs a path, a TOML file, as custom:mine\.toml$"):
        DatasetSpec.parse("custom").load("val")


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=4),
    weight=st.sampled_from([0.5, 1.0, 1.5, 3.0]),
    seed=st.integers(0, 99),
)
def test_an_epoch_sees_each_dataset_as_often_as_it_should(sizes: list[int], weight: float, seed: int) -> None:
    weights = [weight] * len(sizes)
    rows = epoch_rows(sizes, weights, seed, 3)
    counts = np.bincount(rows, minlength=sum(sizes))
    for size, start in zip(sizes, np.cumsum([0, *sizes[:-1]]), strict=True):
        part = counts[start : start + size]
        assert part.sum() == round(weight * size)
        assert part.max() - part.min() <= 1
    np.testing.assert_array_equal(rows, epoch_rows(sizes, weights, seed, 3))


def test_a_dataset_without_samples_takes_no_part() -> None:
    assert sorted(epoch_rows([3, 0, 2], [1.0, 2.0, 1.0], 0, 0)) == [0, 1, 2, 3, 4]
    assert len(epoch_rows([0], [1.0], 0, 0)) == 0


@given(people=st.integers(0, 60), size=st.integers(1, 7), world=st.integers(1, 4))
def test_ranks_together_are_one(people: int, size: int, world: int) -> None:
    rows = np.random.default_rng(0).permutation(people)
    together = epoch_batches(rows, 2, size * world, 0, 1)
    parts = [epoch_batches(rows, 2, size, rank, world) for rank in range(world)]
    assert {len(part) for part in parts} == {len(together)}
    for i, batch in enumerate(together):
        assert [key for part in parts for key in part[i]] == batch
    seen = [key[2] for rank in range(world) for batch in batches_in_order(people, size, rank, world) for key in batch]
    assert sorted(seen) == list(range(people))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_whoever_reads_them(tmp_path: Path, workers: int) -> None:
    make_coco(tmp_path)
    crops = PersonCrops(coco(tmp_path), (64, 64))
    batches = list(load_batches(crops, batches_in_order(8, 3, 0, 1), workers, pin=False))
    assert [batch["rows"].tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert batches[0]["crops"].shape == (3, 64, 64, 3)
    assert batches[0]["crops"].dtype == torch.uint8
    np.testing.assert_array_equal(batches[1]["crops"][1].numpy(), crops[0, 4, 4].crop)
    assert list(load_batches(crops, [], workers, pin=False)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("custom", "the dataset 'custom' needs a path, a TOML file, as custom:mine.toml"),
        ("mine.toml", "mine.toml is a file; data are named as NAME:PATH, here custom:mine.toml"),
        ("people.json", "people.json is a file; data are named as NAME:PATH, here coco:people.json"),
    ],
)
def test_a_dataset_without_its_name_or_path(text: str, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        DatasetSpec.parse(text).load("train")
    assert str(caught.value) == message
