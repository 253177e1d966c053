"""Runs of `hrkit extract --engine` in processes of their own, to be watched and killed; on Linux."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hrkit.manifest import manifest_path

PROGRAM = """
import hrkit_ray
from hrkit import registry
from hrkit.cli import main
if "ray" not in registry.plugins.names():
    registry.plugins.register(hrkit_ray, "ray")
main()
"""


def start(
    pictures: Path, output: Path, *options: str, workers: int | None = None, threads: int | None = None
) -> subprocess.Popen[str]:
    """Begins, or goes on with, the extraction of `pictures`: by workers of Ray, or in one process of `threads`."""
    engine = ("--engine", "local") if workers is None else ("--engine", "ray", "--workers", str(workers))
    variables = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        **({} if threads is None else {"OMP_NUM_THREADS": str(threads)}),
    }
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            PROGRAM,
            "extract",
            *engine,
            "--device",
            "cpu",
            *options,
            str(pictures),
            "-o",
            str(output),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
    )


def wait(driver: subprocess.Popen[str], condition: Callable[[], bool], seconds: float = 900) -> None:
    """Until the condition holds; fails when the driver ends before, or so much time has passed."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def files(output: Path) -> dict[str, bytes]:
    """The files of keypoints."""
    return {str(path.relative_to(output)): path.read_bytes() for path in output.glob("*/*.csv")}


def recorded(output: Path) -> list[str]:
    """The inputs in the manifest, as far as its lines are whole."""
    path = manifest_path(output)
    return re.findall(r'^\{"input":"([^"]+)".*\}\n', path.read_text(), re.MULTILINE) if path.exists() else []


def workers_of(driver: subprocess.Popen[str]) -> list[int]:
    """The processes of the workers of a driver."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            names[int(folder.name)] = (folder / "cmdline").read_bytes()
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # ended meanwhile
    return [
        process
        for process, name in names.items()
        if name.startswith(b"ray::MapWorker") and _descends(process, driver.pid, parents)
    ]


def _descends(process: int, ancestor: int, parents: dict[int, int]) -> bool:
    while process in parents and process != ancestor:
        process = parents[process]
    return process == ancestor
