"""The built wheel, installed alone, has everything it needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy of what git knows."""
    pytest.importorskip("setuptools", reason="needs setuptools to build")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "hrkit", source / "hrkit", ignore=shutil.ignore_patterns("__pycache__"))
    build = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(source)]
    subprocess.run(build, check=True)
    (built,) = target.glob("hrkit-*.whl")
    return built


def test_it_holds_all_code_and_data(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("hrkit/")}
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "hrkit").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"hrkit/py.typed", "hrkit/detectors/cfg/yolov3.cfg", "hrkit/assets/basketball.jpg"} <= inside
    assert inside == there


def test_installed_alone_it_works(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(tmp_path), str(wheel)], check=True)
    code = (
        "import hrkit, sys; assert sys.argv[1] in hrkit.__file__; from hrkit import Pipeline, create_detector;"
        "from hrkit.synthetic import paint_people;"
        "create_detector('yolov3_tiny', weights=None);"
        "pipeline = Pipeline.from_names('synthetic', 'synthetic', weights=None);"
        "print(len(pipeline(paint_people((99, 99), [[[9, 9]] * 17]))))"
    )
    environment = {"PYTHONPATH": str(tmp_path), "HRKIT_PLUGINS": "", "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.stdout.strip() == "1", run.stderr
