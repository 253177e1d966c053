"""Names, commands, options, links and settings in the documentation exist."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import click
import pytest

from documented import DOCS, PAGES, ROOT, RUN, blocks, code_words, load_script, name_of, prose
from hrkit import list_names, registry
from hrkit.cli import main
from hrkit.datasets.custom import custom
from hrkit.training.config import TrainConfig, load_config

PYTHON_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
TOML_BLOCK = re.compile(r"```toml\n# (\S+)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate_commands.py."""
    return load_script("generate_commands")


def test_the_command_reference_is_up_to_date(generate: ModuleType) -> None:
    assert generate.PAGE.read_text() == generate.command_reference(), "run python docs/generate_commands.py"


def test_the_list_of_models_is_up_to_date() -> None:
    module = load_script("generate_models")
    assert module.PAGE.read_text(encoding="utf-8") == module.models_page(), "run python docs/generate_models.py"


def _of_another_distribution(page: Path, command: str) -> bool:
    """Whether a command is not installed, and the page belongs to a plugin or names the plugin that adds it."""
    installed = command in registry.commands.entries()
    return not installed and ("plugins" in page.parts or f"hrkit-{command}" in page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_documented_commands_parse(page: Path) -> None:
    for block in blocks(page):
        for command in block.commands():
            if not _of_another_distribution(page, command.words[0]):
                assert command.mistake() is None, f"{page.name}: hrkit {' '.join(command.words)}"


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_commands_named_in_the_text_have_these_options(page: Path) -> None:
    for word in code_words(prose(page)):
        found = re.match(r"hrkit ([a-z][a-z-]*)\b(.*)", word)
        if not found or _of_another_distribution(page, found[1]):
            continue
        entry = registry.commands.entries().get(found[1])
        assert entry is not None, f"{page.name}: {word}"
        known = {option for parameter in entry.value.params for option in (*parameter.opts, *parameter.secondary_opts)}
        options = set(re.findall(r"(?<= )--[a-z0-9-]+", word))
        assert options <= known | {"--help"}, f"{page.name}: {word}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_compile_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in PYTHON_BLOCK.findall(text):
        compile(block, str(page), "exec")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_what_blocks_import_from_hrkit_is_there(page: Path) -> None:
    for block in blocks(page):
        for node in ast.walk(ast.parse(block.content)) if block.language == "python" else ():
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "hrkit":
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{page.name}: {node.module} has no {alias.name}"


def _recipes() -> list[Any]:
    """The training recipes of all pages."""
    return [
        pytest.param(text, id=f"{page.name}:{name}")
        for page in PAGES
        for name, text in TOML_BLOCK.findall(page.read_text())
        if name.endswith("recipe.toml")
    ]


@pytest.mark.parametrize("text", _recipes())
def test_recipes_are_configs(text: str, tmp_path: Path) -> None:
    everything = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)  # settings that are shown as comments
    for content in (text, everything):
        (tmp_path / "recipe.toml").write_text(content)
        assert load_config(tmp_path / "recipe.toml", TrainConfig) != TrainConfig(output="")


def test_the_training_page_knows_every_setting() -> None:
    page = (DOCS / "training.md").read_text()
    for field in attrs.fields(TrainConfig):
        said = rf"^(# )?{field.name} = |^\[{field.name}\]|`{field.name}`|--{field.name.replace('_', '-')} "
        assert re.search(said, page, re.MULTILINE), f"{field.name} is nowhere in docs/training.md"


@pytest.mark.slow
def test_the_example_of_custom_joints_makes_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "custom-joints.md").read_text()
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


def test_the_files_in_the_table_of_changes_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| to change \|.*?\n\n", text, re.MULTILINE | re.DOTALL)
    files = re.findall(r"`([\w/]+\.(?:py|tsv))`", table)
    assert len(files) > 20
    assert [file for file in files if not (ROOT / "hrkit" / file).is_file()] == []


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
