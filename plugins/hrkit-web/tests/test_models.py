"""Pipelines are found by the names of their networks."""

import asyncio

import pytest
from hrkit_web.errors import RefusedError
from hrkit_web.metrics import Metrics
from hrkit_web.networks.batching import Batcher
from hrkit_web.networks.models import KEPT, Model, Models

OFFERED = {
    "backbones": [Model(name, True, 1, "none") for name in "abc"],
    "detectors": [Model("d", True, 1, "none")],
}


@pytest.fixture
def built():
    """A `Models`, the names it has built pipelines from, and a set of names whose building fails."""
    asked, wrong, batcher = [], set(), Batcher(Metrics())

    def build(*names):
        asked.append(names)
        if names[0] in wrong:
            raise OSError("no")
        return object()

    models = Models(batcher, build, ("a", "d"), lambda: OFFERED)
    yield models, asked, wrong
    models.close()
    batcher.close()


def test_each_is_built_once_and_the_last_used_are_kept(built):
    models, asked, _ = built

    async def ask():
        same = ((None, None), ("a", "d"), ("a", None))
        first, *others = await asyncio.gather(*(models.get(*names) for names in same))
        assert all(other is first for other in others)
        for name in "bca":
            await models.get(name, None)

    asyncio.run(ask())
    assert KEPT == 2
    assert asked == [("a", "d"), ("b", "d"), ("c", "d"), ("a", "d")]


def test_failed_building_is_tried_again(built):
    models, asked, wrong = built
    wrong.add("b")
    with pytest.raises(OSError, match="no"):
        asyncio.run(models.get("b", "none"))
    wrong.clear()
    assert asyncio.run(models.get("b", "none")) is not None
    assert asked == [("b", "none")] * 2


@pytest.mark.parametrize("names", [("x", "d"), ("a", "x"), ("none", "d"), ("../a", "d"), ("d", "a")])
def test_names_that_are_not_offered(built, names):
    models, asked, _ = built
    with pytest.raises(RefusedError, match="see /v1/models"):
        asyncio.run(models.get(*names))
    assert asked == []
