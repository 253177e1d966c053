"""`hrkit plugins new`: what it writes works, and passes its own test."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hrkit.cli import main
from hrkit.commands.plugins import KINDS
from hrkit.errors import HrkitError
from hrkit.testing import distributions
from hrkit.testing.distributions import USE, write_distribution

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


def seem_installed(folder: Path, site: Path) -> None:
    """Leaves in `site` what `pip install -e folder` would, but for the path to it."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    said = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(said)
    points = [f"{name} = {value}" for name, value in project["entry-points"]["hrkit"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[hrkit]", *points, ""]))


@pytest.mark.slow
def test_every_kind_passes_its_own_test(tmp_path: Path) -> None:
    assert set(KINDS) == set(USE)
    site = tmp_path / "site"
    site.mkdir()
    folders = [write_distribution(f"hrkit-made-{kind}", kind, tmp_path) for kind in KINDS]
    for folder in folders:
        seem_installed(folder, site)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, [ROOT, site, *folders])),
        "HRKIT_PLUGINS": ",".join(f"made_{kind}" for kind in KINDS),
        "OMP_NUM_THREADS": "1",
    }
    options = ["-p", "no:cacheprovider", "--import-mode=importlib", "-rA", "-q", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(str(folder / "tests") for folder in folders)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in KINDS:
        assert f"test_hrkit_made_{kind}.py::test_what_is_installed_keeps_the_contract" in done.stdout


def test_what_is_written(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["plugins", "new", "hrkit-made", "--kind", "backbone", "--output", str(tmp_path)])
    assert made.exit_code == 0, made.output
    folder = tmp_path / "hrkit-made"
    assert made.output.startswith(f"written: {folder}\n")
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "README.md",
        "hrkit_made/__init__.py",
        "hrkit_made/network.py",
        "pyproject.toml",
        "tests/test_hrkit_made.py",
    ]
    assert "hrkit info made\n" in (folder / "README.md").read_text()
    assert not any("$" in path.read_text() for path in folder.rglob("*") if path.is_file())
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("my plugin", "detector", "no name for a distribution"),
        ("../hrkit-mine", "detector", "no name for a distribution"),
        ("-mine", "detector", "no name for a distribution"),
        ("3d", "detector", "no name for a distribution"),
        ("class", "detector", "no name for a distribution"),
        ("", "detector", "no name for a distribution"),
        ("torch", "detector", "there is a module 'torch' already"),
        ("hrkit", "detector", "there is a module 'hrkit' already"),
        ("hrkit-synthetic", "head", "there is a head 'synthetic' already"),
        ("hrkit-3d", "command", "'3d' is no name for a command, which begins with a letter"),
        ("hrkit-none", "detector", "'none' is no name for a detector"),
        ("hrkit-build-ops", "command", "there is a command 'build-ops' already"),
    ],
)
def test_names_that_cannot_be(name: str, kind: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(HrkitError, match=why):
        write_distribution(name, kind, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_to_type_next_is_quoted(tmp_path: Path) -> None:
    place = tmp_path / "my plugins"
    made = CliRunner().invoke(main, ["plugins", "new", "hrkit-made", "--kind", "head", "--output", str(place)])
    words = shlex.split(made.output.splitlines()[1])
    assert words[1:5] == ["pip", "install", "-e", str(place / "hrkit-made")]
    assert words[-2:] == ["pytest", str(place / "hrkit-made")]


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "hrkit-made").mkdir()
    (tmp_path / "hrkit-made" / "mine.txt").write_text("mine")
    made = CliRunner().invoke(main, ["plugins", "new", "hrkit-made", "--kind", "head", "--output", str(tmp_path)])
    assert made.exit_code == 2
    assert "is there already; take another name or folder" in made.stderr
    assert [path.name for path in (tmp_path / "hrkit-made").iterdir()] == ["mine.txt"]


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(distributions.string.Template, "substitute", full)
    monkeypatch.setattr(distributions, "_words", lambda *_: {"package": "hrkit_made"})
    with pytest.raises(OSError, match="No space"):
        write_distribution("hrkit-made", "detector", tmp_path)
    assert list(tmp_path.iterdir()) == []
