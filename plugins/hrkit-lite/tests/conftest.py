"""The plugin from its own folder where it is not installed."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

PLUGIN = Path(__file__).resolve().parents[1]

if importlib.util.find_spec("hrkit_lite") is None:
    sys.path.insert(0, str(PLUGIN))


@pytest.fixture
def registered() -> Iterator[ModuleType]:
    """The plugin, known to hrkit also where it is not installed."""
    import hrkit_lite

    from hrkit.registry import plugins

    installed = "lite" in plugins.names()
    if not installed:
        plugins.register(hrkit_lite, "lite")
    yield hrkit_lite
    if not installed:
        plugins.unregister("lite")
