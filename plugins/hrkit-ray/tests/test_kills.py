"""`hrkit extract --engine ray` writes the same files as one process, even if processes are killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from drivers import files, processes, recorded, start, wait

from hrkit.extraction import Job, extract_all
from hrkit.extraction.inputs import find_inputs
from hrkit.images import write_image
from hrkit.synthetic import paint_people
from painted import person

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc"), pytest.mark.slow]

PICTURES = 200
OPTIONS = ("--backbone", "synthetic", "--detector", "synthetic", "--weights", "none")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `PICTURES` small pictures, every tenth with a person."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        people = [person(10 + number % 40, 10, 30, 60)] if number % 10 == 9 else np.zeros((0, 17, 2))
        write_image(folder / f"{number % 5}" / f"{number:03d}.png", paint_people((90, 100), people))
    return folder


def test_each_input_gives_its_file_once(pictures: Path, tmp_path: Path, cluster: str, one_thread: None) -> None:
    found = find_inputs([pictures])
    model = {"backbone": "synthetic", "detector": "synthetic", "weights": None, "device": "cpu"}
    extract_all(found, Job(found.root, str(tmp_path / "alone"), "csv", model, {}))
    expected = files(tmp_path / "alone")
    assert len(expected) == PICTURES

    output = tmp_path / "output"
    options = ("--engine", "ray", "--address", cluster, *OPTIONS)
    driver = start(pictures, output, *options, "--workers", "1")
    wait(lambda: len(recorded(output)) > 0, driver)
    driver.kill()
    driver.communicate()
    before = set(recorded(output))
    assert 0 < len(before) < PICTURES
    wait(lambda: processes(os.getpid()) == [])

    driver = start(pictures, output, *options, "--workers", "2")
    made = len(files(output))
    wait(lambda: len(files(output)) > made, driver)  # a worker is in the middle of a task
    assert len(recorded(output)) < PICTURES
    for worker in processes(os.getpid()):
        os.kill(worker, signal.SIGKILL)
    printed, errors = driver.communicate()
    assert driver.returncode == 0, errors
    assert f"{PICTURES - len(before)} done, {len(before)} before" in printed

    assert files(output) == expected
    assert sorted(recorded(output)) == sorted(found.names), "each once"
    assert {path.name for path in output.iterdir()} == {*"01234", "meta.json", ".hrkit"}
    assert not [path for path in (output / ".hrkit").rglob("*") if path.suffix == ".csv" or path.parent.name == "begun"]
