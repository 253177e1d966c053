"""Gives the distributions the address of their repository: `python release/addresses.py https://host/owner/name`.

A package index shows READMEs outside of the repository, so their links become absolute, at the tag of the version, and
each pyproject.toml gets its URLs. The release workflow runs this before it builds; what it writes is not committed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z+]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


def projects(root: Path) -> list[Path]:
    """The folders of all distributions."""
    return [root, *sorted(path.parent for path in root.glob("plugins/*/pyproject.toml"))]


def absolute(text: str, folder: Path, root: Path, address: str, tag: str) -> str:
    """A page of `folder` whose links lead to files at `tag`. Raises `FileNotFoundError` for a link to nothing."""

    def there(link: re.Match[str]) -> str:
        picture, words, path, anchor = link.groups(default="")
        file = (folder / path).resolve()
        if not file.exists():
            raise FileNotFoundError(f"{folder / 'README.md'} leads to {path}, which is not there")
        kind = "raw" if picture else "tree" if file.is_dir() else "blob"
        place = file.relative_to(root.resolve()).as_posix()
        return f"{picture}[{words}]({address}/{kind}/{tag}/{place}{anchor})"

    return LINK.sub(there, text)


def urls(address: str, tag: str) -> str:
    """The table of URLs for a pyproject.toml."""
    pages = {
        "Homepage": address,
        "Documentation": f"{address}/blob/{tag}/docs/index.md",
        "Changelog": f"{address}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }
    return "\n[project.urls]\n" + "".join(f'{name} = "{page}"\n' for name, page in pages.items())


def main(root: Path, address: str) -> None:
    """Writes the READMEs and the settings of all distributions in `root`."""
    address = address.rstrip("/")
    found = VERSION.search((root / "hrkit" / "__init__.py").read_text(encoding="utf-8"))
    assert found, "hrkit/__init__.py has no __version__"
    tag = f"v{found[1]}"
    for folder in projects(root):
        page, settings = folder / "README.md", folder / "pyproject.toml"
        page.write_text(absolute(page.read_text(encoding="utf-8"), folder, root, address, tag), encoding="utf-8")
        if "[project.urls]" not in settings.read_text(encoding="utf-8"):
            settings.write_text(settings.read_text(encoding="utf-8") + urls(address, tag), encoding="utf-8")


if __name__ == "__main__":
    main(Path(__file__).resolve().parents[1], sys.argv[1])
