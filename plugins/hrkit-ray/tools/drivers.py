"""Runs `hrkit extract --engine` in separate processes that can be watched and killed. Linux only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hrkit.extraction.manifest import manifest_path

PROGRAM = """
import hrkit_ray
from hrkit import registry
from hrkit.cli import main
if "ray" not in registry.plugins.names():
    registry.plugins.register(hrkit_ray, "ray")
main()
"""


def start(pictures: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    """Starts or resumes the extraction of `pictures`."""
    command = [sys.executable, "-c", PROGRAM, "extract", "--device", "cpu", *options, str(pictures), "-o", str(output)]
    pipe, path = subprocess.PIPE, os.pathsep.join(sys.path)
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=os.environ | {"PYTHONPATH": path})


def wait(condition: Callable[[], bool], driver: subprocess.Popen[str] | None = None, seconds: float = 600) -> None:
    """Waits until `condition` holds. Fails if the driver ends first or after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert driver is None or driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def files(output: Path) -> dict[str, bytes]:
    """The keypoint files by name."""
    return {str(path.relative_to(output)): path.read_bytes() for path in output.glob("*/*.csv")}


def recorded(output: Path) -> list[str]:
    """The inputs in the manifest's complete lines."""
    path = manifest_path(output)
    return re.findall(r'^\{"input":"([^"]+)".*\}\n', path.read_text(), re.MULTILINE) if path.exists() else []


def processes(ancestor: int, name: str = "ray::MapWorker") -> list[int]:
    """The processes below `ancestor` with this name: workers by default."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            names[int(folder.name)] = (folder / "cmdline").read_bytes()
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # ended meanwhile
    return [
        process for process, command in names.items() if name.encode() in command and _below(process, ancestor, parents)
    ]


def _below(process: int, ancestor: int, parents: dict[int, int]) -> bool:
    while process in parents and process != ancestor:
        process = parents[process]
    return process == ancestor
