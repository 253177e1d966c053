"""The plugin, installed or as it lies here; its tests are skipped where Ray is not installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]

collect_ignore_glob = ["test_*.py"] if importlib.util.find_spec("ray") is None else []
sys.path.insert(0, str(FOLDER / "tools"))
if importlib.util.find_spec("hrkit_ray") is None:
    sys.path.insert(0, str(FOLDER))
