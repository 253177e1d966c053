import importlib
import sys

import pytest
from click.testing import CliRunner

from hrkit import __version__, registry
from hrkit.cli import main
from hrkit.commands.plugins import command
from hrkit.registry import PluginManager, Registry

HOOK = "from hrkit import hookimpl\n\n@hookimpl\ndef register_detectors():\n    return {}\n"


@pytest.fixture
def add_plugin(tmp_path, monkeypatch):
    """Writes a distribution with one plugin into a folder on `sys.path`, the only one that is allowed."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def add(name, code):
        metadata = tmp_path / f"fake_{name}-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fake-{name}\nVersion: 1.2\n")
        (metadata / "entry_points.txt").write_text(f"[hrkit]\n{name} = fake_{name}\n")
        (tmp_path / f"fake_{name}.py").write_text(code)
        importlib.invalidate_caches()
        names.append(name)
        monkeypatch.setenv("HRKIT_PLUGINS", ",".join(names))

    registry.plugins.names()  # the process's own are loaded with what is installed, whichever test comes first
    monkeypatch.setenv("HRKIT_PLUGINS", "")
    manager = PluginManager()
    monkeypatch.setattr(registry, "plugins", manager)
    monkeypatch.setattr(registry, "commands", Registry("commands", manager))
    yield add
    for name in names:
        sys.modules.pop(f"fake_{name}", None)


def run(exit_code=0):
    result = CliRunner().invoke(command)
    assert result.exit_code == exit_code, result.output
    return result.stdout.splitlines()


def test_hrkits_own_parts(add_plugin):
    lines = run()
    assert lines.index("hrkit.detectors (built in)") < lines.index("  detectors: yolov3, yolov3_tiny, synthetic")
    assert any(line.startswith("  weights: ") and line.endswith(" more") for line in lines)
    assert not any("FAILED" in line or "CLASH" in line for line in lines)


def test_a_plugin(add_plugin):
    add_plugin("good", HOOK.format('{"one": print, "two": print, "three/*": print}'))
    lines = run()
    assert lines[lines.index("good (fake-good 1.2)") + 1] == "  detectors: one, two, three/*"


def test_failing_plugins(add_plugin):
    add_plugin("no_import", "raise RuntimeError('boom')")
    add_plugin("many_lines", "raise RuntimeError('one\\n  two')")
    add_plugin("exits", HOOK.format("{}").replace("return {}", "raise SystemExit(3)"))
    add_plugin("no_hook", HOOK.format("1 / 0"))
    add_plugin("misspelt", HOOK.format("{}").replace("register_detectors", "register_detector"))
    add_plugin("good", HOOK.format('{"one": print}'))
    lines = run(exit_code=1)
    assert "no_import: FAILED, RuntimeError: boom" in lines
    assert "many_lines: FAILED, RuntimeError: one two" in lines
    assert "exits: FAILED, PluginError: its register_detectors ends the program (exit code 3)" in lines
    assert "no_hook: FAILED, ZeroDivisionError: division by zero" in lines
    (misspelt,) = [line for line in lines if line.startswith("misspelt: FAILED, PluginError: ")]
    assert misspelt.endswith("did you mean register_detectors?")
    assert "  detectors: one" in lines


def test_clashing_plugins(add_plugin):
    add_plugin("one", HOOK.format('{"theirs": print}'))
    add_plugin("two", HOOK.format('{"theirs": print}'))
    lines = run(exit_code=1)
    (clash,) = [line for line in lines if line.startswith("CLASH: ")]
    assert "'theirs' is registered by both 'one' and 'two'" in clash
    assert "HRKIT_PLUGINS" in clash
    assert any(line.startswith("  backbones: hrnet_w32, ") for line in lines)


def test_none_but_hrkits_own(add_plugin, monkeypatch):
    add_plugin("good", HOOK.format('{"one": print}'))
    monkeypatch.setenv("HRKIT_PLUGINS", "")
    assert not any("good" in line for line in run())


def test_other_commands_warn_and_go_on(add_plugin):
    add_plugin("bad", "raise RuntimeError('boom')")
    result = CliRunner().invoke(main, ["models", "yolov3_tiny"])
    assert result.exit_code == 0
    assert result.stderr == "warning: plugin 'bad' is left out: boom (see `hrkit plugins`)\n"
    assert "yolov3_tiny" in result.stdout


def test_a_command_of_a_plugin(add_plugin):
    code = "import click\n" + HOOK.replace("detectors", "commands").format(
        "[click.Command('hello', callback=lambda: click.echo('hi'))]"
    )
    add_plugin("good", code)
    assert CliRunner().invoke(main, ["hello"]).output == "hi\n"
    assert "hello" in CliRunner().invoke(main, ["--help"]).output


def test_version():
    assert __version__ in CliRunner().invoke(main, ["--version"]).output


def test_help_has_an_example():
    assert "HRKIT_PLUGINS=lite hrkit plugins" in CliRunner().invoke(command, ["--help"]).stdout
