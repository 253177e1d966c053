"""Measures costs and speed of the engine, and checks that killing it loses nothing: `python tools/measure.py PART`.

- `speed`: small photographs per second with the networks of hrkit-lite, for one process without Ray, one worker and
  several.
- `kill`: the same with the driver and a worker killed. The files are compared with those of one process.
- `stubs`: the cost per input if nothing is done with it, and the driver's memory.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from attrs import frozen
from drivers import files, processes, recorded, start, wait
from hrkit_ray import keep_to_itself

import hrkit
from hrkit.extraction import Job, Progress, extract_all
from hrkit.extraction.inputs import Inputs, find_inputs
from hrkit.extraction.manifest import Manifest, Result, manifest_path
from hrkit.images import read_image, write_image

PHOTO = Path(hrkit.__file__).with_name("assets") / "basketball.jpg"
MODEL = {"backbone": "lite", "detector": "lite_person", "device": "cpu"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("speed", "kill", "stubs"))
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--stubs", type=int, default=100_000, help="number of inputs for `stubs`")
    parser.add_argument("--ending", default="jpg", help="their suffix: jpg, 64 per task, or mp4, one per task")
    options = parser.parse_args()
    keep_to_itself(None)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if options.part == "stubs":
            stubs(work / "stubs", options.stubs, options.ending, options.workers)
            return
        make_pictures(work / "pictures", options.pictures)
        if options.part == "kill":
            kill(work / "pictures", work / "killed", options.workers)
            start(work / "pictures", work / "alone", "--engine", "local").communicate()
            compare(work / "alone", work / "killed")
            return
        found = find_inputs([work / "pictures"])
        for workers in (None, 1, options.workers):
            name, engine = ("one process", "local") if workers is None else (f"ray, workers: {workers}", "ray")
            job = Job(found.root, str(work / name), "csv", MODEL, {})
            print(f"{name}: {speed(found, job, engine, {} if workers is None else {'workers': workers})}", flush=True)


def make_pictures(folder: Path, count: int) -> None:
    """Writes crops of a photo, 320x240, to ten folders."""
    photo, random = read_image(PHOTO), np.random.default_rng(0)
    for number in range(count):
        side = random.uniform(0.5, 1.0)
        height, width = (int(side * size) for size in photo.shape[:2])
        top, left = (
            random.integers(0, whole - part + 1) for whole, part in zip(photo.shape[:2], (height, width), strict=True)
        )
        cutout = cv2.resize(photo[top : top + height, left : left + width], (320, 240), interpolation=cv2.INTER_AREA)
        write_image(folder / f"{number % 10}" / f"{number:04d}.jpg", np.asarray(cutout, np.uint8))


def speed(found: Inputs, job: Job, engine: str, options: Mapping[str, Any]) -> str:
    """Runs the engine and describes its speed, measured from the first result on."""
    from hrkit_ray import engine as tasks

    tasks.PICTURES_A_TASK = 8  # the results of a task arrive together
    times: list[float] = []
    began = time.perf_counter()
    extract_all(found, job, engine=engine, progress=lambda _: times.append(time.perf_counter()), **options)
    ended = time.perf_counter()
    first = sum(moment - times[1] < 0.05 for moment in times[1:])  # results of the first task
    rate = (len(found.names) - first) / (times[-1] - times[1])
    start = f"{times[1] - began:.1f} s to the first result"
    return f"{rate:.1f} pictures per second after {start}; {ended - began:.1f} s in total"


def kill(pictures: Path, output: Path, workers: int) -> None:
    """Kills the driver of a run, then a worker of the run that resumes it."""
    options = ("--engine", "ray", "--workers", str(workers))
    driver = start(pictures, output, *options)
    wait(lambda: len(recorded(output)) > 0, driver)
    its_own = processes(driver.pid, "")
    driver.kill()
    driver.communicate()
    killed = time.perf_counter()
    print(f"driver killed with {len(recorded(output))} done")
    wait(lambda: not any(Path("/proc", str(process)).exists() for process in its_own))
    print(f"the last of its {len(its_own)} processes ended {time.perf_counter() - killed:.1f} s later")
    driver = start(pictures, output, *options)
    made = len(files(output))
    wait(lambda: len(files(output)) > made and len(processes(driver.pid)) > 0, driver)
    os.kill(processes(driver.pid)[0], signal.SIGKILL)
    print(f"worker killed with {len(recorded(output))} done, {len(files(output))} files there")
    printed, errors = driver.communicate()
    assert driver.returncode == 0, errors
    print(f"resumed: {printed.strip()}", flush=True)


def compare(expected: Path, made: Path) -> None:
    """Compares two folders of keypoint files."""
    names = sorted(str(path.relative_to(expected)) for path in expected.glob("*/*.csv"))
    assert names == sorted(str(path.relative_to(made)) for path in made.glob("*/*.csv"))
    same, largest = 0, 0.0
    for name in names:
        ours, theirs = ((folder / name).read_text() for folder in (expected, made))
        same += ours == theirs
        rows, others = (list(csv.reader(text.splitlines()[1:])) for text in (ours, theirs))
        assert len(rows) == len(others), name
        values = [np.array([[float(v or "nan") for v in row] for row in table]) for table in (rows, others)]
        if rows:
            largest = max(largest, float(np.nanmax(np.abs(values[0] - values[1]))))
    print(f"{len(names)} files, each once; {same} have the same bytes, no number differs by more than {largest:.3g}")
    assert not list(made.rglob("*.part.jsonl"))
    assert not list(made.rglob(".*.csv"))


@frozen
class Stub(Job):
    """A job that does nothing."""

    def load(self) -> Any:
        return nothing


def nothing(names: Iterable[str]) -> Iterator[Result]:
    return (Result(name, frames=1, people=1) for name in names)


def stubs(output: Path, count: int, ending: str, workers: int) -> None:
    """Measures the cost of the engine, the manifest and the list of inputs."""
    before = _memory()
    names = [f"{number // 1000:04d}/{number:08d}.{ending}" for number in range(count)]
    listed = _memory()
    job = Stub("/nowhere", str(output), "csv", MODEL, {})
    times: list[float] = []

    def note(progress: Progress) -> None:
        if progress.done in (1, count):
            times.append(time.perf_counter())

    began, spent = time.perf_counter(), time.process_time()
    extract_all(Inputs("/nowhere", names), job, engine="ray", workers=workers, progress=note)
    spent = time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    path = manifest_path(output)
    print(
        f"{count} {ending} stubs: {1e3 * (times[-1] - times[0]) / count:.3f} ms each after "
        f"{times[0] - began:.1f} s, {1e3 * spent / count:.3f} ms of the driver's CPU time; memory of the driver "
        f"{before:.0f} MiB before, {listed:.0f} with the list, {peak:.0f} at peak; "
        f"manifest {path.stat().st_size / 2**20:.1f} MiB",
        flush=True,
    )
    began = time.perf_counter()
    manifest = Manifest(output, job.settings)
    assert len(manifest.done) == count
    print(f"reading the manifest takes {time.perf_counter() - began:.1f} s")


def _memory() -> float:
    """Resident memory of this process in MiB, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
