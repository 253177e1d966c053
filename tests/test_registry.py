import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

import hrkit
from hrkit import hookimpl, list_names
from hrkit.errors import HrkitError, PluginError, UnknownNameError
from hrkit.hookspecs import lazy
from hrkit.registry import BUILT_INS, KINDS, KNOWN_PLUGINS, PluginManager, Registry, where_else

ROOT = Path(__file__).resolve().parents[1]
DETECTORS = """
from hrkit import hookimpl

@hookimpl
def register_detectors():
    return {{"{name}": lambda **options: options}}
"""


@pytest.fixture
def add_plugin(tmp_path, monkeypatch):
    """Writes a distribution with one plugin into a folder on `sys.path`: add_plugin(name, code)."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("HRKIT_PLUGINS", raising=False)

    def add(name, code, module=None, distribution=None, folder=tmp_path):
        module = module or f"fake_{name}"
        distribution = distribution or f"fake-{name}"
        metadata = folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (metadata / "entry_points.txt").write_text(f"[hrkit]\n{name} = {module}\n")
        (folder / f"{module}.py").write_text(code)
        importlib.invalidate_caches()

    yield add
    for module in [name for name in sys.modules if name.startswith("fake_")]:
        del sys.modules[module]


def detectors(manager):
    return Registry("detectors", manager)


def plugin(**hooks):
    """An object that registers what is given: plugin(detectors={...})."""
    return SimpleNamespace(
        **{f"register_{kind}": hookimpl(lambda brought=brought: brought) for kind, brought in hooks.items()}
    )


@pytest.fixture
def manager(monkeypatch):
    """Plugins of a test's own: hrkit's parts alone, until it registers more."""
    monkeypatch.setenv("HRKIT_PLUGINS", "")
    return PluginManager()


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_sorted_and_without_patterns(kind):
    names = list_names(kind)
    assert names == sorted(names)
    assert not any("*" in name for name in names)


def test_known_names():
    assert {"hrnet_w32", "hrnet_w48", "pose_resnet_50"} <= set(list_names("backbones"))
    assert {"yolov3", "yolov3_tiny"} <= set(list_names("detectors"))
    assert {"msra", "dark", "udp"} <= set(list_names("decoders"))


def test_unknown_kind():
    with pytest.raises(UnknownNameError, match=r"unknown kind 'backbone'; did you mean backbones\? choices: "):
        list_names("backbone")


def test_unknown_name_says_the_closest_and_all():
    with pytest.raises(UnknownNameError) as caught:
        Registry("backbones").builder("hrnt_w32")
    assert "unknown backbone 'hrnt_w32'; did you mean hrnet_w32" in str(caught.value)
    hint, choices = str(caught.value).split("choices: ")
    assert "*" not in hint
    assert "timm/*" in choices
    assert isinstance(caught.value, LookupError)
    assert isinstance(caught.value, HrkitError)
    assert "hrnet_w32" in Registry("backbones")
    assert "hrnet" not in Registry("backbones")


def test_a_name_of_another_kind_says_which():
    with pytest.raises(UnknownNameError, match="yolov3 is one of the detectors"):
        Registry("backbones").find("yolov3")


def test_patterns(manager):
    def build(text=None, **options):
        return text, options

    names = dict.fromkeys(["a/*", "a/b*", "a/b/*.c", "a/fixed", "*"], build)
    manager.register(plugin(detectors={name: lambda *t, n=name, **o: (n, *t) for name in names}), "mine")
    registry = detectors(manager)
    for name, expected in {
        "a/x": ("a/*", "x"),
        "a/x/y": ("a/*", "x/y"),
        "a/bx": ("a/b*", "x"),
        "a/b/1.c": ("a/b/*.c", "1"),
        "a/b/.c": ("a/b*", "/.c"),  # a star is one letter at least
        "a/fixed": ("a/fixed",),
        "a/": ("*", "a/"),
        "yolov3x": ("*", "yolov3x"),
    }.items():
        assert registry.builder(name)() == expected
    assert registry.find("yolov3")[0].plugin == "hrkit.detectors"
    assert not any("*" in name for name in registry.names())


def test_a_pattern_is_no_name(manager):
    manager.register(plugin(detectors={"a/*": print}), "mine")
    for name in ("a/*", "a/", "a", ""):
        with pytest.raises(UnknownNameError):
            detectors(manager).find(name)


def test_options_reach_the_builder(manager):
    manager.register(plugin(detectors={"a/*": lambda text, **options: (text, options)}), "mine")
    assert detectors(manager).builder("a/x")(weights=None) == ("x", {"weights": None})


def test_a_name_taken_twice_names_both(manager):
    manager.register(plugin(detectors={"yolov3": print}), "mine")
    with pytest.raises(PluginError, match=r"'yolov3' is registered by both 'hrkit.detectors' and 'mine'"):
        detectors(manager).names()
    assert "hrnet_w32" in Registry("backbones", manager)
    manager.unregister("mine")
    assert "yolov3" in detectors(manager)


def test_two_strangers_with_one_name(add_plugin):
    add_plugin("one", DETECTORS.format(name="theirs"))
    add_plugin("two", DETECTORS.format(name="theirs"))
    with pytest.raises(PluginError, match="'theirs' is registered by both 'one' and 'two'"):
        detectors(PluginManager()).names()


def test_registered_at_run_time(manager):
    before = list(detectors(manager).names())
    manager.register(plugin(detectors={"late": print}), "mine")
    assert "late" in detectors(manager)
    with pytest.raises(PluginError, match="two plugins call themselves 'mine'"):
        manager.register(plugin(detectors={"later": print}), "mine")
    manager.unregister("mine")
    assert detectors(manager).names() == before


def test_a_misspelt_hook_suggests_the_right_one(manager):
    with pytest.raises(PluginError, match=r"plugin 'mine' implements register_detector, .*mean register_detectors"):
        manager.register(plugin(detector={"late": print}, backbones={"mine": print}), "mine")
    with pytest.raises(PluginError, match=r"'mine' implements setup, .*; hooks are register_backbones, "):
        manager.register(SimpleNamespace(setup=hookimpl(lambda: None)), "mine")
    assert "mine" not in manager.names()
    assert "mine" not in Registry("backbones", manager)


def test_a_hook_without_its_mark_is_not_passed_over(manager):
    mine = plugin(backbones={"mine": print})
    mine.register_detectors = lambda: {"mine": print}
    with pytest.raises(PluginError, match=r"plugin 'mine': mark register_detectors with @hrkit\.hookimpl"):
        manager.register(mine, "mine")
    assert "mine" not in Registry("backbones", manager)


def test_a_hook_with_arguments_leaves_nothing_behind(manager):
    broken = plugin(backbones={"mine": print})
    broken.register_detectors = hookimpl(lambda config: {})
    with pytest.raises(PluginError, match=r"'mine' .*register_detectors.*config") as caught:
        manager.register(broken, "mine")
    assert "\n" not in str(caught.value)
    assert "mine" not in manager.names()
    assert "mine" not in Registry("backbones", manager)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import no_such_module", ModuleNotFoundError),
        ("raise RuntimeError('boom')", RuntimeError),
        ("def f(:", SyntaxError),
        ("from hrkit import hookimpl\n@hookimpl\ndef register_detectors():\n    raise KeyError('boom')", KeyError),
        ("from hrkit import hookimpl\n@hookimpl\ndef register_detectors():\n    return None", PluginError),
        ("from hrkit import hookimpl\n@hookimpl\ndef register_detectors():\n    raise SystemExit(3)", PluginError),
        ("from hrkit import hookimpl\n@hookimpl\ndef register_detector():\n    return {}", PluginError),
    ],
)
def test_a_failing_plugin_fails_alone(add_plugin, code, error):
    add_plugin("bad", code)
    add_plugin("good", DETECTORS.format(name="theirs"))
    manager = PluginManager()
    assert {"theirs", "yolov3"} <= set(detectors(manager).names())
    assert set(manager.failed) == {"bad"}
    assert isinstance(manager.failed["bad"], error)
    assert manager.versions["good"] == "fake-good 1.2"


def test_failures_are_known_before_any_name_was_asked_for(add_plugin):
    add_plugin("bad", "raise RuntimeError('boom')")
    assert set(PluginManager().failed) == {"bad"}


@pytest.mark.parametrize(
    ("allowed", "loaded"),
    [
        (None, {"one", "two"}),
        ("", set()),
        ("one", {"one"}),
        ("two, one", {"one", "two"}),
        ("three", set()),
    ],
)
def test_allow_list(add_plugin, monkeypatch, allowed, loaded):
    add_plugin("one", DETECTORS.format(name="detector_one"))
    add_plugin("two", DETECTORS.format(name="detector_two"))
    if allowed is not None:
        monkeypatch.setenv("HRKIT_PLUGINS", allowed)
    manager = PluginManager()
    assert {"one", "two"} & set(manager.names()) == loaded
    assert {name for name in detectors(manager).names() if name.startswith("detector_")} == {
        f"detector_{name}" for name in loaded
    }
    assert set(manager.failed) == ({"three"} if allowed == "three" else set())
    assert set(BUILT_INS) <= set(manager.names())
    assert {f"fake_{name}" for name in loaded} == {name for name in sys.modules if name.startswith("fake_")}


def test_an_allowed_plugin_that_is_not_there_is_reported(add_plugin, monkeypatch):
    add_plugin("mine", DETECTORS.format(name="theirs"))
    monkeypatch.setenv("HRKIT_PLUGINS", "mien, ,mine")
    manager = PluginManager()
    assert "theirs" in detectors(manager)
    assert set(manager.failed) == {"mien"}
    assert re.search(r"HRKIT_PLUGINS .*did you mean mine\? choices: .*mine", str(manager.failed["mien"]))


@pytest.mark.parametrize(
    ("kind", "brought", "says"),
    [
        ("backbones", {7: print}, "under the name 7, which is no text"),
        ("backbones", {"": print}, "under the name ''"),
        ("backbones", {"mine": 3}, "as 'mine' something of type int, which cannot be called"),
        ("backbones", [print], "returns list, not a mapping"),
        ("weights", None, "returns NoneType, not a sequence"),
        ("weights", ["mine"], "under the name None"),
        ("weights", [SimpleNamespace(name="mine")], "has no name, model, kind"),
        ("weights", {"mine": SimpleNamespace(name="mine", model="m", kind="pose")}, "under the name None"),
        ("commands", [SimpleNamespace(name="mine", params=[])], "has no name, make_context, get_short_help_str"),
        ("commands", [click.Command("mine"), click.Command("mine")], "brings 'mine' twice"),
    ],
)
def test_what_a_hook_returns_is_checked(manager, kind, brought, says):
    manager.register(plugin(**{kind: brought}), "mine")
    assert "mine" not in Registry(kind, manager).names()
    assert isinstance(manager.failed["mine"], PluginError)
    assert says in str(manager.failed["mine"])
    assert "\n" not in str(manager.failed["mine"])


def test_a_hook_that_ends_the_program_does_not(manager):
    manager.register(SimpleNamespace(register_detectors=hookimpl(lambda: sys.exit(3))), "mine")
    assert "yolov3" in detectors(manager)
    assert str(manager.failed["mine"]) == "its register_detectors ends the program (exit code 3)"


def test_build(manager):
    def picky(text="", *, size=1):
        return text, 6 / size

    manager.register(plugin(detectors={"picky": picky, "picky/*": picky}), "mine")
    registry = detectors(manager)
    assert registry.build("picky", size=2) == ("", 3)
    assert registry.build("picky/x", size=3) == ("x", 2)
    assert registry.build("picky", "path") == ("path", 6)
    with pytest.raises(PluginError, match=r"^detector 'picky/x' of plugin 'mine' does not take the option 'name'$"):
        registry.build("picky/x", name="x")
    with pytest.raises(PluginError, match=r"^detector 'picky' of plugin 'mine' cannot be built: ZeroDivisionError: "):
        registry.build("picky", size=0)
    with pytest.raises(PluginError, match=r"cannot be built: TypeError: unsupported operand"):
        registry.build("picky", size="x")
    with pytest.raises(UnknownNameError):
        registry.build("nobody")


@pytest.mark.parametrize("error", [HrkitError("mine"), FileNotFoundError("mine"), KeyboardInterrupt()])
def test_build_lets_through_what_says_enough(manager, error):
    def fail():
        raise error

    manager.register(plugin(detectors={"fails": fail}), "mine")
    with pytest.raises(type(error)) as caught:
        detectors(manager).build("fails")
    assert caught.value is error


def test_build_says_everything_in_one_line(manager):
    def fail():
        raise RuntimeError("one\n  two\n\nthree")

    manager.register(plugin(detectors={"fails": fail}), "mine")
    with pytest.raises(PluginError, match=r"RuntimeError: one two three$"):
        detectors(manager).build("fails")


@pytest.mark.parametrize("name", [None, 7, b"hrnet_w32", ["hrnet_w32"]])
def test_a_name_is_text(name):
    with pytest.raises(HrkitError, match="the name of a backbone is text"):
        Registry("backbones").find(name)


@pytest.mark.parametrize(
    ("kind", "name", "distribution"),
    [
        ("backbones", "lite", "hrkit-lite"),
        ("detectors", "lite_person", "hrkit-lite"),
        ("detectors", "fasterrcnn_resnet50_fpn", "hrkit-torchvision"),
        ("backbones", "higher_hrnet_w32", "hrkit-higherhrnet"),
        ("detectors", "hf/PekingU/rtdetr_r50vd", "hrkit-vitpose"),
        ("commands", "web", "hrkit-web"),
    ],
)
def test_well_known_names_say_where_they_are(manager, kind, name, distribution):
    with pytest.raises(UnknownNameError, match=rf"pip install \./plugins/{distribution}"):
        Registry(kind, manager).find(name)
    with pytest.raises(UnknownNameError) as caught:
        Registry(kind, manager).find("nobody")
    assert "pip" not in str(caught.value)


@pytest.mark.parametrize("folder", sorted((ROOT / "plugins").iterdir()), ids=lambda folder: folder.name)
def test_every_name_of_a_known_plugin_is_hinted_at(manager, folder):
    (package,) = folder.glob("hrkit_*/__init__.py")
    manager.register(importlib.import_module(package.parent.name), "mine")
    names = [name for kind in KINDS for name, entry in manager.collect(kind).items() if entry.plugin == "mine"]
    assert names
    others = [name.replace("_", "-") for name in names if "*" not in name]
    told = [folder.name, *names, *others]
    assert [name for name in told if f"./plugins/{folder.name})" not in where_else(name)] == []
    assert set(KNOWN_PLUGINS) == {path.name for path in folder.parent.iterdir()}


def test_hook_calls_are_shown(manager, monkeypatch, capsys):
    manager.register(plugin(detectors={"one": print, "two": print}), "mine")
    monkeypatch.setenv("HRKIT_TRACE_PLUGINS", "1")
    detectors(manager).names()
    assert "mine: register_detectors() -> one, two\n" in capsys.readouterr().err
    manager.register(SimpleNamespace(register_detectors=hookimpl(lambda: 1 / 0)), "broken")
    detectors(manager).names()
    assert "broken: register_detectors() -> division by zero\n" in capsys.readouterr().err
    monkeypatch.delenv("HRKIT_TRACE_PLUGINS")
    Registry("heads", manager).names()
    assert capsys.readouterr().err == ""


def test_lazy_builders(monkeypatch):
    build = lazy("fractions:Fraction", 3)
    assert build(4) == Fraction(3, 4)
    build = lazy("fake_parts:make", "a", size=1, kind="b")
    parts = SimpleNamespace(make=lambda *arguments, **options: (arguments, options))
    monkeypatch.setitem(sys.modules, "fake_parts", parts)  # it is not there before the first call
    assert build("c", size=2) == (("a", "c"), {"size": 2, "kind": "b"})


def test_one_distribution_in_two_folders(add_plugin, tmp_path, monkeypatch):
    add_plugin("one", DETECTORS.format(name="theirs"))
    add_plugin("one", DETECTORS.format(name="theirs"), folder=tmp_path / "again")
    monkeypatch.syspath_prepend(tmp_path / "again")
    manager = PluginManager()
    assert "theirs" in detectors(manager)
    assert not manager.failed


def test_two_distributions_with_one_plugin_name(add_plugin):
    add_plugin("one", DETECTORS.format(name="theirs"), module="fake_b", distribution="fake-b")
    add_plugin("one", DETECTORS.format(name="others"), module="fake_a", distribution="fake-a")
    manager = PluginManager()
    assert "others" in detectors(manager)  # whatever order the file system gives
    assert "theirs" not in detectors(manager)
    assert "'one', of fake-a 1.2 and fake-b 1.2" in str(manager.failed["one"])
    assert manager.versions["one"] == "fake-a 1.2"


def test_a_plugin_may_ask_for_names_while_it_is_imported(add_plugin, monkeypatch):
    code = "from hrkit.registry import plugins, Registry\nseen = Registry('detectors', plugins).names()"
    add_plugin("curious", code + DETECTORS.format(name="theirs"))
    manager = PluginManager()
    monkeypatch.setattr("hrkit.registry.plugins", manager)
    assert "theirs" in detectors(manager)
    assert "yolov3" in sys.modules["fake_curious"].seen
    assert not manager.failed


def test_first_use_from_many_threads(add_plugin):
    code = "import time\ntime.sleep(0.2)\ncalls = []\n" + DETECTORS.format(name="theirs")
    add_plugin("slow", code.replace("    return", "    calls.append(1)\n    time.sleep(0.1)\n    return"))
    manager = PluginManager()
    barrier, seen = threading.Barrier(8), []

    def use():
        barrier.wait()
        seen.append(detectors(manager).names())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen) == 8
    assert all(names == seen[0] and "theirs" in names for names in seen)
    assert sys.modules["fake_slow"].calls == [1]
    assert not manager.failed


@pytest.mark.slow
def test_importing_hrkit_loads_no_plugin(add_plugin, tmp_path):
    add_plugin("loud", "raise SystemExit('a plugin was loaded')")
    code = (
        "import sys, hrkit, hrkit.registry\n"
        "from hrkit import hookimpl, list_names\n"
        "heavy = {'torch', 'cv2', 'fake_loud', *hrkit.registry.BUILT_INS} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_public_names_are_there():
    assert set(hrkit.__all__) <= set(dir(hrkit))
    assert all(getattr(hrkit, name) is not None for name in hrkit.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        hrkit.no_such_name  # noqa: B018
