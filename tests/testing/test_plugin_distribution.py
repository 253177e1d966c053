"""The plugins of this repository are distributions of their own: installed by pip, found by their entry point."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("setuptools", reason="building a distribution needs setuptools")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "plugins" / "hrkit-torchvision"
PROGRAM = "from hrkit.cli import main; main()"


def install(source, target, scratch):
    """Installs a copy, so that nothing is built among the sources."""
    copy = shutil.copytree(source, scratch, ignore=shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__"))
    flags = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-index", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", str(target), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def python(code, *arguments, path, **environment):
    """What a fresh Python prints; raises if it fails."""
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}
    variables.pop("HRKIT_PLUGINS", None)
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=variables | environment, cwd=path[0])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with hrkit-torchvision in it."""
    target = tmp_path_factory.mktemp("site")
    install(PLUGIN, target, tmp_path_factory.mktemp("source") / "plugin")
    return target


def test_files(installed):
    (metadata,) = installed.glob("*.dist-info")
    assert (metadata / "entry_points.txt").read_text().split() == ["[hrkit]", "torchvision", "=", "hrkit_torchvision"]
    package = {path.name for path in (installed / "hrkit_torchvision").glob("*") if path.is_file()}
    assert package == {path.name for path in (PLUGIN / "hrkit_torchvision").glob("*") if path.is_file()}


def test_names(installed):
    names = python(
        "import hrkit, sys; print(*hrkit.list_names('detectors')); assert 'torchvision' not in sys.modules",
        path=[installed],
    ).split()
    assert {"fasterrcnn_resnet50_fpn_v2", "ssd300_vgg16", "yolov3"} <= set(names)


def test_listed_and_left_out(installed):
    listed = python(PROGRAM, "plugins", path=[installed], HRKIT_PLUGINS="torchvision")
    assert "torchvision (hrkit-torchvision 0.1.0)" in listed
    assert "detectors: fasterrcnn_resnet50_fpn, " in listed
    assert "weights: fasterrcnn_resnet50_fpn-coco, " in listed
    assert "fasterrcnn" not in python(PROGRAM, "plugins", path=[installed], HRKIT_PLUGINS="")


def test_installed_twice(installed, tmp_path):
    """In a user's folder and in the environment, say; and as sources beside what was built from them."""
    again = shutil.copytree(installed, tmp_path / "again")
    sources = tmp_path / "sources"
    (sources / "hrkit_torchvision.egg-info").mkdir(parents=True)
    (metadata,) = installed.glob("*.dist-info")
    for name, old_name in (("METADATA", "PKG-INFO"), ("entry_points.txt", "entry_points.txt")):
        shutil.copy(metadata / name, sources / "hrkit_torchvision.egg-info" / old_name)
    path = [installed, again, sources]
    listed = python(PROGRAM, "plugins", path=path, HRKIT_PLUGINS="torchvision")
    assert listed.count("torchvision (hrkit-torchvision 0.1.0)") == 1
    assert "FAILED" not in listed
    assert "CLASH" not in listed
