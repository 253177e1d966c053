"""Fixtures of the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# machines are slow and shared; how long an example takes says nothing about whether it is right
settings.register_profile("hrkit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hrkit")

SHARED = Path(__file__).resolve().parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference material beside the project; skips where it is absent."""
    if not (SHARED / "reference").is_dir():
        pytest.skip(f"no reference material at {SHARED}")
    return SHARED
