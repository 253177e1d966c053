"""`hrkit extract --engine ray` comes to the files of one process, whoever is killed meanwhile."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hrkit.bulk import Job, extract_all
from hrkit.images import write_image
from hrkit.inputs import find_inputs
from hrkit.manifest import manifest_path
from hrkit.synthetic import paint_people
from painted import person

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")

PICTURES = 200
OPTIONS = ("--backbone", "synthetic", "--detector", "synthetic", "--weights", "none", "--device", "cpu")
PROGRAM = "from hrkit import registry\nimport hrkit_ray\nfrom hrkit.cli import main\n" + (
    "if 'ray' not in registry.plugins.names(): registry.plugins.register(hrkit_ray, 'ray')\nmain()"
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `PICTURES` small pictures, with somebody in every fourth."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        people = [person(10 + number % 40, 10, 30, 60)] if number % 4 == 0 else []
        write_image(folder / f"{number % 5}" / f"{number:03d}.png", paint_people((90, 100), people or [[[0, 0]]]))
    return folder


def test_each_input_gives_its_file_once(pictures: Path, tmp_path: Path, one_thread: None) -> None:
    found = find_inputs([pictures])
    model = {"backbone": "synthetic", "detector": "synthetic", "weights": None, "device": "cpu"}
    extract_all(found, Job(found.root, str(tmp_path / "alone"), "csv", model, {}))
    expected = files(tmp_path / "alone")
    assert len(expected) == PICTURES

    output = tmp_path / "output"
    driver = start(pictures, output)
    wait(driver, lambda: len(recorded(output)) > 0)
    driver.kill()
    driver.wait()
    before = set(recorded(output))
    assert 0 < len(before) < PICTURES

    driver = start(pictures, output)
    made = len(files(output))
    wait(driver, lambda: len(files(output)) > made and len(workers(driver.pid)) == 2)
    killed = workers(driver.pid)
    os.kill(killed[0], signal.SIGKILL)
    wait(driver, lambda: len(set(workers(driver.pid)) - set(killed)) == 1)
    printed, errors = driver.communicate()
    assert driver.returncode == 0, errors
    assert f"{PICTURES - len(before)} done, {len(before)} before" in printed

    assert files(output) == expected
    assert sorted(recorded(output)) == sorted(found.names), "each once"
    assert {path.name for path in output.iterdir()} == {*"01234", "meta.json", ".hrkit"}
    assert not list((output / ".hrkit").rglob("*.csv"))


def start(pictures: Path, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, "extract", "--engine", "ray", "--workers", "2"]
    return subprocess.Popen(
        [*command, str(pictures), "-o", str(output), *OPTIONS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def wait(driver: subprocess.Popen[str], condition: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def files(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.glob("*/*.png.csv")}


def recorded(output: Path) -> list[str]:
    """The inputs in the manifest, as far as its lines are whole."""
    path = manifest_path(output)
    return re.findall(r'^\{"input":"([^"]+)".*\}\n', path.read_text(), re.MULTILINE) if path.exists() else []


def workers(ancestor: int) -> list[int]:
    """The processes of the workers of a driver."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            names[int(folder.name)] = (folder / "cmdline").read_bytes()
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # ended meanwhile
    found = []
    for process, name in names.items():
        above = process
        while above in parents and above != ancestor:
            above = parents[above]
        if above == ancestor and name.startswith(b"ray::MapWorker"):
            found.append(process)
    return found
