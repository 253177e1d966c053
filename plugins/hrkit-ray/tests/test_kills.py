"""`hrkit extract --engine ray` comes to the files of one process, whoever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from drivers import files, recorded, start, wait, workers_of

from hrkit.bulk import Job, extract_all
from hrkit.images import write_image
from hrkit.inputs import find_inputs
from hrkit.synthetic import paint_people
from painted import person

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")

PICTURES = 200
OPTIONS = ("--backbone", "synthetic", "--detector", "synthetic", "--weights", "none")


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
    driver = start(pictures, output, *OPTIONS, workers=2)
    wait(driver, lambda: len(recorded(output)) > 0)
    driver.kill()
    driver.wait()
    before = set(recorded(output))
    assert 0 < len(before) < PICTURES

    driver = start(pictures, output, *OPTIONS, workers=2)
    made = len(files(output))
    wait(driver, lambda: len(files(output)) > made and len(workers_of(driver)) == 2)
    killed = workers_of(driver)
    os.kill(killed[0], signal.SIGKILL)
    wait(driver, lambda: len(set(workers_of(driver)) - set(killed)) == 1)
    printed, errors = driver.communicate()
    assert driver.returncode == 0, errors
    assert f"{PICTURES - len(before)} done, {len(before)} before" in printed

    assert files(output) == expected
    assert sorted(recorded(output)) == sorted(found.names), "each once"
    assert {path.name for path in output.iterdir()} == {*"01234", "meta.json", ".hrkit"}
    assert not list((output / ".hrkit").rglob("*.csv"))
