"""The plugin, installed or as it lies here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hrkit.registry import plugins

FOLDER = Path(__file__).resolve().parents[1]

sys.path.insert(0, str(Path(__file__).parent))  # helpers of these tests

try:
    import hrkit_higherhrnet
except ModuleNotFoundError:
    sys.path.insert(0, str(FOLDER))
    import hrkit_higherhrnet


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The plugin among the others, also where it is not installed."""
    if "higherhrnet" in plugins.names():
        yield
        return
    plugins.register(hrkit_higherhrnet, "higherhrnet")
    yield
    plugins.unregister("higherhrnet")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks are so small here that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
