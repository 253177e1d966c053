"""The packages ask for nothing that Windows lacks, and every file of the repository can have its name there."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = [ROOT / "hrkit", *sorted(ROOT.glob("plugins/*/hrkit_*"))]
FILES = sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))

GUARDS = re.compile(r"hasattr|os\.name|sys\.platform|contextlib\.suppress|except (ImportError|OSError)")
"""What the lines around a statement have that works without it too."""
MISSING = {
    "os": {"fork", "forkpty", "getuid", "geteuid", "killpg", "mkfifo", "nice", "setsid", "sysconf", "uname"},
    "signal": {"SIGALRM", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2", "alarm", "pause"},
    "time": {"tzset"},
}
"""What these modules lack there."""
POSIX_ONLY = {"fcntl", "grp", "pwd", "resource", "termios", "tty"}
ASKS = {"rename": "fails if the target is there; use replace", "symlink_to": "needs a privilege", "symlink": "too"}
"""Methods with one argument."""
TEXT = {"open", "read_text", "write_text", "fdopen", "NamedTemporaryFile", "TextIOWrapper"}
"""Calls that read or write text in the machine's own encoding, unless they name one or their mode is binary."""
RESERVED = re.compile(r'(con|prn|aux|nul|com\d|lpt\d)(\.|$)|[<>:"|?*\\\x00-\x1f]|[. ]$', re.IGNORECASE)


def faults(source: str) -> Iterator[str]:
    """What a module asks for that is missing on Windows, with its line."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        for fault in _of(node):
            line = node.lineno  # type: ignore[attr-defined]
            if not GUARDS.search("\n".join(lines[max(0, line - 8) : line + 4])):
                yield f"line {line}: {fault}"


def _of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (f"import {name.name}" for name in node.names if name.name in POSIX_ONLY)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.attr in MISSING.get(node.value.id, ()):
            yield f"{node.value.id}.{node.attr}"
    elif isinstance(node, ast.Call):
        yield from _of_call(node)


def _of_call(call: ast.Call) -> Iterator[str]:
    function, named = ast.unparse(call.func), {keyword.arg for keyword in call.keywords}
    name, arguments = function.rpartition(".")[2], ast.unparse([*call.args, *(one.value for one in call.keywords)])
    if name in ASKS and "." in function and len(call.args) == 1 and not named:
        yield f"{name} {ASKS[name]}"
    owns = name in ("open", "fdopen", "NamedTemporaryFile") or "." in function
    elsewhere = re.match(r"(PIL|PIL\.Image|Image|av|os|zipfile|gzip|webbrowser)\.open$", function)
    binary = re.search(r"'[rwax+]*b[rwax+]*'", arguments) or (name == "NamedTemporaryFile" and "'w" not in arguments)
    if name in TEXT and owns and not (elsewhere or binary or {"encoding", None} & named):
        yield f"{name} without an encoding"
    if "text" in named and "encoding" not in named and name in ("run", "Popen", "check_output"):
        yield f"{name} of text without an encoding"
    if "preexec_fn" in named or (name in ("get_context", "set_start_method") and "'fork'" in arguments):
        yield "a process that is forked"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_asks_for_nothing_that_windows_lacks(path: Path) -> None:
    assert list(faults(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("import fcntl", "import fcntl"),
        ("os.kill(1, signal.SIGKILL)", "signal.SIGKILL"),
        ("os.fork()", "os.fork"),
        ("Path(a).rename(b)", "rename"),
        ("os.symlink(a)", "symlink"),
        ("open(name)", "open without an encoding"),
        ("path.open('w')", "open without an encoding"),
        ("path.write_text(text)", "write_text without an encoding"),
        ("subprocess.run(words, text=True)", "run of text"),
        ("get_context('fork')", "forked"),
    ],
)
def test_what_windows_lacks_is_found(line: str, fault: str) -> None:
    (found,) = faults(line)
    assert fault in found
    assert list(faults(f"if os.name == 'posix':\n    {line}")) == []


def test_names_of_files_are_names_on_windows() -> None:
    known = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, encoding="utf-8")
    if known.returncode or not known.stdout:
        pytest.skip("this is no clone")
    entries = [line.split(None, 3) for line in known.stdout.splitlines()]
    assert [name for mode, _, _, name in entries if mode == "120000"] == [], "links"
    assert [name for *_, name in entries if any(map(RESERVED.search, name.split("/")))] == []
    assert [name for *_, name in entries if len(name) > 120] == [], "longer with a folder before it than 260 letters"
    same = Counter(name.lower() for *_, name in entries)
    assert [name for name, count in same.items() if count > 1] == [], "alike but for capital letters"
