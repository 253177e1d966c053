"""Names to builders: who brought what, loaded when first asked for.

Built-ins and strangers come in by the same hooks (`hookspecs.py`). A plugin that fails is kept apart with its reason
in `PluginManager.failed`, and the others work.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib
import importlib.metadata
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import pluggy
from attrs import frozen

from hrkit import hookspecs
from hrkit.errors import HrkitError, PluginError, UnknownNameError, close_names, one_line, plugin_hint

GROUP = "hrkit"
"""The entry-point group of plugins."""

BUILT_INS = (
    "hrkit.backbones",
    "hrkit.heads",
    "hrkit.detectors",
    "hrkit.datasets",
    "hrkit.runtimes",
    "hrkit.weights.catalogue",
    "hrkit.extraction.engines",
    "hrkit.commands",
)
"""Modules of hrkit itself that implement hooks; named by strings, so that the registry imports none of them."""

KINDS = (
    "backbones",
    "detectors",
    "heads",
    "decoders",
    "datasets",
    "runtimes",
    "weights",
    "engines",
    "commands",
)
"""What can be registered; the hook of each is `register_<kind>`."""

ELSEWHERE = {
    "hrkit-lite": ("lite", "lite_plus", "lite_person", "lite-coco-*", "lite_plus-coco-*"),
    "hrkit-ray": ("ray",),
    "hrkit-torchvision": ("fasterrcnn_*", "retinanet_*", "fcos_*", "ssd300_*", "ssdlite320_*"),
}
"""Well-known names, as patterns, by the distribution that brings them."""

_NAMED = {"weights": ("name", "model", "kind"), "commands": ("name", "params", "callback")}
"""Kinds whose values have a name of their own, and what else tells such a value."""

T = TypeVar("T")


@frozen
class Registered(Generic[T]):
    """One registered thing and the plugin that brought it."""

    name: str
    value: T
    plugin: str


class PluginManager:
    """Loads plugins on first use, each on its own, and collects what they register.

    `versions` maps the name of a plugin to its distribution and version, where it came by an entry point.
    """

    def __init__(self) -> None:
        self._manager: pluggy.PluginManager | None = None
        self._lock = threading.RLock()
        self._registered: dict[str, dict[str, Registered[Any]]] = {}
        self._failed: dict[str, Exception] = {}
        self.versions: dict[str, str] = {}

    @property
    def failed(self) -> dict[str, Exception]:
        """What went wrong, by name of the plugin; of hooks, those of the kinds that were asked for so far."""
        self._loaded()
        return self._failed

    def names(self) -> list[str]:
        """The plugins that were loaded, hrkit's own parts among them."""
        return [name for name, _ in self._loaded().list_name_plugin()]

    def register(self, plugin: object, name: str) -> None:
        """Adds a module or object with hook implementations at run time.

        Raises `PluginError` if it implements a hook that does not exist.
        """
        with self._lock:
            self._add(self._loaded(), plugin, name)
            self._registered.clear()

    def unregister(self, name: str) -> None:
        """Takes the plugin `name` out again."""
        with self._lock:
            self._loaded().unregister(name=name)
            self._failed.pop(name, None)
            self._registered.clear()

    def collect(self, kind: str) -> dict[str, Registered[Any]]:
        """Everything registered of one of `KINDS`, by name.

        Raises `PluginError`, naming both plugins, if a name is taken twice.
        """
        with self._lock:
            if kind not in self._registered:
                collected: dict[str, Registered[Any]] = {}
                for entry in self._gather(kind):
                    if entry.name in collected:
                        raise PluginError(
                            f"{kind} name {entry.name!r} is registered by both {collected[entry.name].plugin!r} and "
                            f"{entry.plugin!r}; uninstall one, or allow the wanted plugins in HRKIT_PLUGINS"
                        )
                    collected[entry.name] = entry
                self._registered[kind] = collected
            return self._registered[kind]

    def _gather(self, kind: str) -> Iterator[Registered[Any]]:
        hook = getattr(self._loaded().hook, f"register_{kind}")
        for implementation in hook.get_hookimpls():  # in order of registration: built-ins first
            plugin = implementation.plugin_name
            try:
                brought = _by_name(kind, implementation.function())
            except SystemExit as error:
                self._failed[plugin] = PluginError(f"its register_{kind} ends the program (exit code {error.code})")
                continue
            except Exception as error:  # a stranger's code: whatever it raises is its own failure
                self._failed[plugin] = error
                continue
            for name, value in brought.items():
                yield Registered(name, value, plugin)

    def _loaded(self) -> pluggy.PluginManager:
        with self._lock:
            if self._manager is None:
                manager = pluggy.PluginManager(GROUP)
                manager.add_hookspecs(hookspecs)
                for module in BUILT_INS:
                    self._add(manager, importlib.import_module(module), module)
                self._manager = manager  # here already: a plugin may ask for names while it is imported
                try:
                    self._load_entry_points(manager)
                except BaseException:  # interrupted; the next use starts anew
                    self._manager = None
                    raise
                finally:
                    self._registered.clear()
            return self._manager

    def _load_entry_points(self, manager: pluggy.PluginManager) -> None:
        self._failed.clear()
        self.versions.clear()
        installed = importlib.metadata.entry_points(group=GROUP)
        self._failed.update(_not_installed(installed))
        for entry_point in _allowed(installed):
            name, dist = entry_point.name, entry_point.dist
            version = "an unknown distribution" if dist is None else f"{dist.name} {dist.version}"
            try:
                if name in self.versions:
                    both = f"{self.versions[name]} and {version}"
                    raise PluginError(f"two plugins call themselves {name!r}, of {both}; uninstall one")
                self.versions[name] = version
                self._add(manager, entry_point.load(), name)
            except SystemExit as error:
                self._failed[name] = PluginError(f"it ends the program when imported (exit code {error.code})")
            except Exception as error:
                self._failed[name] = error

    @staticmethod
    def _add(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
        if manager.get_plugin(name) is not None:
            raise PluginError(f"two plugins call themselves {name!r}; uninstall one")
        try:
            manager.register(plugin, name)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            manager.unregister(name=name)
            raise PluginError(_unknown_hook(plugin, name) or one_line(error)) from error


def _by_name(kind: str, brought: Any) -> dict[str, Any]:
    """What a hook returned, by name; raises `PluginError` if it is not what the hook is for."""
    hook, shape = f"register_{kind}", _NAMED.get(kind)
    if not isinstance(brought, Iterable if shape else Mapping):
        raise PluginError(f"its {hook} returns {type(brought).__name__}, not a {'sequence' if shape else 'mapping'}")
    pairs = [(getattr(value, "name", None), value) for value in brought] if shape else list(dict(brought).items())
    by_name: dict[str, Any] = {}
    for name, value in pairs:
        if not isinstance(name, str) or not name:
            raise PluginError(f"its {hook} brings {value!r} under the name {name!r}, which is no text")
        if not (all(hasattr(value, attribute) for attribute in shape) if shape else callable(value)):
            wanted = f"has no {', '.join(shape)}" if shape else "cannot be called"
            raise PluginError(f"its {hook} brings as {name!r} something of type {type(value).__name__}, which {wanted}")
        if name in by_name:
            raise PluginError(f"its {hook} brings {name!r} twice")
        by_name[name] = value
    return by_name


def _allowed_names() -> set[str] | None:
    """The plugins that HRKIT_PLUGINS allows; None for all."""
    allowed = os.environ.get("HRKIT_PLUGINS")
    return None if allowed is None else {name.strip() for name in allowed.split(",")} - {""}


def _allowed(entry_points: importlib.metadata.EntryPoints) -> Iterator[importlib.metadata.EntryPoint]:
    names = _allowed_names()
    for entry_point in sorted(set(entry_points), key=lambda entry_point: (entry_point.name, entry_point.value)):
        if names is None or entry_point.name in names:
            yield entry_point


def _not_installed(entry_points: importlib.metadata.EntryPoints) -> dict[str, PluginError]:
    """An error for each name in HRKIT_PLUGINS that no plugin has."""
    installed = {entry_point.name for entry_point in entry_points}
    errors = {}
    for name in sorted((_allowed_names() or set()) - installed):
        close = close_names(name, installed)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        there = ", ".join(sorted(installed)) or "none"
        errors[name] = PluginError(f"HRKIT_PLUGINS names it, but it is not there; {hint}installed: {there}")
    return errors


def where_else(name: str) -> str:
    """How to get a well-known name that is not registered here; empty for any other."""
    for distribution, patterns in ELSEWHERE.items():
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            return f"it comes with the plugin {plugin_hint(distribution)}, or allow it in HRKIT_PLUGINS"
    return ""


def _unknown_hook(plugin: object, name: str) -> str | None:
    hooks = [f"register_{kind}" for kind in KINDS]
    unknown = [
        attribute
        for attribute in dir(plugin)
        if hasattr(getattr(plugin, attribute, None), f"{GROUP}_impl") and attribute not in hooks
    ]
    if not unknown:
        return None
    close = close_names(unknown[0], hooks)
    hint = f"; did you mean {close[0]}?" if close else f"; hooks are {', '.join(hooks)}"
    return f"plugin {name!r} implements {', '.join(unknown)}, which is no hook of hrkit{hint}"


plugins = PluginManager()
"""The plugins of this process."""


class Registry:
    """The names of one kind.

    `Registry("backbones").builder("timm/resnet18")` finds the entry `timm/*` and binds `"resnet18"` to it.
    """

    def __init__(self, kind: str, manager: PluginManager = plugins) -> None:
        self.kind = kind
        self._manager = manager

    def entries(self) -> dict[str, Registered[Any]]:
        """What is registered, patterns among it, by name."""
        return self._manager.collect(self.kind)

    def names(self) -> list[str]:
        """The full names, sorted; patterns such as `timm/*` are left out."""
        return sorted(name for name in self.entries() if "*" not in name)

    def find(self, name: str) -> tuple[Registered[Any], str | None]:
        """The entry for `name`, and the text that stands for its `*`, if it has one.

        Raises `UnknownNameError` with the closest names, `HrkitError` for what is no text.
        """
        kind = self.kind.removesuffix("s")
        if not isinstance(name, str):
            raise HrkitError(f"the name of a {kind} is text, such as {min(self.names(), default='')!r}, not {name!r}")
        entries = self.entries()
        if "*" not in name and name in entries:
            return entries[name], None
        for pattern in sorted((p for p in entries if "*" in p), key=len, reverse=True):
            start, end = pattern.split("*", 1)
            text = name[len(start) : len(name) - len(end)]
            if text and text != "*" and name == f"{start}{text}{end}":
                return entries[pattern], text
        raise UnknownNameError(kind, name, entries, hint=where_else(name))

    def builder(self, name: str) -> Callable[..., Any]:
        """The builder for `name`, to be called with keyword arguments."""
        entry, text = self.find(name)
        return entry.value if text is None else functools.partial(entry.value, text)

    def build(self, name: str, /, *arguments: Any, **options: Any) -> Any:
        """What the builder for `name` makes of `options`, and of `arguments`: a dataset's path, an engine's inputs and
        job.

        Raises as `find`, `HrkitError` and `OSError` as the builder does, and `PluginError`, which names the plugin, for
        whatever else the builder raises, options that it does not take among it.
        """
        entry, _ = self.find(name)
        builder = self.builder(name)
        try:
            return builder(*arguments, **options)
        except (HrkitError, OSError):
            raise
        except Exception as error:  # perhaps a stranger's code, which may raise anything
            part = f"{self.kind.removesuffix('s')} {name!r} of plugin {entry.plugin!r}"
            unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if isinstance(error, TypeError) and unexpected and unexpected[1] in options:
                raise PluginError(f"{part} does not take the option {unexpected[1]!r}") from error
            raise PluginError(f"{part} cannot be built: {type(error).__name__}: {one_line(error)}") from error

    def __contains__(self, name: str) -> bool:
        try:
            self.find(name)
        except UnknownNameError:
            return False
        return True


backbones = Registry("backbones")
detectors = Registry("detectors")
heads = Registry("heads")
decoders = Registry("decoders")
datasets = Registry("datasets")
runtimes = Registry("runtimes")
weights = Registry("weights")
engines = Registry("engines")
commands = Registry("commands")


def list_names(kind: str) -> list[str]:
    """The registered names of one kind.

    Kinds are "backbones", "heads", "detectors", "decoders", "datasets", "runtimes", "weights", "engines" and
    "commands".

    Raises `UnknownNameError` for another kind.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    return Registry(kind).names()
