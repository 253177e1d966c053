"""Fixtures of pytest for plugins; a `conftest.py` imports those it wants.

>>> from hrkit.testing.fixtures import awkward_frames, photo  # noqa: F401
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from hrkit.registry import plugins
from hrkit.structures import Frame
from hrkit.testing import scenes


@pytest.fixture
def photo() -> Frame:
    """(480,640,3) BGR: a photo with the two people of `hrkit.testing.PHOTO_PEOPLE`."""
    return scenes.photo()


@pytest.fixture
def awkward_frames() -> list[Frame]:
    """Frames with odd sides, of one pixel, long and thin, and without anything in them."""
    return [*scenes.awkward().values(), *scenes.nobody().values()]


@pytest.fixture
def register_plugin() -> Iterator[Callable[[object, str], None]]:
    """`register_plugin(module, name)` registers a plugin for the duration of a test, even if it is not installed."""
    added = []

    def register(plugin: object, name: str) -> None:
        if name not in plugins.names():
            plugins.register(plugin, name)
            added.append(name)

    yield register
    for name in added:
        plugins.unregister(name)
