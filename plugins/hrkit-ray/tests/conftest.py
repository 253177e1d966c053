"""Makes the plugin importable if it is not installed. Skips its tests if Ray is not installed."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1]

collect_ignore_glob = ["test_*.py"] if importlib.util.find_spec("ray") is None else []
sys.path.insert(0, str(FOLDER / "tools"))
if importlib.util.find_spec("hrkit_ray") is None:
    sys.path.insert(0, str(FOLDER))


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a Ray with two CPUs for all tests, to which this process is connected."""
    from hrkit_ray import keep_to_itself

    keep_to_itself(None)
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's own name; or workers wait for other tests
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()
