"""The documentation: where its pages and scripts are, and what a page holds: blocks of code, commands, words."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
from attrs import frozen

from hrkit import registry

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("plugins/*/README.md"))]
RUN = [ROOT / "README.md", *sorted(set(DOCS.rglob("*.md")) - {DOCS / "plugins.md"})]
"""Pages whose blocks are run; docs/plugins.md has tests of its own, in test_plugin_guide.py."""
PHOTO = ROOT / "hrkit" / "assets" / "basketball.jpg"

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n)?^```(?P<language>\w*)\n(?P<content>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_COMMAND = re.compile(r"(?P<environment>(?:[A-Z_]+=\S* )*)(?:\.venv/bin/)?hrkit (?P<words>.+)")


@frozen
class Block:
    """A block of code. Blocks of Python and shell are run, unless a comment before them says why not."""

    language: str
    content: str
    reason: str | None
    """Of `<!-- not run: REASON -->` in the line before."""

    @property
    def file(self) -> str | None:
        """The name in the first line, as `# planes/planes.toml`, of what is a file."""
        found = re.match(r"# (\S+\.\w+)\n", self.content)
        return found[1] if found else None

    def commands(self) -> list[Command]:
        """Of a shell block, the lines that call hrkit."""
        return list(commands(self.content)) if self.language == "sh" else []


@frozen
class Command:
    """A call of hrkit: its words, and what is set before it."""

    words: tuple[str, ...]
    environment: dict[str, str]

    def mistake(self) -> str | None:
        """What click says is wrong with it; files need not be there."""
        if self.words[0].startswith("-"):
            return None
        entry = registry.commands.entries().get(self.words[0])
        if entry is None:
            return f"there is no command {self.words[0]!r}"
        command, name, words = entry.value, self.words[0], list(self.words[1:])
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            name = words.pop(0)
            command = command.commands[name]
        try:
            command.make_context(name, words)
        except click.UsageError as error:
            message = error.format_message()
            return None if "does not exist" in message else message
        return None


def commands(text: str) -> Iterator[Command]:
    """The lines of a text that call hrkit."""
    for line in text.replace("\\\n", " ").splitlines():
        found = _COMMAND.fullmatch(line.strip())
        if found:
            environment = dict(pair.split("=", 1) for pair in found["environment"].split())
            yield Command(tuple(shlex.split(found["words"], comments=True)), environment)


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(one["language"], one["content"], one["reason"]) for one in found]


def prose(page: Path) -> str:
    """A page without its blocks."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def code_words(text: str) -> list[str]:
    """What stands in code's type in a text."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def name_of(page: Path) -> str:
    """A page, from the project's folder on."""
    return str(page.relative_to(ROOT))


def load_script(name: str) -> ModuleType:
    """A script in docs/, by its name without ending."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
