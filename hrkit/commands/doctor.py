"""`hrkit doctor`: what is installed, and what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import click
import torch

from hrkit import __version__, registry
from hrkit.errors import TORCHVISION_MISFIT, PluginError, one_line, plugin_hint, shown
from hrkit.files import cache_dir
from hrkit.runtimes import choice
from hrkit.video.sinks import display_available

_OPTIONAL = ["pandas", "pyarrow", "supervision", "onnxruntime", "openvino"]

_STEPS = {
    "import torch": "import torch",
    "import hrkit": "import hrkit.pipeline, hrkit.testing.scenes",
    "build networks": "pipeline = hrkit.pipeline.Pipeline.from_names('lite')",
    "first photo": "pipeline.predict(hrkit.testing.scenes.PHOTO)",
    "next photo": "pipeline.predict(hrkit.testing.scenes.PHOTO)",
}
"""What a command does before its first result, as Python."""


@click.command("doctor", epilog="Example: hrkit doctor --time")
@click.option("--time", "timed", is_flag=True, help="Time the start of `lite` too, step by step.")
def command(timed: bool) -> None:
    """Shows packages, devices, compilers, cache and plugins, with advice on what would be slow or fail."""
    advice: list[str] = []
    for title, rows in (
        *([("start", _start(advice))] if timed else []),
        ("packages", _packages(advice)),
        ("devices", _devices(advice)),
        ("compilers", _compilers(advice)),
        ("cache", _cache(advice)),
        ("runtimes", _runtimes(advice)),
        ("plugins", _plugins(advice)),
    ):
        click.echo(title)
        for name, value in rows:
            click.echo(f"  {name:16} {value}")
    click.echo("advice" if advice else "no problems found")
    for line in advice:
        click.echo(f"  - {line}")


def _start(advice: list[str]) -> Iterator[tuple[str, str]]:
    marks = "".join(f"{step}\nmarks.append(time.perf_counter())\n" for step in _STEPS.values())
    script = f"import time\nmarks = [time.perf_counter()]\n{marks}print(*marks)"
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", errors="replace")
    whole = time.perf_counter() - begun
    if done.returncode:
        why = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        advice.append(f"the start cannot be timed: {shown(why[-1])}")
        return
    seconds = [after - before for before, after in itertools.pairwise(map(float, done.stdout.split()))]
    yield "Python itself", f"{whole - sum(seconds):.2f} s"
    for name, took in zip(_STEPS, seconds, strict=True):
        yield name, f"{took:.2f} s"


def _packages(advice: list[str]) -> Iterator[tuple[str, str]]:
    yield "hrkit-pose", __version__
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for package in _required(advice):
        version = _version(package)
        yield package, version or "not installed"
        if not version and not (package == "opencv-python" and importlib.util.find_spec("cv2")):
            advice.append(f"{package} is missing: pip install {package}")
    for package in _OPTIONAL:
        yield package, _version(package) or "not installed (optional)"
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):  # of operators that torch does not know
        advice.append(TORCHVISION_MISFIT)
    other = _version("hrkit")
    if other:
        advice.append(
            f"the distribution hrkit {other} is installed; on the package index that name is a human-resources "
            "application, and this library is hrkit-pose: pip uninstall hrkit, then reinstall hrkit-pose"
        )


def _required(advice: list[str]) -> list[str]:
    """The packages that every installation needs, as the metadata of hrkit-pose names them."""
    try:
        requirements = importlib.metadata.requires("hrkit-pose") or []
    except importlib.metadata.PackageNotFoundError:
        advice.append("hrkit-pose is used without being installed; in a clone: pip install -e .")
        return []
    return [re.split(r"[^\w.-]", requirement)[0] for requirement in requirements if ";" not in requirement]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices(advice: list[str]) -> Iterator[tuple[str, str]]:
    yield "cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    for index in range(torch.cuda.device_count()):
        yield f"cuda:{index}", torch.cuda.get_device_name(index)
    if torch.backends.mps.is_available():
        yield "mps", "available"
    elif not torch.cuda.is_available():
        advice.append("no GPU: large networks take tenths of a second per person; `lite` is made for this")
    yield "window", display_available() or "can be shown"


def _compilers(advice: list[str]) -> Iterator[tuple[str, str]]:
    names = ("cl",) if sys.platform == "win32" else ("c++", "g++", "clang++")
    found = [path for path in map(shutil.which, names) if path]
    yield "C++", found[0] if found else "none"
    yield "nvcc", shutil.which("nvcc") or "none"
    yield "ninja", shutil.which("ninja") or "none on PATH"
    if not found:
        advice.append("no C++ compiler: torch's own operators are used, which is fine")


def _cache(advice: list[str]) -> Iterator[tuple[str, str]]:
    folder = cache_dir()
    files = [path for path in folder.glob("*") if path.is_file()] if folder.is_dir() else []
    yield "folder", f"{folder} (HRKIT_HOME moves it)"
    yield "holds", f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.0f} MB"
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        advice.append(f"{nearest} is a file: set HRKIT_HOME to a folder")
    elif not os.access(nearest, os.W_OK):
        advice.append(f"{nearest} cannot be written: set HRKIT_HOME to a folder that can")


def _runtimes(advice: list[str]) -> Iterator[tuple[str, str]]:
    known = choice.rivals()
    fastest = f", or the fastest of fused, {', '.join(known)} (HRKIT_MEASURE=0 turns measuring off)" if known else ""
    yield "auto", f"fused{fastest}"
    for chosen in choice.remembered().values():
        yield chosen.network, str(chosen)
    if not known and os.environ.get("HRKIT_MEASURE") != "0":
        advice.append("networks may run twice as fast on this CPU with OpenVINO: pip install openvino")


def _plugins(advice: list[str]) -> Iterator[tuple[str, str]]:
    plugins = registry.plugins
    for name in plugins.names():
        if name in plugins.versions:
            yield name, plugins.versions[name]
    if not plugins.versions:
        yield "none", f"{plugin_hint('hrkit-lite')} brings small weights that work offline"
    for kind in registry.KINDS:  # failing hooks and clashes show only when names are asked for
        try:
            plugins.collect(kind)
        except PluginError as error:
            advice.append(one_line(error))
    advice += [f"plugin {name} is left out: {one_line(error)}" for name, error in plugins.failed.items()]
