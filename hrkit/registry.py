"""Builders by name: each is registered by a plugin, and plugins are loaded when a name is first looked up.

hrkit's own parts and those of others come in by the same hooks (`hrkit.hookspecs`). A plugin that fails is left out,
with the reason in `PluginManager.failed`, and the others work.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import importlib
import importlib.metadata
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any  # what builders take and give differs from kind to kind

import pluggy
from attrs import define, frozen

from hrkit import hookspecs
from hrkit.errors import HrkitError, PluginError, UnknownNameError, close_names, one_line, plugin_hint

GROUP = "hrkit"
"""The entry-point group of plugins."""

BUILT_INS = (
    *("hrkit.backbones", "hrkit.heads", "hrkit.detectors", "hrkit.datasets", "hrkit.runtimes"),
    *("hrkit.weights.catalogue", "hrkit.extraction", "hrkit.commands"),
)
"""Modules of hrkit that implement hooks; named by strings, so that the registry imports none of them."""

KINDS = ("backbones", "detectors", "heads", "decoders", "datasets", "runtimes", "weights", "engines", "commands")
"""What can be registered; the hook of each is `register_<kind>`."""

KNOWN_PLUGINS: dict[str, tuple[str, ...]] = {
    "hrkit-higherhrnet": ("higher", "higher_hrnet_w*", "official-higher_hrnet_w*", "higherhrnet"),
    "hrkit-lite": ("lite", "lite_plus", "lite_person", "lite-coco-*", "lite_plus-coco-*"),
    "hrkit-ray": ("ray",),
    "hrkit-rtm": ("rtmpose_*", "cspnext_*", "rtmw_*", "rtmdet_*", "rtmcc", "rtmw", "simcc", "rtm"),
    "hrkit-torchvision": ("fasterrcnn_*", "retinanet_*", "fcos_*", "ssd300_*", "ssdlite320_*"),
    "hrkit-vitpose": ("vitpose*", "hf/*", "hf-pose", "hf-detector"),
    "hrkit-web": ("web",),
}
"""The plugins of hrkit's own repository, and patterns of the names they register."""

_ATTRIBUTES = {"weights": ("name", "model", "kind"), "commands": ("name", "make_context", "get_short_help_str")}
"""The attributes of values that come in a sequence and carry their own name; other kinds are mappings to builders."""


@frozen
class Registered:
    """One registered value and the plugin that brought it."""

    name: str
    value: Any
    plugin: str


class PluginManager:
    """Loads plugins on first use and collects what they register."""

    def __init__(self) -> None:
        self._manager: pluggy.PluginManager | None = None
        self._lock = threading.RLock()
        self._registered: dict[str, dict[str, Registered]] = {}
        self._failed: dict[str, Exception] = {}
        self.versions: dict[str, str] = {}
        """The distribution and version of each plugin that came by an entry point."""

    @property
    def failed(self) -> dict[str, Exception]:
        """Why plugins failed, by name. A failing hook is in it once its kind has been asked for."""
        self._loaded()
        return self._failed

    def names(self) -> list[str]:
        """The loaded plugins, hrkit's own modules first."""
        return [name for name, _ in self._loaded().list_name_plugin()]

    def register(self, plugin: object, name: str) -> None:
        """Adds a module or object with hook implementations at run time.

        Raises `PluginError` if it implements a hook that does not exist.
        """
        with self._lock:
            _add(self._loaded(), plugin, name)
            self._registered.clear()

    def unregister(self, name: str) -> None:
        """Removes the plugin `name`."""
        with self._lock:
            self._loaded().unregister(name=name)
            self._failed.pop(name, None)
            self._registered.clear()

    def collect(self, kind: str) -> dict[str, Registered]:
        """Everything registered of one of `KINDS`, by name.

        Raises `PluginError`, which names both plugins, if two register the same name.
        """
        with self._lock:
            if kind not in self._registered:
                collected: dict[str, Registered] = {}
                for entry in self._gather(kind):
                    first = collected.setdefault(entry.name, entry)
                    if first is not entry:
                        raise PluginError(
                            f"{kind} name {entry.name!r} is registered by both {first.plugin!r} and {entry.plugin!r}; "
                            "uninstall one, or allow the wanted plugins in HRKIT_PLUGINS"
                        )
                self._registered[kind] = collected
            return self._registered[kind]

    def _gather(self, kind: str) -> Iterator[Registered]:
        hook = getattr(self._loaded().hook, f"register_{kind}")
        for implementation in hook.get_hookimpls():  # in order of registration: built-ins first
            plugin, brought = implementation.plugin_name, {}
            with self._failing_alone(plugin, f"its {hook.name}"):
                brought = _by_name(kind, implementation.function())
            if os.environ.get("HRKIT_TRACE_PLUGINS"):
                result = ", ".join(brought) or self._failed.get(plugin, "nothing")
                print(f"{plugin}: {hook.name}() -> {result}", file=sys.stderr)
            for name, value in brought.items():
                yield Registered(name, value, plugin)

    @contextlib.contextmanager
    def _failing_alone(self, plugin: str, step: str) -> Iterator[None]:
        """Catches errors of a plugin's code and records them as the reason for leaving it out."""
        try:
            yield
        except SystemExit as error:
            self._failed[plugin] = PluginError(f"{step} ends the program (exit code {error.code})")
        except Exception as error:  # code of others may raise anything
            self._failed[plugin] = error

    def _loaded(self) -> pluggy.PluginManager:
        with self._lock:
            if self._manager is None:
                manager = pluggy.PluginManager(GROUP)
                manager.add_hookspecs(hookspecs)
                for module in BUILT_INS:
                    _add(manager, importlib.import_module(module), module)
                self._manager = manager  # set here, as a plugin may ask for names while it is imported
                try:
                    self._load_entry_points(manager)
                except BaseException:  # interrupted: the next use starts again
                    self._manager = None
                    raise
                finally:
                    self._registered.clear()
            return self._manager

    def _load_entry_points(self, manager: pluggy.PluginManager) -> None:
        self._failed.clear()
        self.versions.clear()
        points = sorted(set(importlib.metadata.entry_points(group=GROUP)), key=lambda point: (point.name, point.value))
        installed = {point.name for point in points}
        setting = os.environ.get("HRKIT_PLUGINS")
        allowed = installed if setting is None else {name.strip() for name in setting.split(",")} - {""}
        for name in sorted(allowed - installed):
            unknown = UnknownNameError("plugin", name, installed)
            self._failed[name] = PluginError(f"HRKIT_PLUGINS names it, but it is not installed: {unknown}")
        for point in (point for point in points if point.name in allowed):
            version = "an unknown distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"
            with self._failing_alone(point.name, "its import"):
                if point.name in self.versions:
                    both = f"{self.versions[point.name]} and {version}"
                    raise PluginError(f"two plugins call themselves {point.name!r}, of {both}; uninstall one")
                self.versions[point.name] = version
                _add(manager, point.load(), point.name)


def _add(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    """Registers a plugin. Raises `PluginError` if its name is taken, or a hook does not exist or is not marked."""
    if manager.get_plugin(name) is not None:
        raise PluginError(f"two plugins call themselves {name!r}; uninstall one")
    hooks = [f"register_{kind}" for kind in KINDS]
    plain = [hook for hook in hooks if isinstance(getattr(plugin, hook, None), FunctionType | MethodType)]
    unmarked = [hook for hook in plain if not hasattr(getattr(plugin, hook), f"{GROUP}_impl")]
    if unmarked:
        raise PluginError(f"plugin {name!r}: mark {', '.join(unmarked)} with @hrkit.hookimpl")
    try:
        manager.register(plugin, name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        manager.unregister(name=name)
        marked = [attribute for attribute in dir(plugin) if hasattr(getattr(plugin, attribute, None), f"{GROUP}_impl")]
        unknown = [attribute for attribute in marked if attribute not in hooks]
        if not unknown:
            raise PluginError(one_line(error)) from error
        close = close_names(unknown[0], hooks)
        hint = f"did you mean {close[0]}?" if close else f"hooks are {', '.join(hooks)}"
        message = f"plugin {name!r} implements {', '.join(unknown)}, which is no hook of hrkit; {hint}"
        raise PluginError(message) from error


def _by_name(kind: str, brought: Any) -> dict[str, Any]:
    """What a hook returned, by name. Raises `PluginError` if it is not what the hook asks for."""
    hook, attributes = f"its register_{kind}", _ATTRIBUTES.get(kind)
    if not isinstance(brought, Iterable if attributes else Mapping):
        shape = "sequence" if attributes else "mapping"
        raise PluginError(f"{hook} returns {type(brought).__name__}, not a {shape}")
    pairs = [(getattr(value, "name", None), value) for value in brought] if attributes else list(dict(brought).items())
    by_name: dict[str, Any] = {}
    for name, value in pairs:
        if not isinstance(name, str) or not name:
            raise PluginError(f"{hook} brings {value!r} under the name {name!r}, which is no text")
        if not (all(hasattr(value, attribute) for attribute in attributes) if attributes else callable(value)):
            lack = f"has no {', '.join(attributes)}" if attributes else "cannot be called"
            raise PluginError(f"{hook} brings as {name!r} something of type {type(value).__name__}, which {lack}")
        if name in by_name:
            raise PluginError(f"{hook} brings {name!r} twice")
        by_name[name] = value
    return by_name


def where_else(name: str) -> str:
    """How to get a name of `KNOWN_PLUGINS` that is not registered here, also with dashes; empty for any other name."""
    plain = name.replace("-", "_")
    for distribution, patterns in KNOWN_PLUGINS.items():
        if any(fnmatch.fnmatchcase(plain, one.replace("-", "_")) for one in (distribution, *patterns)):
            return f"it comes with the plugin {plugin_hint(distribution)}, or allow it in HRKIT_PLUGINS"
    return ""


def text_of(pattern: str, name: str) -> str | None:
    """The text that stands for the `*` of a pattern in `name`; None if the name does not fit, or is no pattern.

    >>> text_of("timm/*", "timm/resnet18")
    'resnet18'
    """
    start, star, end = pattern.partition("*")
    text = name[len(start) : len(name) - len(end)]
    return text if star and text not in ("", "*") and name == f"{start}{text}{end}" else None


plugins: PluginManager = PluginManager()
"""The plugins of this process."""


@define(eq=False, slots=False)
class Registry:
    """The names of one kind.

    `Registry("backbones").builder("timm/resnet18")` finds the entry `timm/*` and binds `"resnet18"` to it.
    """

    kind: str
    _manager: PluginManager = plugins

    def entries(self) -> dict[str, Registered]:
        """What is registered, by name; patterns are included."""
        return self._manager.collect(self.kind)

    def names(self) -> list[str]:
        """The full names, sorted; patterns such as `timm/*` are left out."""
        return sorted(name for name in self.entries() if "*" not in name)

    def find(self, name: str) -> tuple[Registered, str | None]:
        """The entry for `name`, and the text that stands for the `*` if the entry is a pattern.

        Raises `UnknownNameError` with the closest names, and `HrkitError` if `name` is no text.
        """
        kind = self.kind.removesuffix("s")
        if not isinstance(name, str):
            raise HrkitError(f"the name of a {kind} is text, such as {min(self.names(), default='')!r}, not {name!r}")
        entries = self.entries()
        if "*" not in name and name in entries:
            return entries[name], None
        for pattern in sorted((p for p in entries if "*" in p), key=len, reverse=True):
            text = text_of(pattern, name)
            if text is not None:
                return entries[pattern], text
        for other in KINDS:
            with contextlib.suppress(PluginError):
                if other != self.kind and name in self._manager.collect(other):
                    raise UnknownNameError(kind, name, entries, hint=f"{name} is one of the {other}")
        raise UnknownNameError(kind, name, entries, hint=where_else(name))

    def builder(self, name: str) -> Callable[..., Any]:
        """The builder for `name`, to be called with keyword arguments."""
        entry, text = self.find(name)
        return entry.value if text is None else functools.partial(entry.value, text)

    def build(self, name: str, /, *arguments: Any, **options: Any) -> Any:
        """Calls the builder for `name` with `options`, and with `arguments`: a dataset's path, an engine's inputs.

        Raises what `find` raises, each `HrkitError` and `OSError` of the builder as it is, and a `PluginError` that
        names the plugin for anything else, such as an option the builder does not take.
        """
        entry, _ = self.find(name)
        builder = self.builder(name)
        try:
            return builder(*arguments, **options)
        except (HrkitError, OSError):
            raise
        except Exception as error:  # code of others may raise anything
            part = f"{self.kind.removesuffix('s')} {name!r} of plugin {entry.plugin!r}"
            unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if isinstance(error, TypeError) and unexpected and unexpected[1] in options:
                raise PluginError(f"{part} does not take the option {unexpected[1]!r}") from error
            raise PluginError(f"{part} cannot be built: {type(error).__name__}: {one_line(error)}") from error

    def __contains__(self, name: str) -> bool:
        """Whether `name`, or exactly this pattern, is registered."""
        if name in self.entries():
            return True
        try:
            self.find(name)
        except UnknownNameError:
            return False
        return True


backbones: Registry = Registry("backbones")
detectors: Registry = Registry("detectors")
heads: Registry = Registry("heads")
decoders: Registry = Registry("decoders")
datasets: Registry = Registry("datasets")
runtimes: Registry = Registry("runtimes")
weights: Registry = Registry("weights")
engines: Registry = Registry("engines")
commands: Registry = Registry("commands")


def list_names(kind: str) -> list[str]:
    """The registered names of one of `KINDS`. Raises `UnknownNameError` for another kind."""
    if kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    return Registry(kind).names()
