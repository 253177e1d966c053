"""Every hook is documented, used by hrkit itself, in the guide, and works."""

import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from hrkit import hookimpl, hookspecs
from hrkit.registry import KINDS, PluginManager, Registry
from hrkit.weights.catalogue import WeightsEntry

HOOKS = {
    name: hook for name, hook in vars(hookspecs).items() if inspect.isfunction(hook) and hasattr(hook, "hrkit_spec")
}
GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
SECTIONS = {
    "register_detectors": "Detectors",
    "register_backbones": "Backbones",
    "register_heads": "Heads",
    "register_decoders": "Codecs",
    "register_datasets": "Datasets",
    "register_runtimes": "Runtimes",
    "register_weights": "Weights",
    "register_engines": "Engines",
    "register_commands": "Commands",
}
OBJECTS = r"\b(Codec|Detector|KeypointDataset|Library|Result|WeightsEntry)\b"
"""Types of hrkit in the guide; the hooks themselves import none of them, and say `object`."""
DUMMIES = {
    "register_weights": [WeightsEntry("dummy", "a_model", url="https://example.org/dummy.pth")],
    "register_commands": [click.Command("dummy")],
}


def test_there_are_hooks():
    assert set(HOOKS) == {f"register_{kind}" for kind in KINDS}


@pytest.mark.parametrize("hook", HOOKS)
def test_documented(hook):
    assert inspect.getdoc(HOOKS[hook])
    assert "return" in HOOKS[hook].__annotations__
    assert not inspect.signature(HOOKS[hook]).parameters


@pytest.mark.parametrize("hook", HOOKS)
def test_hrkit_uses_it_itself(hook, monkeypatch):
    monkeypatch.setenv("HRKIT_PLUGINS", "")
    entries = PluginManager().collect(hook.removeprefix("register_"))
    assert entries
    assert all(entry.plugin.startswith("hrkit.") for entry in entries.values())


@pytest.mark.parametrize("hook", HOOKS)
def test_in_the_guide(hook):
    """With its exact signature, in a section of its own, and the types of hrkit that it means."""
    (signature,) = re.findall(r"^def .*:$", inspect.getsource(HOOKS[hook]), re.MULTILINE)
    assert signature.startswith(f"def {hook}() -> ")
    _, *sections = re.split(r"^#{2,3} ", GUIDE, flags=re.MULTILINE)
    (section,) = [section for section in sections if section.startswith(f"{SECTIONS[hook]}\n")]
    assert f"\n@hookimpl\n{signature}\n" in re.sub(OBJECTS, "object", section)
    named = re.search(OBJECTS, re.search(rf"^def {hook}.*$", section, re.MULTILINE)[0])
    assert ("object" in signature) == (named is not None)
    assert named is None or f".{named[0]}`" in inspect.getdoc(HOOKS[hook])


@pytest.mark.parametrize("hook", HOOKS)
def test_a_plugin_can_use_it(hook, monkeypatch):
    monkeypatch.setenv("HRKIT_PLUGINS", "")
    manager = PluginManager()
    kind = hook.removeprefix("register_")
    value = DUMMIES[hook][0] if hook in DUMMIES else lambda **options: options
    brought = DUMMIES.get(hook, {"dummy": value})
    manager.register(SimpleNamespace(**{hook: hookimpl(lambda: brought)}), "mine")
    registry = Registry(kind, manager)
    entry, _ = registry.find("dummy")
    assert entry.value is value
    assert entry.plugin == "mine"
    assert "dummy" in registry.names()
    assert registry.builder("dummy") is value
    manager.unregister("mine")
    assert "dummy" not in registry
