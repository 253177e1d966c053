"""The plugin, installed or as it lies here."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hrkit.testing.fixtures import register_plugin  # noqa: F401

FOLDER = Path(__file__).resolve().parents[1]

sys.path.insert(0, str(Path(__file__).parent))  # helpers of these tests

try:
    import hrkit_higherhrnet
except ModuleNotFoundError:
    sys.path.insert(0, str(FOLDER))
    import hrkit_higherhrnet


@pytest.fixture(autouse=True)
def registered(register_plugin: Callable[[object, str], None]) -> None:  # noqa: F811
    """The plugin among the others, also where it is not installed."""
    register_plugin(hrkit_higherhrnet, "higherhrnet")


@pytest.fixture(scope="session")
def built_library(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Native operators, built once and loaded; skips where there is no compiler."""
    from hrkit_higherhrnet.operators import library

    if not (shutil.which("c++") or shutil.which("cl")):
        pytest.skip("there is no C++ compiler to build the operators with")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HRKIT_HOME", str(tmp_path_factory.mktemp("built")))
        assert library().load(build=True)


@pytest.fixture(autouse=True, scope="module")
def one_thread(one_thread: None) -> None:
    """Networks are so small here that threads only wait for each other."""
