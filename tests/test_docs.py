"""What the documentation says is there is there."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import click
import pytest

from hrkit import list_names, registry
from hrkit.cli import main
from hrkit.config import TrainConfig, load_config
from hrkit.datasets.custom import custom

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("plugins/*/README.md"))]
PYTHON_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
SHELL_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
TOML_BLOCK = re.compile(r"```toml\n# (\S+)\n(.*?)```", re.DOTALL)


def _commands(page: Path) -> list[str]:
    """Every `hrkit ...` line of the page's shell blocks, without what stands before it."""
    lines = "\n".join(SHELL_BLOCK.findall(page.read_text())).splitlines()
    return [line[line.index("hrkit ") :] for line in lines if re.match(r"(\S+=\S* )?(\.venv/bin/)?hrkit ", line)]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate_commands.py."""
    spec = importlib.util.spec_from_file_location("generate_commands", ROOT / "docs" / "generate_commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_reference_is_up_to_date(generate: ModuleType) -> None:
    assert generate.PAGE.read_text() == generate.command_reference(), "run python docs/generate_commands.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documented_commands_parse(page: Path) -> None:
    for line in _commands(page):
        words = shlex.split(line, comments=True)[1:]
        if words[0].startswith("-"):
            continue
        entry = registry.commands.entries().get(words[0])
        if entry is None:
            assert page.parent.name in line or "plugin" in str(page), f"{page.name}: no command in {line!r}"
            continue
        command = entry.value
        if isinstance(command, click.Group) and len(words) > 1 and not words[1].startswith("-"):
            assert words[1] in command.commands, f"{page.name}: no command in {line!r}"
            command = command.commands[words[1]]
        known = {option for parameter in command.params for option in parameter.opts}
        options = {word.split("=")[0] for word in words if word.startswith("--")}
        assert options <= known | {"--help"}, f"{page.name}: {line!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_compile_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for block in PYTHON_BLOCK.findall(text):
        compile(block, str(page), "exec")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), f"{page.name}: {link}"


def _recipes() -> list[Any]:
    """The recipes of training in the pages: page, name, text."""
    return [
        pytest.param(text, id=f"{page.name}:{name}")
        for page in PAGES
        for name, text in TOML_BLOCK.findall(page.read_text())
        if name.endswith("recipe.toml")
    ]


@pytest.mark.parametrize("text", _recipes())
def test_recipes_are_configs(text: str, tmp_path: Path) -> None:
    everything = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)  # what is shown but turned off
    for content in (text, everything):
        (tmp_path / "recipe.toml").write_text(content)
        assert load_config(tmp_path / "recipe.toml", TrainConfig) != TrainConfig(output="")


def test_the_training_page_knows_every_setting() -> None:
    page = (ROOT / "docs" / "training.md").read_text()
    for field in attrs.fields(TrainConfig):
        said = rf"^(# )?{field.name} = |^\[{field.name}\]|`{field.name}`|--{field.name.replace('_', '-')} "
        assert re.search(said, page, re.MULTILINE), f"{field.name} is nowhere in docs/training.md"


def test_the_example_of_joints_of_ones_own_makes_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "custom-joints.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(compile(PYTHON_BLOCK.findall(page)[0], "make_planes.py", "exec"), {})
    for name, text in TOML_BLOCK.findall(page):
        (tmp_path / name).write_text(text)
    people = custom(Path("planes/planes.toml"), split="val")
    assert len(people) == 40
    assert people.skeleton.flip_indices.tolist() == [0, 1, 3, 2]
    tips = people.read_frame(0)[people.keypoints[0, :, 1].astype(int), people.keypoints[0, :, 0].astype(int)]
    assert (tips == 230).all()


def test_every_command_has_an_example_and_a_description(generate: ModuleType) -> None:
    for name, entry in registry.commands.entries().items():
        command: click.Command = entry.value
        help_text = generate.command_help(command)
        assert f"hrkit {name}" in help_text.split("Usage:")[1].split("\n", 1)[1], f"hrkit {name} --help has no example"
        assert command.help
        for parameter in command.params:
            assert parameter.name


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_names_in_the_readme_are_registered() -> None:
    readme = (ROOT / "README.md").read_text()
    for kind in ("backbones", "detectors", "heads", "decoders"):
        row = next(line for line in readme.splitlines() if line.startswith(f"| {kind} "))
        for name in list_names(kind):
            family = registry.Registry(kind).entries()[name].plugin
            if family.startswith("hrkit.") and name != "synthetic":
                stem = name.rstrip("0123456789")
                assert name in row or stem in row, f"{name} is missing from the README's {kind}"


def test_the_group_shows_its_example() -> None:
    assert "Example:" in main.get_help(click.Context(main, info_name="hrkit"))
