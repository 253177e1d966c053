"""What is built has everything it needs: files, and requirements that no other project's package answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--isolated"]
PLUGINS = sorted(path.name for path in (ROOT / "plugins").iterdir())
BUILT = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of hrkit and its plugins, copied so that nothing is built among the sources."""
    pytest.importorskip("setuptools", reason="needs setuptools to build")
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "hrkit", folder / "hrkit", ignore=BUILT)
    shutil.copytree(ROOT / "plugins", folder / "plugins", ignore=BUILT)
    return [folder, *(folder / "plugins" / name for name in PLUGINS)]


@pytest.fixture(scope="module")
def wheels(sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of hrkit and its plugins, by distribution."""
    target = tmp_path_factory.mktemp("wheels")
    _build("wheel", sources, target)
    return {path.name.split("-")[0].replace("_", "-"): path for path in target.glob("*.whl")}


def test_it_holds_all_code_and_data(wheels: dict[str, Path]) -> None:
    inside = {name for name in zipfile.ZipFile(wheels["hrkit-pose"]).namelist() if name.startswith("hrkit/")}
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "hrkit").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"hrkit/py.typed", "hrkit/detectors/cfg/yolov3.cfg", "hrkit/assets/oath.jpg"} <= inside
    assert inside == there


def test_installed_alone_it_works(wheels: dict[str, Path], tmp_path: Path) -> None:
    install = [*PIP, "install", "--no-deps", "--no-compile", "--target", str(tmp_path)]
    subprocess.run([*install, str(wheels["hrkit-pose"])], check=True)
    code = (
        "import hrkit, sys; assert sys.argv[1] in hrkit.__file__; from hrkit import Pipeline, create_detector;"
        "from hrkit.synthetic import paint_people;"
        "create_detector('yolov3_tiny', weights=None);"
        "pipeline = Pipeline.from_names('synthetic', 'synthetic', weights=None);"
        "print(len(pipeline(paint_people((99, 99), [[[9, 9]] * 17]))))"
    )
    environment = {"PYTHONPATH": str(tmp_path), "HRKIT_PLUGINS": "", "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.stdout.strip() == "1", run.stderr


def test_every_distribution_has_its_wheel(wheels: dict[str, Path]) -> None:
    assert set(wheels) == {"hrkit-pose", *PLUGINS}


@pytest.fixture(scope="module")
def shelf(wheels: dict[str, Path]) -> Path:
    """A folder for `pip --find-links`: the project's own wheels, and an empty one per package of somebody else.

    No package whose name begins with hrkit is made up.
    """
    folder = wheels["hrkit-pose"].parent
    for wheel in wheels.values():
        for requirement in _requirements(wheel):
            if not requirement.name.startswith("hrkit"):
                _write_empty_wheel(folder, requirement)
    return folder


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment in which nothing is installed."""
    folder = tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder


def test_requirements_resolve_without_an_index(wheels: dict[str, Path], shelf: Path, empty: Path) -> None:
    """Of all together, so of each alone too; and none asks for more of hrkit's distributions than it uses."""
    report = empty / "report.json"
    pip = [*PIP, "--python", str(empty), "install", "--dry-run", "--no-index", "--find-links", str(shelf)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [*pip, "--report", str(report), *wheels]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=empty)
    assert done.returncode == 0, done.stderr
    chosen = {found["metadata"]["name"] for found in json.loads(report.read_text())["install"]}
    assert {name for name in chosen if name.startswith("hrkit")} == set(wheels)
    assert "torch" in chosen
    own = {name: {r.name for r in _requirements(wheel) if r.name.startswith("hrkit")} for name, wheel in wheels.items()}
    of_plugins = {name: {"hrkit-pose"} for name in PLUGINS}
    assert own == {**of_plugins, "hrkit-pose": set(), "hrkit-web": {"hrkit-pose", "hrkit-lite"}}


def test_type_checkers_see_editable_installs(sources: list[Path], tmp_path: Path) -> None:
    """They follow a path in a .pth file, and run no import hook."""
    _build("editable", sources, tmp_path)
    lines = set()
    for wheel in tmp_path.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            inside = archive.namelist()
            (path,) = (name for name in inside if name.endswith(".pth"))
            assert [name for name in inside if ".dist-info/" not in name] == [path]  # and no code
            lines.add(archive.read(path).decode().strip())
    assert lines == set(map(str, sources))


def test_the_source_distribution_is_the_repository(tmp_path: Path) -> None:
    """All that its tests need: whatever git knows, apart from what only git and the server of the repository read."""
    pytest.importorskip("setuptools", reason="needs setuptools to build")
    known = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    if not known:
        pytest.skip("this is no clone")
    for name in known:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    code = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    (archive,) = (tmp_path / "dist").glob("hrkit_pose-*.tar.gz")
    with tarfile.open(archive) as packed:
        inside = {name.partition("/")[2] for name in packed.getnames() if packed.getmember(name).isfile()}
    wanted = {name for name in known if not name.startswith((".gitignore", ".github/", ".ci/"))}
    assert {name for name in inside if ".egg-info/" not in name} == wanted | {"PKG-INFO", "setup.cfg"}


def _build(kind: str, sources: list[Path], target: Path) -> None:
    """Builds a wheel of each source as pip asks setuptools to, all in one process."""
    code = (
        "import os, sys; from setuptools import build_meta\n"
        "_, kind, target, *sources = sys.argv\n"
        "for source in sources:\n"
        "    os.chdir(source)\n"
        "    getattr(build_meta, f'build_{kind}')(target)\n"
    )
    command = [sys.executable, "-c", code, kind, str(target), *map(str, sources)]
    subprocess.run(command, check=True, capture_output=True)


def _requirements(wheel: Path) -> list[Requirement]:
    """What a wheel requires on this machine; extras are left out."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        required = Metadata.from_email(archive.read(name), validate=False).requires_dist or []
    return [found for found in required if not found.marker or found.marker.evaluate({"extra": ""})]


def _write_empty_wheel(folder: Path, requirement: Requirement) -> None:
    """Writes a wheel without code that answers `requirement`, with the lowest version it allows."""
    name = requirement.name.replace("-", "_")
    version = next((part.version for part in requirement.specifier if part.operator == ">="), "1")
    info = f"{name}-{version}.dist-info"
    extras = "".join(f"Provides-Extra: {extra}\n" for extra in sorted(requirement.extras))
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {requirement.name}\nVersion: {version}\n{extras}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
