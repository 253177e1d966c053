"""Fixtures for authors of plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hrkit import Detections, hookimpl, list_names
from hrkit.testing.fixtures import awkward_frames, photo, register_plugin  # noqa: F401


def test_frames(photo: Any, awkward_frames: Any) -> None:  # noqa: F811
    assert photo.shape == (480, 640, 3)
    assert {frame.shape for frame in awkward_frames} >= {(1, 1, 3), (61, 97, 3)}
    assert all(frame.dtype == np.uint8 for frame in [photo, *awkward_frames])


@pytest.fixture
def afterwards() -> Iterator[None]:
    """Looks whether the plugin is gone; asked for first, so that it ends last."""
    yield
    assert "kit-nobody" not in list_names("detectors")


def test_a_plugin_is_known_during_the_test(
    afterwards: None,
    register_plugin: Callable[[object, str], None],  # noqa: F811
) -> None:
    nobody = SimpleNamespace(detect=lambda images: [Detections.empty() for _ in images])
    plugin = SimpleNamespace(register_detectors=hookimpl(lambda: {"kit-nobody": lambda **_: nobody}))
    for _ in range(2):  # also where it is installed already
        register_plugin(plugin, "kit")
    assert "kit-nobody" in list_names("detectors")
