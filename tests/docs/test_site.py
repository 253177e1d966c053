"""The site of the documentation builds and is complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import hrkit
from documented import ROOT


class _Page(HTMLParser):
    """The links of a built page, the files that it loads, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.anchors |= {str(given[name]) for name in ("id", "name") if given.get(name)}
        self.links += [str(given["href"])] if tag == "a" and given.get("href") else []
        self.loads += [str(given["src"])] if tag in ("img", "script", "iframe") and given.get("src") else []
        self.loads += [str(given["href"])] if tag == "link" and given.get("href") else []


@pytest.mark.slow
def test_the_site_is_complete(tmp_path: Path) -> None:
    """After `mkdocs build --strict`, every link and anchor has a target, and nothing is loaded from other sites."""
    for package in ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers.python"):
        pytest.importorskip(package, reason="the site needs hrkit-pose[docs]")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(tmp_path.rglob("*.html"))}
    del pages[tmp_path / "404.html"]  # its links depend on where it is shown
    assert len(pages) >= 20
    for path, page in pages.items():
        assert [address for address in page.loads if urlsplit(address).netloc] == [], path
        for address in page.loads + page.links:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.relative_to(tmp_path)}: {address}"
            if target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path.relative_to(tmp_path)}: {address}"
    reference = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("api/**/*.html"))
    for name in set(hrkit.__all__) - {"__version__", "hookimpl"}:
        assert re.search(rf'id="hrkit\.[a-z_.]*\b{name}"', reference), f"{name} is not in the reference"


