"""Names to builders: who brought what, loaded when first asked for.

Built-ins and strangers come in by the same hooks (`hookspecs.py`). A plugin that fails is kept apart with its reason
in `PluginManager.failed`, and the others work.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import pluggy
from attrs import frozen

from hrkit import hookspecs
from hrkit.errors import PluginError, UnknownNameError

GROUP = "hrkit"
"""The entry-point group of plugins."""

BUILT_INS = (
    "hrkit.backbones",
    "hrkit.heads",
    "hrkit.detectors",
    "hrkit.datasets",
    "hrkit.zoo",
    "hrkit.commands",
)
"""Modules of hrkit itself that implement hooks; named by strings, so that the registry imports none of them."""

KINDS = ("backbones", "detectors", "heads", "decoders", "datasets", "weights", "commands")
"""What can be registered; the hook of each is `register_<kind>`."""

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
                brought = _by_name(implementation.function())
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
        for entry_point in _allowed(importlib.metadata.entry_points(group=GROUP)):
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
            raise PluginError(_unknown_hook(plugin, name) or " ".join(str(error).split())) from error


def _by_name(brought: Any) -> Mapping[str, Any]:
    return brought if isinstance(brought, Mapping) else {value.name: value for value in brought}


def _allowed(entry_points: importlib.metadata.EntryPoints) -> Iterator[importlib.metadata.EntryPoint]:
    allowed = os.environ.get("HRKIT_PLUGINS")
    names = None if allowed is None else {name.strip() for name in allowed.split(",")}
    for entry_point in sorted(set(entry_points), key=lambda entry_point: (entry_point.name, entry_point.value)):
        if names is None or entry_point.name in names:
            yield entry_point


def _unknown_hook(plugin: object, name: str) -> str | None:
    hooks = [f"register_{kind}" for kind in KINDS]
    unknown = [
        attribute
        for attribute in dir(plugin)
        if hasattr(getattr(plugin, attribute, None), f"{GROUP}_impl") and attribute not in hooks
    ]
    if not unknown:
        return None
    close = difflib.get_close_matches(unknown[0], hooks, n=1)
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

        Raises `UnknownNameError` with the closest names.
        """
        entries = self.entries()
        if "*" not in name and name in entries:
            return entries[name], None
        for pattern in sorted((p for p in entries if "*" in p), key=len, reverse=True):
            start, end = pattern.split("*", 1)
            text = name[len(start) : len(name) - len(end)]
            if text and text != "*" and name == f"{start}{text}{end}":
                return entries[pattern], text
        raise UnknownNameError(self.kind.removesuffix("s"), name, entries)

    def builder(self, name: str) -> Callable[..., Any]:
        """The builder for `name`, to be called with keyword arguments."""
        entry, text = self.find(name)
        return entry.value if text is None else functools.partial(entry.value, text)

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
weights = Registry("weights")
commands = Registry("commands")


def list_names(kind: str) -> list[str]:
    """The registered names of "backbones", "detectors", "heads", "decoders", "datasets", "weights" or "commands".

    Raises `UnknownNameError` for another kind.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    return Registry(kind).names()
