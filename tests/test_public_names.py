"""The names that people rely on, in public_names.txt: each can be imported, and the documentation shows no other."""

from __future__ import annotations

import ast
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hrkit
from documented import PAGES, blocks, code_words, name_of, prose

NAMES = Path(__file__).with_name("public_names.txt").read_text(encoding="utf-8").splitlines()


def documented_names(page: Path) -> Iterator[str]:
    """The names of hrkit that a page describes, imports in its code or mentions."""
    yield from re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    yield from (word for word in code_words(prose(page)) if re.fullmatch(r"hrkit(\.[A-Za-z_]\w*)+", word))
    for block in blocks(page):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.content)):
            if isinstance(node, ast.ImportFrom) and re.match(r"hrkit\b", node.module or ""):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name.startswith("hrkit."))


def test_the_list_is_sorted_and_names_nothing_twice() -> None:
    assert sorted(set(NAMES)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_name_can_be_imported(name: str) -> None:
    pkgutil.resolve_name(name)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_documentation_shows_no_other(page: Path) -> None:
    """A page may use any path to something that the list names."""
    public = [pkgutil.resolve_name(name) for name in NAMES]
    others = {name for name in documented_names(page) if not any(pkgutil.resolve_name(name) is it for it in public)}
    assert others == set()


def test_what_the_package_exports_is_in_the_list() -> None:
    assert {f"hrkit.{name}" for name in hrkit.__all__} <= set(NAMES)


def test_documented_names_are_found() -> None:
    found = {name for page in PAGES for name in documented_names(page)}
    assert {"hrkit.Pipeline", "hrkit.structures.Poses", "hrkit.registry.plugins"} <= found
