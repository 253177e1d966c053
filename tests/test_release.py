"""What a package index and a repository's server read about hrkit is whole and agrees."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import hrkit
from documented import load_script

tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11 to read TOML")
yaml = pytest.importorskip("yaml", reason="comes with mkdocs")

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
ADDRESS = "https://example.org/owner/hrkit"


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name if folder != ROOT else "hrkit-pose")
def test_a_distribution_describes_itself(folder: Path) -> None:
    said, own = project(folder), project(ROOT)
    for name in ("requires-python", "license", "authors", "classifiers"):
        assert said[name] == own[name], name
    assert len(said["keywords"]) >= 4
    assert said["license-files"]
    for file in (*said["license-files"], said["readme"]):
        assert (folder / file).is_file()
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert all(">=" in wanted for wanted in said["dependencies"])
    rooms = {path.parent.name for path in folder.glob("*/*.*") if path.parent.name in ("tests", "tools", "training")}
    grafted = re.findall(r"^graft (\w+)$", (folder / "MANIFEST.in").read_text(encoding="utf-8"), re.MULTILINE)
    assert rooms <= set(grafted), "what is not grafted is missing in the source distribution"


@pytest.mark.skipif("urls" in project(ROOT), reason="this is a released source distribution")
def test_readmes_and_urls_have_the_address_of_the_repository(tmp_path: Path) -> None:
    unread = ("*.safetensors", "tests", "__pycache__", "*.egg-info")
    for name in ("docs", "plugins"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns(*unread))
    for file in (*ROOT.glob("*.*"), ROOT / "LICENSE", ROOT / "NOTICE", ROOT / "hrkit" / "__init__.py"):
        (tmp_path / file.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        if file.is_file():
            shutil.copy(file, tmp_path / file.relative_to(ROOT))
    release = load_script("addresses", ROOT / "release")
    for _ in range(2):  # the second time changes nothing
        release.main(tmp_path, f"{ADDRESS}/")
    for folder in release.projects(tmp_path):
        page = (folder / "README.md").read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)]+)\)", re.sub(r"```.*?```", "", page, flags=re.DOTALL))
        assert [link for link in links if not re.match(r"https?://|#", link)] == []
        assert project(folder)["urls"]["Homepage"] == ADDRESS
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"]({ADDRESS}/raw/v{hrkit.__version__}/docs/images/poses.jpg)" in page
    assert f"]({ADDRESS}/blob/v{hrkit.__version__}/docs/inference.md#which-networks)" in page
    with pytest.raises(FileNotFoundError, match="nowhere"):
        release.absolute("[a](nowhere.md)", tmp_path, tmp_path, ADDRESS, "v1")


def test_the_citation_and_the_changelog_name_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {citation["version"], *(project(folder)["version"] for folder in FOLDERS[1:])} == {hrkit.__version__}
    for folder in FOLDERS[1:]:
        core = next(Requirement(text) for text in project(folder)["dependencies"] if text.startswith("hrkit-pose"))
        assert hrkit.__version__ in core.specifier, folder.name
    assert citation["license"] == project(ROOT)["license"]
    assert citation["authors"] == project(ROOT)["authors"]
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"


def test_workflows_and_templates_are_read() -> None:
    files = [*ROOT.glob(".github/**/*.yml")]
    if not files:
        pytest.skip("this is no clone")
    contents = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in files}
    assert {"bug", "ci", "config", "idea", "release"} <= set(contents)
    publish = contents["release"]["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}, "trusted publishing needs no secret"
    for name in ("ci", "release"):
        assert contents[name]["permissions"] == {"contents": "read"}
        for job in contents[name]["jobs"].values():
            uses = [step["uses"] for step in job.get("steps", ()) if "uses" in step]
            assert all("@" in action for action in uses)
            assert job.get("uses", "./.github/workflows/ci.yml") == "./.github/workflows/ci.yml"
