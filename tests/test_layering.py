"""Imports point downward only, without circles, and the built-in families never import each other."""

from __future__ import annotations

import ast
import functools
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "hrkit"
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/hrkit_*/__init__.py"))

LAYERS = (
    ("errors", "profiling"),
    ("structures", "skeletons", "pose_spec", "geometry", "images", "files", "settings"),
    ("hookspecs", "registry"),
    ("ops", "drawing", "video", "weights", "runtimes", "synthetic", "warping"),
    ("backbones", "heads", "detectors", "datasets"),
    ("pose_model", "tracking"),
    ("pipeline",),
    ("evaluation", "extraction", "export"),
    ("training", "benchmark", "compat"),
    ("testing", "commands"),
    ("cli", "__main__"),
)
"""From the bottom up. A module imports from its own row or from rows below."""

RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}


@functools.cache
def _imports(package: Path) -> dict[str, set[str]]:
    """The modules of a package by dotted name, and which others each imports: in functions and for types too."""
    files = {".".join(path.relative_to(package.parent).with_suffix("").parts): path for path in package.rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    return {name: _imported(path, set(files)) - {name} for name, path in files.items()}


def _imported(path: Path, known: set[str]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= names or {str(node.module)}
    return found & known


def _rooms(modules: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same for the files and folders at the top of the package, without its own `__init__`."""
    room = {name: name.split(".")[1] for name in modules if "." in name}
    rooms: dict[str, set[str]] = {name: set() for name in room.values()}
    for name in room:
        rooms[room[name]] |= {room[other] for other in modules[name] if other in room} - {room[name]}
    return rooms


@pytest.fixture(scope="module")
def rooms() -> dict[str, set[str]]:
    return _rooms(_imports(PACKAGE))


def test_every_module_has_its_layer(rooms: dict[str, set[str]]) -> None:
    assert set(rooms) == set(RANK)


@pytest.mark.parametrize("room", RANK)
def test_imports_point_downward(rooms: dict[str, set[str]], room: str) -> None:
    assert [name for name in rooms[room] if RANK[name] > RANK[room]] == []


@pytest.mark.parametrize("package", [PACKAGE, *PLUGINS], ids=lambda package: package.name)
def test_there_is_no_circle(package: Path) -> None:
    """Among modules, and among rooms; an error names the modules of a circle."""
    modules = _imports(package)
    if package == PACKAGE:  # `import hrkit` loads no other module, see test_import.py
        modules = {name: others - {"hrkit"} for name, others in modules.items() if name != "hrkit"}
    graphlib.TopologicalSorter(modules).prepare()
    graphlib.TopologicalSorter(_rooms(modules)).prepare()


def test_swappable_families_never_import_each_other(rooms: dict[str, set[str]]) -> None:
    for family in ("backbones", "heads", "detectors", "datasets"):
        assert rooms[family].isdisjoint({"backbones", "heads", "detectors", "datasets"} - {family})


def test_the_registry_names_built_ins_by_strings_only(rooms: dict[str, set[str]]) -> None:
    assert rooms["registry"] == {"hookspecs", "errors"}
    assert rooms["hookspecs"] == set()


def test_no_drawer_for_odds_and_ends() -> None:
    names = {part for name in _imports(PACKAGE) for part in name.split(".")}
    assert names.isdisjoint({"utils", "util", "misc", "helpers", "common"})


def test_files_stay_small() -> None:
    long = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > 450} == {}
