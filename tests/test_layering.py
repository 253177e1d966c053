"""Imports point downward only, and the built-in families never import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "hrkit"

LAYERS = (
    ("errors", "profiling"),
    ("structures", "skeletons", "geometry", "images", "files", "arrays", "notebooks"),
    ("hookspecs", "registry"),
    ("ops", "drawing", "video", "weights", "runtimes", "distributed", "synthetic", "warping"),
    ("backbones", "heads", "detectors", "datasets"),
    ("pose_model", "bottom_up", "tracking"),
    ("pipeline",),
    ("evaluation", "extraction", "export"),
    ("training", "benchmark", "compat"),
    ("testing", "commands"),
    ("cli", "__main__"),
)
"""From the bottom up. A module imports from its own row or from rows below."""

RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}
MODULES = sorted(PACKAGE.rglob("*.py"))


def _family(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def _imports(path: Path) -> Iterator[str]:
    """The families of hrkit that a module imports anywhere, apart from those for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and isinstance(branch.test, ast.Name) and branch.test.id == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "hrkit":
            yield from (alias.name for alias in node.names if not alias.name.startswith("__"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hrkit."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("hrkit."))


def test_every_module_has_its_layer() -> None:
    families = {_family(path) for path in MODULES} - {"__init__"}
    assert families == set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path: Path) -> None:
    own = _family(path)
    if own == "__init__":
        assert set(_imports(path)) == set()
        return
    wrong = [name for name in _imports(path) if name != own and RANK[name] > RANK[own]]
    assert wrong == []


def test_the_registry_names_built_ins_by_strings_only() -> None:
    assert set(_imports(PACKAGE / "registry.py")) == {"hookspecs", "errors"}


def test_no_drawer_for_odds_and_ends() -> None:
    names = {part for path in MODULES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert names.isdisjoint({"utils", "util", "misc", "helpers", "common"})


def test_files_stay_small() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > 450} == {}
