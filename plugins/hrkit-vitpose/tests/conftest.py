"""Makes the plugin importable if it is not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hrkit.testing.fixtures import register_plugin  # noqa: F401

FOLDER = Path(__file__).resolve().parents[1]

sys.path.insert(0, str(Path(__file__).parent))  # helpers of these tests

pytest.importorskip("transformers")

try:
    import hrkit_vitpose
except ModuleNotFoundError:
    sys.path.insert(0, str(FOLDER))
    import hrkit_vitpose


@pytest.fixture(autouse=True)
def registered(register_plugin: Callable[[object, str], None]) -> None:  # noqa: F811
    """Registers the plugin if it is not installed."""
    register_plugin(hrkit_vitpose, "vitpose")


@pytest.fixture(autouse=True, scope="module")
def one_thread(one_thread: None) -> None:
    """Networks are so small here that more threads only slow each other down."""
