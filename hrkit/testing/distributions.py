"""Writes a new plugin: a working distribution with a test."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import string
import tempfile
from pathlib import Path

from hrkit.errors import HrkitError
from hrkit.registry import Registry, plugins

TEMPLATES = Path(__file__).with_name("templates")
"""Files for every kind, and a folder per kind: `test.py` is its test, the other files are its package."""

USE = {
    "detector": "hrkit demo --image photo.jpg --detector $part",
    "backbone": "hrkit info $part",
    "head": "hrkit info hrnet_w32 --head $part",
    "decoder": "hrkit demo --image photo.jpg --decoder $part",
    "dataset": "hrkit browse --dataset $part:path/of/the/folder",
    "command": "hrkit $part photo.jpg",
}
"""The kinds that `write_distribution` knows, and a command that uses such a part."""

COMMAND_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_NAME = re.compile(r"[a-z0-9]|[a-z0-9][a-z0-9._-]*[a-z0-9]", re.IGNORECASE)  # PEP 508


def write_distribution(name: str, kind: str, parent: str | os.PathLike[str] = ".") -> Path:
    """Writes the distribution `name`, with one part of a kind of `USE`, to the folder `name` in `parent`.

    The part and the plugin are called `name` without "hrkit-". Returns the folder, which appears whole or not at all.
    Raises `HrkitError` if the name is invalid or taken, or the folder exists.
    """
    words = _words(name, kind)
    target = Path(parent) / name
    if os.path.lexists(target):
        raise HrkitError(f"{target} is there already; take another name or folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    package, test = Path(words["package"]), Path("tests") / f"test_{words['package']}.py"
    files = {Path(file.stem): file for file in TEMPLATES.glob("*.template")}
    for file in (TEMPLATES / kind).glob("*.template"):
        files[test if file.stem == "test.py" else package / file.stem] = file
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as scratch:
        for path, template in files.items():
            written = Path(scratch) / name / path
            written.parent.mkdir(parents=True, exist_ok=True)
            content = string.Template(template.read_text(encoding="utf-8")).substitute(words)
            written.write_text(content, encoding="utf-8")
        (Path(scratch) / name).replace(target)
    return target


def _words(name: str, kind: str) -> dict[str, str]:
    """The words that the templates leave open. Raises `HrkitError` for a name that cannot be used."""
    package = re.sub(r"[-_.]+", "_", name).lower()
    if not _NAME.fullmatch(name) or not package.isidentifier() or keyword.iskeyword(package):
        raise HrkitError(f"{name!r} is no name for a distribution; take letters, digits and dashes, a letter first")
    plugin = package.removeprefix("hrkit_")
    part = plugin.replace("_", "-") if kind == "command" else plugin
    no_command = kind == "command" and not COMMAND_NAME.fullmatch(part)
    no_detector = kind == "detector" and part == "none"  # `--detector none` asks for no detector
    for found, problem in (
        (importlib.util.find_spec(package) is not None, f"there is a module {package!r} already"),
        (no_command, f"{part!r} is no name for a command, which begins with a letter"),
        (no_detector, f"{part!r} is no name for a detector, as it stands for none"),
        (plugin in plugins.names(), f"there is a plugin {plugin!r} already"),
        (part in Registry(f"{kind}s"), f"there is a {kind} {part!r} already"),
    ):
        if found:
            raise HrkitError(f"{problem}; take another name than {name!r}")
    words = {"distribution": name, "kind": kind, "package": package, "plugin": plugin, "part": part}
    return {**words, "use": string.Template(USE[kind]).substitute(words)}
